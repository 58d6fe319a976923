"""CSV that is safe to open in a spreadsheet program, which takes some texts for formulas. Knows no cohort.

After OWASP's page on CSV injection. It holds for a program that splits the lines at commas, as a CSV says. What a
program makes of a number or a date in a text (007 becomes 7) is not for a CSV to prevent.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TextIO

from echosearch.files import Output

_FORMULA: Final = re.compile(r"[\t\r\n]|[\s\x00-\x1f\x7f\u200b\ufeff]*[=+\-@＝＋－＠]")
"""How a text begins that is taken for a formula; wide signs count in East Asian settings."""
_NUMBER: Final = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_QUOTED: Final = re.compile(r'[,;\t"\r\n]|^\s|\s$')


def write_csv(target: Output | TextIO, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    r"""Header and rows as `safe_cell` has them, UTF-8, lines end in "\n"; the same rows give the same bytes.

    Cells that a row does not have are empty; what is in no column is left out. In a file bytes of file names that are
    not UTF-8 stay. A stream has to be open with `newline=""`. BackendError where the file cannot be written.
    """
    if isinstance(target, Output):
        with target.writing() as file:
            file.writelines(line.encode("utf-8", "surrogateescape") for line in _lines(columns, rows))
    else:
        target.writelines(_lines(columns, rows))


def _lines(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> Iterable[str]:
    yield _line(columns)
    for row in rows:
        yield _line([row.get(column) for column in columns])


def _line(values: Sequence[object]) -> str:
    r"""Written here, since Python's csv quotes differently from version to version: in 3.11 no cell for its "\r"."""
    line = ",".join(_quote(safe_cell(value)) for value in values)
    return (line or '""') + "\n"  # a line with nothing in it would be no row


def _quote(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if _QUOTED.search(cell) else cell


def safe_cell(value: object) -> str:
    """A value as a cell that is no formula: a text that would be one gets an apostrophe before it.

    Numbers stay as they are, negative ones too, and so does a text that is a plain number ("-3.5"), which does no harm.
    None and numbers that are not finite are empty, bools are yes and no. So that `unsafe_cell` is certain, a text
    that has apostrophes before a formula gets one more.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return repr(float(value)) if math.isfinite(value) else ""
    text = str(value)
    return f"'{text}" if _is_formula(text.lstrip("'")) else text


def unsafe_cell(text: str) -> str:
    """The text from which `safe_cell` made this cell."""
    return text[1:] if text.startswith("'") and _is_formula(text.lstrip("'")) else text


def _is_formula(text: str) -> bool:
    return bool(_FORMULA.match(text)) and not _NUMBER.fullmatch(text)
