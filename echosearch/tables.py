"""CSV as people and programs write it, read and written in one way. Knows cells and lines, not what they mean.

What is written is safe to open in a spreadsheet program, which takes some texts for formulas (OWASP's page on CSV
injection), as long as it splits the lines at commas. What it makes of a number or a date in a text is its own.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TextIO

from echosearch.errors import BadLabels, InputError
from echosearch.files import refuse_device
from echosearch.outputs import Output

MISSING: Final = frozenset(
    [
        "",
        "#n/a",
        "#n/a n/a",
        "#na",
        "-1.#ind",
        "-1.#qnan",
        "-nan",
        "1.#ind",
        "1.#qnan",
        "<na>",
        "n/a",
        "na",
        "nan",
        "null",
    ]
)
"""What stands for no value, in lower case: the marks that pandas knows, but for 'none', which may be a severity."""

_SEPARATOR_LINE: Final = re.compile(r'"?sep=([^\r\n"])"?\1*(?:\r\n?|\n)', re.IGNORECASE)
_IN_QUOTES: Final = re.compile(r'"[^"]*"')
_FORMULA: Final = re.compile(r"[\t\r\n]|[\s\x00-\x1f\x7f\u200b\ufeff]*[=+\-@＝＋－＠]")
"""How a text begins that is taken for a formula; wide signs count in East Asian settings."""
_PLAIN_NUMBER: Final = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_QUOTED: Final = re.compile(r'[,;\t"\r\n]|^\s|\s$')


@dataclass(frozen=True, slots=True)
class Table:
    """The cells of a CSV, stripped of blanks and `safe_cell`'s apostrophe, each row with the line that it ends on."""

    file: Path
    sha256: str
    header: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]

    def named(self, name: str) -> str | None:
        """The column of that name, in whatever case where none has it exactly."""
        same = [column for column in self.header if column.casefold() == name.casefold()]
        return name if name in same else next(iter(same), None)

    def cells(self, *columns: str) -> list[tuple[int, tuple[str, ...]]]:
        """Line and cells of some columns, row by row."""
        places = [self.header.index(column) for column in columns]
        return [(line, tuple(cells[place] for place in places)) for line, cells in self.rows]

    def where(self, column: str, value: str) -> Table:
        """The rows that have a value in a column, in whatever case."""
        place = self.header.index(column)
        kept = tuple(row for row in self.rows if row[1][place].casefold() == value.casefold())
        return replace(self, rows=kept)

    def values(self, column: str) -> list[str]:
        """The different values of a column, sorted, without the empty one."""
        return sorted({value for _, (value,) in self.cells(column)} - {""})


def read_table(path: Path, what: str, example: str, error: type[InputError] = BadLabels) -> Table:
    """Read a CSV with a header line: comma, semicolon or tab, or what a first line `sep=;` says; UTF-8 or UTF-16.

    `what` its rows hold, in the plural, and an `example` of a header are for the sentences. An `error` says what is
    wrong, and in which line.
    """
    try:
        refuse_device(path)
        data = path.read_bytes()
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
        said = _SEPARATOR_LINE.match(text)
        body = text[said.end() :] if said else text
        head = _IN_QUOTES.sub("", body[:10_000]).lstrip("\r\n").replace("\r", "\n").partition("\n")[0]
        delimiter = said[1] if said else max(",;\t", key=head.count)
        reader = csv.reader(io.StringIO(body, newline=""), delimiter=delimiter, strict=True)
        above = 1 if said else 0
        numbered = [(reader.line_num + above, tuple(unsafe_cell(cell.strip()) for cell in cells)) for cells in reader]
    except UnicodeDecodeError as cause:
        reason = f"byte {cause.start} is not UTF-8 text; save it as CSV UTF-8"
        raise error(f"the {what} {path} cannot be read: {reason}") from cause
    except (OSError, csv.Error) as cause:
        reason = getattr(cause, "strerror", None) or str(cause)
        raise error(f"the {what} {path} cannot be read: {reason}") from cause
    if "\0" in head:
        raise error(f"{path} has a header with the character NUL: it is UTF-16 without its mark; save it as CSV UTF-8")
    numbered = [(line, cells) for line, cells in numbered if any(cells)]
    if not numbered:
        raise error(f"{path} is empty; {what} are a CSV with a header line, such as {example}")
    (_, header), *rows = numbered
    if repeated := sorted({name for name in header if name and header.count(name) > 1}):
        raise error(f"{path}: no column name may come twice: {', '.join(repeated)}")
    for line, cells in rows:
        if len(cells) != len(header):
            raise error(f"{path}, line {line}: {len(cells)} cells, but the header has {len(header)}")
    return Table(path, hashlib.sha256(data).hexdigest(), header, tuple(rows))


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
    return bool(_FORMULA.match(text)) and not _PLAIN_NUMBER.fullmatch(text)
