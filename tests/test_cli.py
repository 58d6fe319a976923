"""The command line: what scripts rely on (JSON, exit codes, paths) and what people read."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import pytest
from conftest import plain_frames, write_video
from PIL import Image

from echosearch.cli.app import app
from echosearch.cli.render import rate_in_words

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def index(colours: Path, tmp_path: Path, run: Run) -> Path:
    """red, green, blue with a manifest; red is study S1 of patient P1."""
    (tmp_path / "m.csv").write_text("file name,study,patient,view,EF\nred,S1,P1,A4C,55\ngreen,S2,P2,,NaN\n")
    path = tmp_path / "index"
    code, out, err = run(
        "ingest", colours, "--index", path, "--model", "toy", "--workers", 1,
        "--manifest", tmp_path / "m.csv", "--map", "file name=path",
    )  # fmt: skip
    assert code == 0, err
    assert out.splitlines()[0] == f"index {path}"
    assert "3 added, 0 replaced, 0 unchanged, 0 failed; generation 2" in out  # the manifest's columns are one
    return path


def test_search_prints_a_table_with_index_model_and_notice(index: Path, run: Run) -> None:
    code, out, _ = run("search", "red", "--index", index, "-k", 2)
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == f"index {index} (generation 2), model toy"
    assert lines[1] == "note: toy is not a model: its vectors are mean colours, without any medical meaning."
    header = next(line for line in lines if "rank" in line)
    columns = ["rank", "cosine", "percentile", "id", "path", "study", "patient", "view", "frame", "second"]
    assert header.split() == columns
    row = next(line for line in lines if line.split()[:1] == ["1"])
    assert row.split()[2:4] == ["100.0", "3"]
    assert row.split()[5:8] == ["S1", "P1", "A4C"]
    assert len([line for line in lines if ".avi" in line]) == 2


def test_no_cell_of_a_list_is_a_formula(run: Run, colours: Path, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text('path,patient,site\nred,=1+1,"@SUM(A1)"\n')
    index = tmp_path / "i"
    assert run("ingest", colours, "--model", "toy", "--index", index, "--manifest", tmp_path / "m.csv")[0] == 0
    out = run("list", "--csv", "--index", index)[1]
    [row] = [row for row in csv.DictReader(io.StringIO(out)) if row["path"].endswith("red.avi")]
    assert (row["patient"], row["attr.site"]) == ("'=1+1", "'@SUM(A1)")


def test_a_long_phrase_is_not_echoed_whole(run: Run, index: Path) -> None:
    code, out, err = run("search", "@" * 100_000, "--index", index)
    assert code == 2
    assert len(out + err) < 1000


@pytest.mark.parametrize(("rate", "words"), [(0.44, "0.4"), (7.6, "7.6"), (760.2, "760"), (12345.6, "12346")])
def test_rates_are_plain_numbers(rate: float, words: str) -> None:
    assert rate_in_words(rate) == f"{words} videos/s"


def test_search_as_json_csv_and_paths(index: Path, run: Run, colours: Path) -> None:
    told = json.loads(run("search", "red", "--not", "blue", "--index", index, "--json")[1])
    assert told["score_kind"] == "contrast"
    assert told["query"]["text"] == "'red' - 'blue' k 10"
    assert [term["phrase"] for term in told["query"]["unwanted"]] == ["blue"]
    assert [hit["video_id"] for hit in told["hits"]] == [3, 2, 1]
    _, out, err = run("search", "red", "--index", index, "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert (rows[0]["video_id"], rows[0]["study"], rows[0]["best_frame"]) == ("3", "S1", "0")
    assert len(rows) == 3
    assert "note: toy is not a model" in err
    _, out, err = run("search", "red", "--index", index, "--paths", "-k", 1)
    assert out == f"{colours / 'red.avi'}\n"
    assert err.splitlines()[0] == f"index {index} (generation 2), model toy"
    told = json.loads(run("search", "red", "--index", index, "--score", "mean", "--min-score", 0.9, "--json")[1])
    assert (told["score_kind"], len(told["hits"])) == ("mean", 1)


def test_similar_by_id_and_by_file(index: Path, run: Run, colours: Path, tmp_path: Path) -> None:
    told = json.loads(run("similar", 3, "--index", index, "--json")[1])
    assert told["query"]["text"] == "video 3 k 10"
    assert 3 not in [hit["video_id"] for hit in told["hits"]]
    told = json.loads(run("similar", colours / "red.avi", "--index", index, "--json")[1])
    assert (told["hits"][0]["video_id"], told["hits"][0]["score"]) == (3, pytest.approx(1, abs=1e-6))
    code, _, err = run("similar", 1, "--exclude", "patient", "--index", index)
    assert code == 2
    assert "has no patient in the catalog" in err


def test_the_index_is_the_one_given_else_the_variable_else_the_default(
    index: Path, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run("info")
    assert code == 3
    assert f"there is no index at {tmp_path / 'indexes/default'}" in err
    monkeypatch.setenv("ECHOSEARCH_INDEX", str(index))
    assert json.loads(run("info", "--json")[1])["index"] == str(index)
    shutil.copytree(index, tmp_path / "indexes" / "default")
    assert json.loads(run("info", "--json", "--index", "indexes/default")[1])["index"] == str(
        tmp_path / "indexes/default"
    )
    monkeypatch.delenv("ECHOSEARCH_INDEX")
    assert json.loads(run("info", "--json")[1])["videos"] == 3


def test_info_list_and_show(index: Path, run: Run, colours: Path) -> None:
    told = json.loads(run("info", "--index", index, "--json")[1])
    assert (told["videos"], told["studies"], told["patients"], told["embedded_frames"]) == (3, 2, 2, 6)
    assert told["attributes"] == {"EF": "integer"}
    out = run("info", "--index", index)[1]
    assert "3 in 2 studies of 2 patients, 6 frames embedded" in out
    assert "frames       0:40:2, embeddings kept as float32" in out
    told = json.loads(run("list", "--index", index, "--json")[1])
    assert [(video["video_id"], video["attributes"]) for video in told] == [
        (1, {"EF": None}),
        (2, {"EF": None}),
        (3, {"EF": 55}),
    ]
    [row] = list(csv.DictReader(io.StringIO(run("list", "--index", index, "--csv", "--patient", "P1")[1])))
    assert (row["video_id"], row["attr.EF"], row["fps"], row["view"]) == ("3", "55", "19.0", "A4C")
    assert run("list", "--index", index, "--paths", "--study", "S2")[1] == f"{colours / 'green.avi'}\n"
    assert "64x64" in run("list", "--index", index)[1]
    told = json.loads(run("show", 3, "--index", index, "--json")[1])
    assert told["embedded_frame_numbers"] == [0, 2]
    assert told["pooled_norm"] == pytest.approx(1, abs=1e-3)
    assert "attr.EF                  55" in run("show", 3, "--index", index)[1]
    code, _, err = run("show", 99, "--index", index)
    assert (code, "there is no video 99" in err) == (2, True)


def test_failures_end_with_1_and_are_listed(tmp_path: Path, run: Run) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "bad\nname.avi").touch()
    index = tmp_path / "index"
    code, out, _ = run("ingest", tmp_path / "videos", "--index", index, "--model", "toy")
    assert code == 1
    assert "bad\\nname.avi: unreadable-video: the file is empty" in out
    told = json.loads(run("failures", "--index", index, "--json")[1])
    assert told == [
        {
            "path": str(tmp_path / "videos" / "bad\nname.avi"),
            "code": "unreadable-video",
            "message": "the file is empty",
        }
    ]
    assert "unreadable-video" in run("failures", "--index", index)[1]
    assert list(csv.DictReader(io.StringIO(run("failures", "--index", index, "--csv")[1]))) == told


def test_ingest_reports_as_json(index: Path, colours: Path, run: Run) -> None:
    write_video(colours / "grey.avi", plain_frames(2, (90, 90, 90)))
    code, out, err = run("ingest", colours, "--index", index, "--json")
    told = json.loads(out)
    assert (code, told["added"], told["unchanged"], told["generation"]) == (0, 1, 3, 3)
    assert f"index {index}" in err


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["ingest", "nowhere", "--model", "toy"], 2, "nowhere does not exist; give a video file or a folder"),
        (["ingest", ".", "--model", "echoclip"], 2, "did you mean echo-clip or echo-clip-r?"),
        (["ingest", "."], 2, "a new index needs a model; name one with --model:"),
        (["ingest", ".", "--weights", "local-dir:x"], 2, "--weights goes with --model PRESET"),
        (["ingest", ".", "--map", "a=path"], 2, "--map goes with --manifest FILE"),
        (["ingest", ".", "--map", "a"], 2, "'a' is not COLUMN=FIELD"),
        (["ingest", ".", "--model", "toy", "--sampling", "0:0:1"], 2, "a sampling stops after it starts"),
        (["ingest", ".", "--model", "toy", "--workers", "0"], 2, "--workers is at least 1, not 0"),
        (["search"], 2, "Missing argument 'PHRASE...'"),
        (["search", "red", "--index", "nowhere"], 3, "Make one with: echosearch ingest VIDEOS --model MODEL"),
        (["similar", "1", "--exclude", "all"], 2, "'all' is not one of 'study', 'patient', 'content'"),
        (["nonsense"], 2, "No such command 'nonsense'"),
    ],
)
def test_what_cannot_be_done_ends_with_its_code_and_a_sentence(
    arguments: list[str], code: int, sentence: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "x.avi", plain_frames(1, (1, 2, 3)))
    ended, _, err = run(*arguments)
    assert (ended, sentence in err) == (code, True), err
    assert "Traceback" not in err


def test_no_index_path_at_all_is_refused(run: Run) -> None:
    code, _, err = run("info", "--index", "")
    assert (code, "--index is empty" in err) == (2, True)


def test_maps_that_contradict_each_other_are_refused(run: Run, colours: Path, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,a\nred,1\n")
    arguments = ["--manifest", tmp_path / "m.csv", "--map", "a=study", "--map", "a=patient", "--model", "toy"]
    code, _, err = run("ingest", colours, "--index", tmp_path / "index", *arguments)
    assert (code, "--map gives a twice: study and patient" in err) == (2, True)


def test_titles_with_line_breaks_fit_on_a_contact_sheet(index: Path, run: Run, tmp_path: Path) -> None:
    code, _, err = run("search", "red\nleft", "--index", index, "--contact-sheet", tmp_path / "s.png")
    assert code == 0, err
    code, _, err = run("search", "red", "--index", index, "--contact-sheet", tmp_path / "s.jpg")
    assert (code, "the name of the contact sheet ends in .png, not 's.jpg'" in err) == (2, True)


def test_a_full_disk_and_a_closed_pipe_behind_the_output(index: Path) -> None:
    def shell(command: str) -> subprocess.CompletedProcess[str]:
        line = f"{sys.executable} -m echosearch {command}"
        environment = os.environ | {"ECHOSEARCH_INDEX": str(index)}
        return subprocess.run(["bash", "-c", line], env=environment, capture_output=True, text=True, check=False)

    full = shell("list --csv > /dev/full")
    assert (full.returncode, "cannot write the output: No space left on device" in full.stderr) == (4, True)
    closed = shell("list --csv | true; exit ${PIPESTATUS[0]}")
    assert (closed.returncode, "Traceback" in closed.stderr) == (0, False)


def test_a_bug_shows_its_traceback_and_ends_with_70(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("echosearch.encoders.describe_presets", lambda: 1 / 0)
    code, _, err = run("models")
    assert code == 70
    assert "ZeroDivisionError" in err
    assert "this is a bug in echosearch" in err


def test_models_lists_what_each_is_and_where_its_weights_are(run: Run) -> None:
    told = {model["name"]: model for model in json.loads(run("models", "--json")[1])}
    assert set(told) == {"echo-clip", "echo-clip-r", "echo-mini", "open_clip", "toy", "whyxrayclip"}
    assert told["echo-clip-r"]["status"] == "not supported yet: its template tokenizer is still to come"
    assert told["echo-clip"]["weights"] == "hf-hub:mkaichristensen/echo-clip"
    assert told["toy"]["status"] == "needs no weights"
    assert "apical four-chamber" in run("models")[1]


def test_the_contact_sheet_shows_the_best_frames(index: Path, run: Run, tmp_path: Path, colours: Path) -> None:
    sheet = tmp_path / "sheet.png"
    code, out, _ = run("search", "red", "--index", index, "--contact-sheet", sheet)
    assert code == 0
    assert f"contact sheet {sheet}" in out
    picture = np.asarray(Image.open(sheet).convert("RGB")).astype(int)
    middles = [picture[170, 8 + 160 + tile * 328] for tile in range(3)]
    assert np.abs(middles[0] - (220, 20, 20)).max() < 12  # rank 1 is the red one
    assert {int(np.argmax(middle)) for middle in middles} == {0, 1, 2}
    (colours / "red.avi").unlink()
    code, _, err = run("search", "red", "--index", index, "--contact-sheet", sheet)
    assert code == 0
    assert f"no picture of {colours / 'red.avi'}: the file does not exist" in err
    code, _, err = run("search", "red", "--index", index, "--contact-sheet", tmp_path / "none" / "sheet.png")
    assert (code, "cannot write the contact sheet" in err) == (4, True)


def test_every_command_has_help_with_an_example(run: Run) -> None:
    context = click.Context(app)
    for name in [None, *app.list_commands(context)]:
        code, out, _ = run(*([name] if name else []), "--help")
        assert code == 0
        assert "Example:" in out, name
        assert f"echosearch {name or 'ingest'}" in out, name


def test_a_command_imports_no_other_command() -> None:
    code = (
        "import sys; from echosearch.cli.app import _run; _run(['ingest', '--help']); "
        "print(*(name for name in sys.modules if name.startswith('echosearch.cli.')), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stderr.split()) <= {f"echosearch.cli.{name}" for name in ("app", "ingest", "options", "render")}


@pytest.mark.slow
def test_as_a_process_with_names_that_are_not_utf8(tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    write_video(folder / "plain.avi", plain_frames(1, (220, 20, 20)))
    name = os.fsencode(folder) + b"/\xff\n.avi"
    (folder / "plain.avi").rename(os.fsdecode(name))
    environment = os.environ | {"ECHOSEARCH_INDEX": str(tmp_path / "index")}

    def echosearch(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "echosearch", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, check=True)

    echosearch("ingest", str(folder), "--model", "toy")
    assert echosearch("search", "red", "--paths").stdout == name + b"\n"
    assert b"\\udcff\\n.avi" in echosearch("search", "red").stdout
    path = json.loads(echosearch("search", "red", "--json").stdout)["hits"][0]["path"]
    assert os.fsencode(path) == name
    head = subprocess.run(
        f"{sys.executable} -m echosearch list --csv | head -c 10",
        shell=True,
        env=environment,
        capture_output=True,
        check=True,
    )
    assert (head.stdout, head.stderr.splitlines()[1:]) == (b"video_id,p", [])


def test_a_cached_search_imports_no_torch(index: Path, run: Run) -> None:
    run("search", "red", "--index", index)
    code = (
        "import sys; from echosearch.cli.app import _run; "
        f"code = _run(['search', 'red', '--json', '--index', {str(index)!r}]); "
        "sys.exit(code or int(bool({'torch', 'decord', 'cv2', 'open_clip', 'pydantic'} & set(sys.modules))))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["hits"][0]["best_frame"] == 0
