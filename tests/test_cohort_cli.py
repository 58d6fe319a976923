"""Filters and cohorts from a terminal: colours as findings, the toy encoder as the model."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import plain_frames, write_video

Run = Callable[..., tuple[int, str, str]]

REDS = (200, 190, 180, 170, 160, 90, 80, 70, 60, 50)
"""How red the video of each patient is; the first five count as positive."""


@pytest.fixture
def index(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten videos of ten patients, v0 to v9, ever less red, calibrated; patient P9 has no age."""
    for n, red in enumerate(REDS):
        write_video(tmp_path / "videos" / f"v{n}.avi", plain_frames(3, (red, 100, 40)), fps=10)
    with (tmp_path / "manifest.csv").open("w") as file:
        file.write("path,study,patient,view,age\n")
        file.writelines(
            f"v{n}.avi,S{n},P{n},{'A4C' if n else 'PLAX'},{'' if n == 9 else 10 * n}\n" for n in range(len(REDS))
        )
    (tmp_path / "labels.csv").write_text("video,red\n" + "".join(f"v{n}.avi,{int(n < 5)}\n" for n in range(10)))
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "red.yaml").write_text("name: red\nmode: binary\nprompts: ['red']\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ECHOSEARCH_TASKS", str(tmp_path / "tasks"))
    monkeypatch.setenv("ECHOSEARCH_INDEX", str(tmp_path / "index"))
    code, _, err = run("ingest", "videos", "--model", "toy", "--manifest", "manifest.csv")
    assert code == 0, err
    ok(run, "calibrate", "red", "--labels", "labels.csv")
    return tmp_path / "index"


def ok(run: Run, *arguments: object) -> str:
    code, out, err = run(*arguments)
    assert code == 0, err
    return out


def refused(run: Run, *arguments: object) -> str:
    code, _, err = run(*arguments)
    assert code == 2, err
    return err


def names(paths: str) -> list[str]:
    return [Path(line).stem for line in paths.splitlines()]


def test_a_filter_is_the_same_everywhere(index: Path, run: Run) -> None:
    where = ("--where", "view = 'A4C' AND age >= 20", "--where", "task.red.yes")
    assert names(ok(run, "list", "--paths", *where)) == ["v2", "v3", "v4"]
    assert set(names(ok(run, "search", "blue", "-k", "9", "--paths", *where))) == {"v2", "v3", "v4"}
    assert names(ok(run, "similar", "3", "--paths", *where)) == ["v3", "v4"]  # id 3 is v2, which is left out
    rows = list(csv.DictReader(ok(run, "sweep", "red", "--csv", *where).splitlines()))
    assert [Path(row["path"]).stem for row in rows] == ["v2", "v3", "v4"]
    told = json.loads(ok(run, "search", "blue", "--json", *where))
    assert told["query"]["filter"] == {"where": [where[1], where[3]], "videos": 3, "no": 7, "unknown": 0}
    assert "filter: 3 videos; no: 7, unknown (a value is missing): 0" in " ".join(told["warnings"])
    out = ok(run, "list", "--where", "age < 50")
    assert "filter: 5 videos; no: 4, unknown (a value is missing): 1" in out


def test_where_p_or_yes_is_asked_their_calibration_is_named(index: Path, run: Run) -> None:
    note = "note: p by calibration red is for a prevalence of 0.5 (the labels' own); its yes (max-f1) is best where"
    for command in (("list",), ("search", "blue"), ("sweep", "red")):
        code, out, err = run(*command, "--where", "task.red.p > 0.1")
        assert (code, note in out + err) == (0, True), command
    ok(run, "cohort", "create", "red", "--where", "task.red.yes")
    assert note in ok(run, "cohort", "show", "red")
    ok(run, "cohort", "export", "red", "exported")
    assert note[6:] in json.loads(Path("exported/manifest.json").read_text())["assumptions"][0]
    ok(run, "cohort", "sample", "red", "--sheet", "sheet.csv", "--no-pictures")
    for written in ("exported/members.csv", "sheet.csv"):
        with Path(written).open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
        assert rows
        assert all(row["p_and_yes"].startswith(note[6:]) for row in rows), written
    with Path("judged.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(row | {"verdict": "yes"} for row in rows)
    said = ok(run, "cohort", "judge", "red", "judged.csv", "--wish", "0.9")
    count = len(rows)
    assert f"would reach a precision of 0.9: {count} of {count} judged there are yes, and {count} of {count}" in said
    assert said.count("flatters itself") == 1
    assert note[6:] in said


def test_a_sweep_of_what_scores_have_chosen_says_no_prevalence(index: Path, run: Run) -> None:
    said = "videos that were chosen by scores"
    assert said in ok(run, "sweep", "red", "--where", "task.red.yes")
    assert said in ok(run, "sweep", "red", "--where", "age > 1 AND NOT task.red.p > 0.1", "--json")
    assert said not in ok(run, "sweep", "red", "--where", "age > 1")
    assert said not in ok(run, "sweep", "red")


def test_what_is_wrong_in_a_filter_is_told_with_its_place(index: Path, run: Run) -> None:
    assert "character 14" in refused(run, "list", "--where", "view = 'A4C' & 1")
    assert "there is no name 'agee'" in refused(run, "list", "--where", "agee > 1")
    assert "was never swept" in refused(run, "list", "--where", "task.pacemaker.value > 0.1")
    assert "--sweep-missing goes with --where" in refused(run, "list", "--sweep-missing")
    ok(run, "list", "--where", "task.pacemaker.value > 0.1", "--sweep-missing")
    ok(run, "list", "--where", "task.pacemaker.value > 0.1")


def test_a_cohort_from_its_making_to_its_audit(index: Path, run: Run, tmp_path: Path) -> None:
    where = ("--where", "task.red.yes AND age >= 20", "--level", "patient")
    assert "nothing was kept (--dry-run)" in ok(run, "cohort", "create", "reds", *where, "--dry-run")
    assert "no cohorts" in ok(run, "cohort", "list")
    out = ok(run, "cohort", "create", "reds", *where, "--about", "A trial.")
    assert "cohort reds: 3 patients with 3 videos" in out
    assert "toy is not a model" in out
    assert "there is a cohort reds already" in refused(run, "cohort", "create", "reds", *where)
    ok(run, "cohort", "create", "all", "--where", "age >= 20")
    assert "reds" in ok(run, "cohort", "list")
    assert "P4" in ok(run, "cohort", "show", "reds")
    assert "cannot be compared" in refused(run, "cohort", "diff", "reds", "all")
    assert "3 stayed, 0 came, 0 went" in ok(run, "cohort", "rerun", "reds", "--save-as", "reds-2")
    assert "in both: 3" in ok(run, "cohort", "diff", "reds", "reds-2")
    ok(run, "delete", "--patient", "P3")
    assert "- P3: none of its videos is in the index any more" in ok(run, "cohort", "rerun", "reds")
    assert "1 videos of the cohort are no longer in the index" in ok(run, "cohort", "export", "reds", "out")
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"members.csv", "manifest.json"}
    assert json.loads(ok(run, "cohort", "manifest", "reds"))["num_members"] == 3
    ok(run, "cohort", "report", "reds", "--out", "reds.html", "--pictures", "2")
    html = (tmp_path / "reds.html").read_text()
    assert "data:image/svg+xml;base64," in html
    assert "P4" not in html
    assert str(tmp_path) not in html
    ok(run, "cohort", "report", "reds", "--out", "ids.html", "--with-ids", "--with-paths")
    assert "P4" in (tmp_path / "ids.html").read_text()
    assert "audit 1: 3 of 3 members, random, seed 0" in ok(run, "cohort", "sample", "reds", "--sheet", "sheet.csv")
    assert (tmp_path / "sheet.png").is_file()
    with (tmp_path / "sheet.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["verdict"] = "no" if row["unit"] == "P4" else "yes"
    with (tmp_path / "judged.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    out = ok(run, "cohort", "judge", "reds", "judged.csv", "--wish", "0.9")
    assert "precision 0.667 (95 % interval 0.667 to 0.667), 2 yes and 1 no of 3 members" in out  # all were judged
    ok(run, "cohort", "labels", "reds", "verdicts.csv")
    assert sorted((tmp_path / "verdicts.csv").read_text().split()) == ["P2,1", "P3,1", "P4,0", "patient,label"]
    ok(run, "cohort", "delete", "reds", "--yes")
    assert "there is no cohort 'reds'" in refused(run, "cohort", "show", "reds")
