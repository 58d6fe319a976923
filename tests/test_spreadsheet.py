"""What is written for a spreadsheet holds no formula, reads back as it was, and is the same bytes each time."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from echosearch.errors import BackendError
from echosearch.outputs import Output
from echosearch.tables import safe_cell, unsafe_cell, write_csv

NASTY = st.text(st.sampled_from("=+-@'\t\r\n ,;\"aé1.e＝\u00a0\ufeff"), max_size=6) | st.text(max_size=8)


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("  =1", "'  =1"),
        ("\u00a0=1", "'\u00a0=1"),
        ("\ufeff=1", "'\ufeff=1"),
        ("＝1", "'＝1"),
        ("\tx", "'\tx"),
        ("\rx", "'\rx"),
        ("\nx", "'\nx"),
        ("'=1", "''=1"),  # else it would read back as =1
        ("'quoted'", "'quoted'"),
        ("a=1", "a=1"),
        ("-", "'-"),
        ("", ""),
        ("-3.5", "-3.5"),
        ("+7", "+7"),
        ("-.5e-3", "-.5e-3"),
        ("-3.5 ", "'-3.5 "),
        ("-١", "'-١"),  # a digit, and no number to a spreadsheet
        ("-inf", "'-inf"),
        (-3.5, "-3.5"),
        (-2, "-2"),
        (1e300, "1e+300"),
        (0.1, "0.1"),
        (float("nan"), ""),
        (float("-inf"), ""),
        (None, ""),
        (True, "yes"),
        (False, "no"),
    ],
)
def test_cells_by_hand(value: object, cell: str) -> None:
    assert safe_cell(value) == cell
    if isinstance(value, str):
        assert unsafe_cell(cell) == value


@settings(deadline=None)
@given(NASTY)
def test_texts_come_back(text: str) -> None:
    assert unsafe_cell(safe_cell(text)) == text


def _is_dangerous(cell: str) -> bool:
    """Written without the code's pattern: by the first thing that is not blank, and a number is none."""
    visible = cell.lstrip("".join(map(chr, range(33))) + "\x7f\x85\xa0\u2002\u200b\u3000\ufeff").lstrip()
    if cell[:1] in ("\t", "\r", "\n"):
        return True
    return visible[:1] in tuple("=+-@＝＋－＠") and not (set(cell) <= set("0123456789eE.+-") and _is_number(cell))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


@settings(deadline=None)
@given(
    st.lists(NASTY, min_size=1, max_size=4, unique=True),
    st.lists(st.lists(NASTY | st.integers() | st.floats() | st.none(), min_size=4, max_size=4), max_size=4),
)
def test_files_hold_no_formula_and_come_back(columns: list[str], rows: list[list[object]]) -> None:
    told = [dict(zip(columns, row, strict=False)) for row in rows]
    streams = [io.StringIO(newline="") for _ in range(2)]
    for stream in streams:
        write_csv(stream, columns, told)
    assert streams[0].getvalue() == streams[1].getvalue()
    read = list(csv.reader(io.StringIO(streams[0].getvalue(), newline=""), strict=True))
    assert not [cell for row in read for cell in row if _is_dangerous(cell)]
    assert [unsafe_cell(cell) for cell in read[0]] == columns
    for row, values in zip(read[1:], rows, strict=True):
        for cell, value in zip(row, values, strict=False):
            if isinstance(value, str):
                assert unsafe_cell(cell) == value
            elif cell:
                assert type(value)(cell) == value


def test_a_file_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("what was there before")
    rows = [{"b": -1.5, "=a": 'x,"y"', "other": 1}, {"=a": "two\nlines"}, {"=a": " blank", "b": "ä;b"}]
    write_csv(Output(path, "the table", ".csv", force=True), ["=a", "b"], rows)
    assert path.read_bytes() == '\'=a,b\n"x,""y""",-1.5\n"two\nlines",\n" blank","ä;b"\n'.encode()
    assert [each.name for each in tmp_path.iterdir()] == ["a.csv"]


def test_one_empty_cell_is_a_row() -> None:
    stream = io.StringIO(newline="")
    write_csv(stream, ["a"], [{"a": None}, {"a": 1}])
    assert stream.getvalue() == 'a\n""\n1\n'


def test_bytes_of_file_names_stay(tmp_path: Path) -> None:
    write_csv(
        Output(tmp_path / "a.csv", "the table", ".csv"),
        ["path"],
        [{"path": b"/a/\xff.avi".decode("utf-8", "surrogateescape")}],
    )
    assert (tmp_path / "a.csv").read_bytes() == b"path\n/a/\xff.avi\n"


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"cannot write .*none/a\.csv: No such file or directory"):
        write_csv(Output(tmp_path / "none/a.csv", "the table", ".csv"), ["a"], [])


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    def rows() -> object:
        yield {"a": 1}
        raise KeyError("broken")

    with pytest.raises(KeyError, match="broken"):
        write_csv(Output(tmp_path / "a.csv", "the table", ".csv"), ["a"], rows())  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
