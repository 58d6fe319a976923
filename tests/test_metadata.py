"""A manifest CSV is read with types, matched to files by path, and refused with the line that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from echosearch.errors import BadManifest, BadOption
from echosearch.index.catalog import VideoMetadata
from echosearch.ingest import read_metadata
from echosearch.outputs import Output
from echosearch.tables import write_csv
from echosearch.video import FileFinder


def _csv(folder: Path, text: str, name: str = "m.csv") -> Path:
    path = folder / name
    path.write_text(text, "utf-8")
    return path


def test_columns_become_fields_and_typed_attributes(tmp_path: Path) -> None:
    table = read_metadata(
        _csv(
            tmp_path,
            "FileName,patient_id,Study,view,acquired_at,EF,frames,code,note,empty\n"
            "a.avi,007,S1,A4C,2019-05-31 14:05,55.5,20,007,fine,\n"
            "b.avi,008,,PLAX,2019-05-31,NaN,,12,NA,\n",
        )
    )
    assert table.types == {"EF": "real", "frames": "integer", "code": "text", "note": "text"}
    assert table.empty == {"empty"}
    first, second = (row.metadata for row in table.rows)
    assert first == VideoMetadata(
        "S1",
        "007",
        "A4C",
        "2019-05-31T14:05:00",
        {"EF": 55.5, "frames": 20, "code": "007", "note": "fine"},
    )
    assert second == VideoMetadata(
        None,
        "008",
        "PLAX",
        "2019-05-31T00:00:00",
        {"EF": None, "frames": None, "code": "12", "note": None},
    )


def test_a_row_number_without_a_name_is_no_attribute_and_infinity_is_no_number(tmp_path: Path) -> None:
    table = read_metadata(_csv(tmp_path, ",path,EF\n0,a.avi,1e999\n"))
    assert table.types == {"EF": "text"}
    assert table.rows[0].metadata.attributes == {"EF": "1e999"}


def test_a_path_with_dots_is_relative_to_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    table = read_metadata(_csv(tmp_path / "lists", "path,patient\n../v/x.avi,P\n"))
    assert list(table.match([tmp_path / "v/x.avi", tmp_path / "w/x.avi"], [])[0]) == [tmp_path / "v/x.avi"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_delimiters_byte_order_mark_and_quotes(tmp_path: Path, delimiter: str) -> None:
    text = '\ufeffpath,patient,note\n"x,;\t.avi",P,"two\nlines"\n'.replace(
        "path,patient,note", delimiter.join(("path", "patient", "note"))
    ).replace('",P,"', f'"{delimiter}P{delimiter}"')
    [row] = read_metadata(_csv(tmp_path, text)).rows
    assert (row.path, row.metadata.patient, row.metadata.attributes) == ("x,;\t.avi", "P", {"note": "two\nlines"})


def test_map_gives_a_column_its_field(tmp_path: Path) -> None:
    file = _csv(tmp_path, "dicom,subject_id,StudyUID,study\na.avi,1,S9,text\n")
    table = read_metadata(file, {"dicom": "path", "StudyUID": "study"})
    assert table.rows[0].metadata == VideoMetadata("S9", "1", None, None, {"study": "text"})


@pytest.mark.parametrize(
    ("text", "column_map", "error", "sentence"),
    [
        ("a,b\n1,2\n", {}, BadManifest, "no column for the file's path"),
        ("path,b\nx,1,2\n", {}, BadManifest, "line 2: 3 cells, but the header has 2"),
        ("path,b,b\nx,1,2\n", {}, BadManifest, "no column name may come twice: b"),
        ("path,study\n,1\n", {}, BadManifest, "line 2: the path is empty"),
        ("path,acquired_at\nx,yesterday\n", {}, BadManifest, "line 2: 'yesterday' is no date"),
        ("path,patient,subject_id\nx,1,2\n", {}, BadManifest, "patient and subject_id could both be patient"),
        ("path,file\nx,1\n", {}, BadManifest, "path and file could both be path"),
        ("path,b\nx,1\n", {"c": "study"}, BadOption, "has no column 'c'; it has path, b"),
        ("path,b\nx,1\n", {"b": "person"}, BadOption, "the fields are path, study, patient, view, acquired_at"),
        ("path,b,c\nx,1,2\n", {"b": "study", "c": "study"}, BadOption, "--map gives study twice: b and c"),
        ("", {}, BadManifest, "is empty; manifests are a CSV with a header line"),
    ],
)
def test_what_cannot_be_read_is_named(
    tmp_path: Path, text: str, column_map: dict[str, str], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        read_metadata(_csv(tmp_path, text), column_map)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(b"path,b\n\xff\xfe\x00,1\n")
    with pytest.raises(BadManifest, match="cannot be read"):
        read_metadata(tmp_path / "m.csv")


def _match(folder: Path, told: str, *files: str) -> tuple[list[str], list[str]]:
    table = read_metadata(_csv(folder, f"path,patient\n{told},P\n"))
    found, warnings = table.match([folder / file for file in files], [folder / "videos"])
    return [str(path.relative_to(folder)) for path in found], warnings


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("a/x.avi", "videos/a/x.avi"),  # relative to the folder that is ingested
        ("videos/a/x.avi", "videos/a/x.avi"),  # relative to the manifest
        ("y.avi", "videos/b/y.avi"),  # the end of exactly one path
        ("b/y", "videos/b/y.avi"),  # without its suffix
        ("y", "videos/b/y.avi"),
    ],
)
def test_a_row_finds_its_file(tmp_path: Path, told: str, expected: str) -> None:
    found, warnings = _match(tmp_path, told, "videos/a/x.avi", "videos/b/x.avi", "videos/b/y.avi")
    assert found == [expected]
    assert warnings == ["2 files have no row in m.csv"]


def test_an_absolute_path_finds_its_file(tmp_path: Path) -> None:
    found, _ = _match(tmp_path, str(tmp_path / "videos/a/x.avi"), "videos/a/x.avi", "videos/b/x.avi")
    assert found == ["videos/a/x.avi"]


def test_a_row_that_fits_several_files_or_none_takes_none(tmp_path: Path) -> None:
    for told in ("x.avi", "z.avi", "c/y.avi"):
        found, warnings = _match(tmp_path, told, "videos/a/x.avi", "videos/b/x.avi")
        assert found == []
        assert warnings[0] == f"1 rows of m.csv match no file, or several: line 2 {told!r}"


def test_rows_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    files = [tmp_path / "x.avi"]
    same = read_metadata(_csv(tmp_path, "path,patient\nx.avi,P\nx,P\n"))
    assert same.match(files, [])[0][files[0]].patient == "P"
    other = read_metadata(_csv(tmp_path, "path,patient\nx.avi,P\nx,Q\n"))
    with pytest.raises(BadManifest, match=r"lines 2 and 3 disagree about x\.avi"):
        other.match(files, [])


def test_ids_beyond_what_is_exact_are_text(tmp_path: Path) -> None:
    rows = "a,1234567890123456789,9007199254740993,7,+5\nb,1234567890123456788,0.5,8,12345678901234567890\n"
    table = read_metadata(_csv(tmp_path, "path,accession,mixed,n,long\n" + rows))
    assert table.types == {"accession": "text", "mixed": "text", "n": "integer", "long": "text"}
    assert [row.metadata.attributes["accession"] for row in table.rows] == [
        "1234567890123456789",
        "1234567890123456788",
    ]
    assert table.rows[0].metadata.attributes["mixed"] == "9007199254740993"


def test_one_odd_cell_is_named(tmp_path: Path) -> None:
    table = read_metadata(_csv(tmp_path, "path,age,site\na,9,x\nb,100,y\nc,>89,2\n"))
    assert table.types == {"age": "text", "site": "text"}
    [note] = table.notes
    assert note.startswith("m.csv: column 'age' is read as text: 1 of its 3 values are not numbers")
    assert "line 4 '>89'" in note


@pytest.mark.parametrize("cells", [("12E34", "99E01", "345678"), ("1e5", "2", "3")])
def test_what_may_be_an_id_with_an_e_stays_as_it_stands(tmp_path: Path, cells: tuple[str, ...]) -> None:
    table = read_metadata(_csv(tmp_path, "path,id\n" + "".join(f"{cell},{cell}\n" for cell in cells)))
    assert [row.metadata.attributes["id"] for row in table.rows] == list(cells)
    numbers = read_metadata(_csv(tmp_path, "path,x\na,1e+05\nb,1.5e5\nc,2E-3\n"))
    assert [row.metadata.attributes["x"] for row in numbers.rows] == [1e5, 1.5e5, 0.002]


def test_a_whole_number_that_a_column_of_reals_would_round_is_named(tmp_path: Path) -> None:
    [note] = read_metadata(_csv(tmp_path, "path,x\na,9007199254740993\nb,0.5\n")).notes
    assert "1 of its 2 values are not numbers that can be stored exactly: line 2 '9007199254740993'; " in note


def test_what_was_written_for_a_spreadsheet_is_read_as_it_was(tmp_path: Path) -> None:
    values = ["=1+1", "'=x", "-3", "@a", "'tis", "007"]
    rows = ({"path": f"{value}.avi", "patient": value, "attr.note": value} for value in values)
    write_csv(Output(tmp_path / "out.csv", "the list", ".csv"), ["path", "patient", "attr.note"], rows)
    table = read_metadata(tmp_path / "out.csv")
    assert [(row.path, row.metadata.patient, row.metadata.attributes) for row in table.rows] == [
        (f"{value}.avi", value, {"note": value}) for value in values
    ]
    with pytest.raises(BadManifest, match=r"as NAME and as attr\.NAME"):
        read_metadata(_csv(tmp_path, "path,EF,attr.EF\na,1,2\n"))


@pytest.mark.parametrize(
    "text",
    [
        'path;"LVEF (biplane, Simpson, %)"\na;55\n',
        '\npath;"LVEF (biplane, Simpson, %)"\r\na;55\r\n',
        'path;"LVEF (biplane, Simpson, %)"\ra;55\r',
        '"sep=;"\r\npath;"LVEF (biplane, Simpson, %)"\r\na;55\r\n',
        'sep=;;\npath;"LVEF (biplane, Simpson, %)"\na;55\n',
        'sep=;\rpath;"LVEF (biplane, Simpson, %)"\ra;55\r',
    ],
)
def test_what_separates_columns_is_not_what_stands_in_quotes(tmp_path: Path, text: str) -> None:
    [row] = read_metadata(_csv(tmp_path, text)).rows
    assert row.metadata.attributes == {"LVEF (biplane, Simpson, %)": 55}


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32"])
def test_utf_16_without_its_mark_is_named(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "m.csv").write_bytes("path;EF\na;55\n".encode(encoding))
    with pytest.raises(BadManifest, match="the character NUL: it is UTF-16 without its mark"):
        read_metadata(tmp_path / "m.csv")


@pytest.mark.parametrize("mark", ["#N/A", "<NA>", "#NA", "-nan", "NULL", "N/A", "nan", "1.#IND"])
def test_marks_of_no_value_are_none(tmp_path: Path, mark: str) -> None:
    table = read_metadata(_csv(tmp_path, f"path,age,study\na,{mark},{mark}\nb,18,S\n"))
    assert table.types == {"age": "integer"}
    assert (table.rows[0].metadata.attributes, table.rows[0].metadata.study) == ({"age": None}, None)
    assert not table.notes


def test_none_is_a_severity_among_words_and_no_value_among_numbers(tmp_path: Path) -> None:
    table = read_metadata(_csv(tmp_path, "path,mr,ef\na,none,None\nb,severe,55\n"))
    assert table.types == {"mr": "text", "ef": "integer"}
    assert table.rows[0].metadata.attributes == {"mr": "none", "ef": None}


def test_files_that_excel_and_windows_write(tmp_path: Path) -> None:
    assert read_metadata(_csv(tmp_path, "path,EF,,\na,55,,\n")).types == {"EF": "integer"}
    table = read_metadata(_csv(tmp_path, "sep=;\npath;EF\na;55\n"))
    assert (table.rows[0].line, table.rows[0].path, table.rows[0].metadata.attributes) == (3, "a", {"EF": 55})
    (tmp_path / "u.csv").write_bytes("path\tname\na\tJosé\n".encode("utf-16"))
    assert read_metadata(tmp_path / "u.csv").rows[0].metadata.attributes == {"name": "José"}
    (tmp_path / "w.csv").write_bytes("path,name\na,José\n".encode("cp1252"))
    with pytest.raises(BadManifest, match=r"byte [0-9]+ is not UTF-8 text; save it as CSV UTF-8"):
        read_metadata(tmp_path / "w.csv")
    assert "1 columns have values but no name" in read_metadata(_csv(tmp_path, "path,\na,words\n")).notes[0]


@pytest.mark.parametrize(
    ("told", "end"),
    [
        ("v\\b.avi", None),
        ("D:\\echo\\v\\b.avi", "v/b.avi"),
        ("D:/echo/v/b.avi", "v/b.avi"),
        ("D:\\Echo\\V\\B.AVI", "V/B.AVI"),
        ("V/B.AVI", None),
        ("\\\\server\\share\\v\\b", "v/b"),
        ("/mnt/other/v/b.avi", "v/b.avi"),
    ],
)
def test_paths_of_another_machine_are_found_by_their_end(tmp_path: Path, told: str, end: str | None) -> None:
    table = read_metadata(_csv(tmp_path, f"path,EF\n{told},40\n"))
    files = [tmp_path / "x/v/b.avi", tmp_path / "x/w/b.avi", tmp_path / "x/v/a.avi"]
    found, warnings = table.match(files, [tmp_path / "x"])
    assert [(path, metadata.attributes) for path, metadata in found.items()] == [(files[0], {"EF": 40})]
    named = [warning for warning in warnings if "matched by the end" in warning]
    assert bool(named) == (end is not None)
    assert end is None or f"{end} for {told!r}" in named[0]


def test_a_name_is_found_whatever_its_case_and_accents_where_only_one_is_meant(tmp_path: Path) -> None:
    one, other, accent = tmp_path / "v" / "A.avi", tmp_path / "v" / "a.avi", tmp_path / "v" / "\u00dc.avi"
    finder = FileFinder([one, other, accent], [tmp_path])
    assert [finder.find(told) for told in ("v/a.avi", "v/A.avi", "a.avi", "A")] == [other, one, other, one]
    assert [finder.find(told) for told in ("V/a.avi", "v/a.AVI", "V/A.AVI")] == [None, other, None]
    assert [finder.find(told) for told in ("v/U\u0308.avi", "u\u0308", "w/U\u0308")] == [accent, accent, None]


def test_a_name_alone_or_an_end_that_two_files_have_is_no_match(tmp_path: Path) -> None:
    files = [tmp_path / "p/v/b.avi", tmp_path / "q/v/b.avi", tmp_path / "q/c.avi"]
    table = read_metadata(_csv(tmp_path, "path,EF\nD:\\v\\b.avi,40\nD:\\c.avi,41\nD:\\z\\c.avi,42\n"))
    assert table.match(files, [tmp_path])[0] == {}
