"""Identities planted in file names, folders and manifest show nowhere but where a command is meant to show them.

Whatever a command prints or writes is searched byte by byte, also within zip, PNG, HTML, JSON, base64 and hex; of
pictures also the words that are drawn.
"""

from __future__ import annotations

import base64
import contextlib
import csv
import gzip
import html
import io
import json
import os
import re
import shutil
import urllib.parse
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import plain_frames, write_video
from matplotlib.text import Text
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from echosearch.api import open_index
from echosearch.cli import main
from echosearch.cohort.cohort import Summary, TableRow
from echosearch.cohort.identifying import _has_identifiers, _is_of_persons

NAMES = ("Hubermann", "Petrakis", "Oyelaran", "Lindqvist", "Szczepan", "Nakagawa")
MARKS = (
    *NAMES, "Zelda", "ACCQX77", "STUDYQX", "PATZK", "MRNQ44", "1951-03-04", "1952-03-04", "668 10 1", "668 10 2",
    "Zeldovich",
)  # fmt: skip
PATIENTS = 24


# The scanner.


def forms(data: bytes, depth: int = 3) -> Iterator[bytes]:
    """The bytes, and all that can be unpacked or decoded of them."""
    yield data
    if not depth:
        return
    for inner in _unpacked(data):
        yield from forms(inner, depth - 1)


def _unpacked(data: bytes) -> Iterator[bytes]:
    if zipfile.is_zipfile(io.BytesIO(data)):
        with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(io.BytesIO(data)) as packed:
            for name in packed.namelist():
                yield name.encode()
                yield packed.read(name)
    if data.startswith(b"\x1f\x8b"):
        yield gzip.decompress(data)
    if data.startswith(b"\x89PNG"):
        for place in (match.end() for match in re.finditer(rb"zTXt[^\0]+\0\0", data)):
            with contextlib.suppress(zlib.error):
                yield zlib.decompressobj().decompress(data[place:])
    for run in re.findall(rb"[A-Za-z0-9+/_-]{12,}={0,2}", data):
        with contextlib.suppress(ValueError):
            yield base64.b64decode(run.rstrip(b"=") + b"=" * (-len(run.rstrip(b"=")) % 4), altchars=None)
    for run in re.findall(rb"(?:[0-9a-fA-F]{2}){8,}", data):
        yield bytes.fromhex(run.decode())
    text = data.decode("utf-8", "replace")
    escaped = re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), text)
    for other in (html.unescape(text), escaped, urllib.parse.unquote_plus(text), data.decode("utf-16-le", "replace")):
        if other != text:
            yield other.encode("utf-8", "replace")


def found(*told: bytes) -> set[str]:
    every = b"\0".join(form for data in told for form in forms(data)).lower()
    return {mark for mark in MARKS if mark.lower().encode() in every}


def _png(mark: str, compressed: bool) -> bytes:
    told, stream = PngInfo(), io.BytesIO()
    told.add_text("Comment", mark, zip=compressed)
    Image.new("L", (2, 2)).save(stream, "PNG", pnginfo=told)
    return stream.getvalue()


def _zip(name: str, text: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr(name, text)
    return stream.getvalue()


@pytest.mark.parametrize("mark", MARKS)
def test_the_scanner_finds_what_is_hidden(mark: str) -> None:
    raw = f"a {mark}, b".encode()
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in mark).encode()
    entities = "".join(f"&#{ord(letter)};" for letter in mark).encode()
    hidden = [
        raw, raw.upper(), base64.b64encode(raw), raw.hex().encode(), escaped, entities, gzip.compress(raw),
        urllib.parse.quote(mark).encode(), mark.encode("utf-16-le"), _png(mark, False), _png(mark, True),
        _zip("a.txt", f"a {mark}"), _zip(f"{mark}.txt", "a"),
        b'<img src="data:x;base64,' + base64.b64encode(raw) + b'">',
        b'<img src="data:x;base64,' + base64.b64encode(_zip("a", json.dumps({"a": mark}))) + b'">',
    ]  # fmt: skip
    assert [mark in found(each) for each in hidden] == [True] * len(hidden)
    assert found(b"nothing to see here: 1951-03-05, Zorba, aGVsbG8gaGVsbG8gaGVsbG8=") == set()


# The archive.


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with an index of 24 planted patients, a calibration, a probe, a cohort and an audit; its tasks."""
    folder = tmp_path_factory.mktemp("home")
    rows = []
    for patient in range(PATIENTS):
        for video in range(2):
            name = NAMES[patient % 6]
            path = f"{name}^Zelda_{patient}/ACCQX77{patient:03d}_{video}_{name}.avi"
            red = (240 if patient < 12 else 100) - 3 * patient
            write_video(folder / "archive" / path, plain_frames(3, (red, 100 + 40 * video, 40 + patient)), fps=10)
            rows.append(
                {
                    "path": path, "study": f"STUDYQX{patient}", "patient": f"PATZK{patient}",
                    "view": "A4C", "acquired_at": f"2019-03-{patient + 1:02d}", "mrn": f"MRNQ44{patient % 3}",
                    "born": ("1951-03-04", "1952-03-04")[patient % 2], "line": f"+41 44 668 10 {1 + patient % 2}",
                    "reader": f"{name}, Zelda", "registered": f"{name}{patient}", "pn": f"{name}^Zelda",
                    "site": "north" if patient % 2 else "south", "age": 40 + patient,
                }
            )  # fmt: skip
    with (folder / "manifest.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)
    for name, cells in (
        ("labels", [int(n < 12) for n in range(PATIENTS)]),
        ("ages", [40 + n for n in range(PATIENTS)]),
    ):
        (folder / f"{name}.csv").write_text(
            f"patient,{name}\n" + "".join(f"PATZK{n},{cell}\n" for n, cell in enumerate(cells))
        )
    (folder / "reports.csv").write_text("study,report\n" + "".join(f"STUDYQX{n},red {n}\n" for n in range(PATIENTS)))
    (folder / "tasks").mkdir()
    (folder / "tasks" / "reddish.yaml").write_text("name: reddish\nmode: binary\nprompts: ['red']\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECHOSEARCH_TASKS", str(folder / "tasks"))
        patch.setenv("ECHOSEARCH_INDEX", str(folder / "index"))
        patch.chdir(folder)
        for command in MAKING:
            said = call(command)
            assert found(said) == set(), (command, said.decode())
        judged = []
        with (folder / "sheet.csv").open(newline="", encoding="utf-8-sig") as file:
            judged = [row | {"verdict": "yes", "note": f"seen by {NAMES[0]}"} for row in csv.DictReader(file)]
        with (folder / "judged.csv").open("w", newline="") as file:
            table = csv.DictWriter(file, judged[0])
            table.writeheader()
            table.writerows(judged)
        yield folder


PLANTED = " OR ".join(
    [
        "attr.mrn = 'MRNQ441'", "attr.born = '1951-03-04'", "attr.line = '+41 44 668 10 2'",
        "attr.reader LIKE 'Hubermann%'", "Attr.READER = 'Lindqvist, Zelda'",
        "PN = 'Szczepan^Zelda'", "attr.registered = 'Petrakis1'",
        "attr.pn IN ('Oyelaran^Zelda', 'Zeldovich^Anna')",
        "attr.registered != 'Zeldovich'",
    ]
)  # fmt: skip
MAKING = (
    ["ingest", "archive", "--model", "toy", "--manifest", "manifest.csv"],
    ["calibrate", "reddish", "--labels", "labels.csv", "--prevalence", "0.1"],
    ["probe", "train", "age", "--labels", "ages.csv"],
    ["cohort", "create", "safe", "--where", "task.reddish.p > 0.01", "--where", "attr.site = 'north'"],
    ["cohort", "sample", "safe", "-n", "6", "--sheet", "sheet.csv"],
)


def call(command: list[Any], code: int = 0) -> bytes:
    """What a command prints, to either stream."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), pytest.raises(SystemExit) as left:
        main([str(each) for each in command])
    assert int(left.value.code or 0) == code, said.getvalue()
    return said.getvalue().encode("utf-8", "surrogateescape")


def outcome(home: Path, command: list[str], code: int = 0) -> list[bytes]:
    """What a command prints, and every name and byte of what it writes beside the index; drawn words too."""
    before, drawn = set(_files(home)), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        _listen(patch, drawn)
        said = call(command, code)
    new = sorted(set(_files(home)) - before)
    told = [said, drawn.getvalue().encode(), *(str(path.relative_to(home)).encode() for path in new)]
    told += [path.read_bytes() for path in new]
    for path in {home / path.relative_to(home).parts[0] for path in new}:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return told


def _files(home: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(home):
        if not folder.startswith((str(home / "index"), str(home / "archive"))):
            yield from (Path(folder, name) for name in names)


def _listen(patch: pytest.MonkeyPatch, drawn: io.StringIO) -> None:
    """Note each text that matplotlib or Pillow draws."""
    draw, text = Text.draw, ImageDraw.ImageDraw.text

    def of_matplotlib(self: Text, *arguments: Any, **other: Any) -> Any:
        drawn.write(self.get_text() + "\n")
        return draw(self, *arguments, **other)

    def of_pillow(self: Any, place: Any, words: Any, *arguments: Any, **other: Any) -> Any:
        drawn.write(f"{words}\n")
        return text(self, place, words, *arguments, **other)

    patch.setattr(Text, "draw", of_matplotlib)
    patch.setattr(ImageDraw.ImageDraw, "text", of_pillow)


# What names nobody.

SILENT = (
    "ingest archive",
    "ingest archive --rehash --json",
    "annotate manifest.csv",
    "info",
    "info --json",
    "check --sources",
    "compact",
    "models",
    "tasks list",
    "tasks show reddish --json",
    "sweep reddish probe:age -k 0 --plot scores.png",
    "sweep reddish --json",
    "calibrate reddish --labels labels.csv --name again",
    "calibrations list --json",
    "calibrations show reddish-at-0.1 --json",
    "calibrations export reddish-at-0.1 out.json",
    "probe train again --labels labels.csv --json",
    "probe show age --json",
    "probe export age out.json",
    "evaluate reddish --labels labels.csv --threshold 0.6 --plot roc.png",
    "evaluate reddish --labels labels.csv --json",
    "evaluate probe:age --labels ages.csv --plot agreement.png",
    "evaluate retrieval --reports reports.csv",
    "evaluate retrieval --reports reports.csv --json",
    "cohort judge safe judged.csv --wish 0.9",
    "cohort report safe --out page.html",
    "cohort report planted --out page.html",
    "cohort report planted --out page.html --show attr.site --pictures 0",
    "cohort export safe out --without-names",
    "cohort export planted out --without-names",
    "cohort export planted out --without-names --format json --json",
)


@pytest.fixture
def planted(home: Path) -> Path:
    if "planted" not in [made.name for made in open_index(home / "index").cohorts.all()]:
        call(["cohort", "create", "planted", "--where", "task.reddish.yes OR attr.age > 0", "--where", PLANTED])
    return home


@pytest.mark.parametrize("command", SILENT)
def test_nobody_is_named(planted: Path, command: str) -> None:
    assert found(*outcome(planted, command.split())) == set()


def test_receipts_of_purges_name_nobody(planted: Path, tmp_path: Path) -> None:
    shutil.copytree(planted / "index", tmp_path / "index")
    for patient, way in (("PATZK3", "--json"), ("PATZK4", "--learned=delete")):
        said = call(["delete", "--patient", patient, "--purge", "--yes", way, "--index", tmp_path / "index"])
        assert found(said) == set()


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("cohort report planted --out page.html --show nothing", 2),
        ("cohort report none --out page.html", 2),
        ("cohort export planted archive --without-names", 2),
        ("cohort export planted out --view PLAX", 2),
        ("cohort export planted out --without-names --format echonet", 2),
        ("cohort export planted out --format echonet --label registered", 2),
        ("cohort create safe --where attr.registered=1", 2),
        ("delete --study STUDY --purge", 2),
    ],
)
def test_errors_name_nobody(planted: Path, command: str, code: int) -> None:
    assert found(*outcome(planted, command.split(), code)) == set()


# What is meant to name.

NAMING = (
    "list",
    "list --csv",
    "search red --json",
    "search red --contact-sheet hits.png",
    "similar 1",
    "show 1",
    "sweep reddish",
    "sweep reddish --csv",
    "cohort show planted",
    "cohort list --json",
    "cohort manifest planted",
    "cohort export planted out",
    "cohort export planted out --format json",
    "cohort export planted out --format echonet",
    "cohort report planted --out page.html --with-ids",
    "cohort report planted --out page.html --with-paths",
    "cohort report planted --out page.html --show attr.pn",
    "cohort labels safe labels-of-safe.csv",
    "export-embeddings out.npz",
    "delete --patient PATZK3 --dry-run",
)


def test_an_ingest_names_the_files_that_failed_and_no_others(planted: Path, tmp_path: Path) -> None:
    shutil.copytree(planted / "archive" / "Petrakis^Zelda_1", tmp_path / "new" / "Petrakis^Zelda_1")
    (tmp_path / "new" / "Szczepan.avi").write_bytes(b"no video")
    said = call(["ingest", tmp_path / "new", "--model", "toy", "--index", tmp_path / "index"], 1)
    assert found(said) == {"Szczepan"}


@pytest.mark.parametrize("command", NAMING)
def test_what_is_meant_to_name_does(planted: Path, command: str) -> None:
    assert found(*outcome(planted, command.split()))


# What looks as if it named somebody.


@pytest.mark.parametrize(
    "name",
    ["mrn", "MRN", "PatientName", "patientname", "patient_id", "patientid", "studyid", "Accession Number",
     "accessionno", "dateofbirth", "DOB", "phonenumber", "home_phone", "PID", "lastName", "file_path", "SSN"],
)  # fmt: skip
def test_names_of_columns_that_name_people(name: str) -> None:
    assert _is_of_persons(name)


@pytest.mark.parametrize(
    "name",
    ["age", "sex", "ef_percent", "velocity", "elasticity", "pathology", "subjective_ef", "device", "relaxation",
     "steroid", "carotid_imt", "wall_motion", "heart_rate_bpm",
     "television", "valid", "relative_wall_thickness"],
)  # fmt: skip
def test_names_of_columns_that_do_not(name: str) -> None:
    assert not _is_of_persons(name)


def _row(*values: str, known: int = 100) -> TableRow:
    told = Summary(known, 0, None, None, {value: known // max(1, len(values)) for value in values})
    return TableRow("attr.x", told, told)


@pytest.mark.parametrize(
    "value",
    ["a@b.org", "MRN12345", "1951-03-04", "1951/3/4", "4.3.1951", "04-03-51", "04-Mar-1951", "4 March 1951",
     "+41 44 668 10 10", "(555) 010-9999", "044/668.10.10", "Doe^Jane", "Doe, Jane", "O'Hara, Mary Ann", "/data/doe",
     "C:\\data\\doe", "\\\\host\\doe", "doe_1.AVI"],
)  # fmt: skip
def test_values_that_name_somebody(value: str) -> None:
    assert _has_identifiers(_row("north", value))


@pytest.mark.parametrize(
    "value",
    ["north", "A4C/A2C", "GE Vivid E95", "iE33", "mild, moderate", "2015-2020", "120/80", "3.5 MHz", "Philips", "M",
     "septal; apical", "1.5-2.5", "NYHA II"],
)  # fmt: skip
def test_values_that_name_nobody(value: str) -> None:
    assert not _has_identifiers(_row("north", value))


def test_a_text_of_too_many_values_to_list_is_left_out_of_criteria_as_well() -> None:
    assert _has_identifiers(_row())
    number = Summary(100, 0, 61.5, 9.0, {})
    assert not _has_identifiers(TableRow("attr.x", number, number))
