"""The commands of the zero-shot side from a terminal: colours as findings, the toy encoder as the model."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import plain_frames, write_video

Run = Callable[..., tuple[int, str, str]]

REDS = (200, 190, 180, 170, 160, 90, 80, 70, 60, 50)
"""How red the video of each patient is; the first five count as positive."""


@pytest.fixture
def index(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten videos of ten patients, v0 to v9, ever less red; and their labels beside the index."""
    for n, red in enumerate(REDS):
        write_video(tmp_path / "videos" / f"v{n}.avi", plain_frames(3, (red, 100, 40)), fps=10)
    with (tmp_path / "manifest.csv").open("w") as file:
        file.write("path,study,patient,view\n")
        file.writelines(f"v{n}.avi,S{n},P{n},{'A4C' if n else 'PLAX'}\n" for n in range(len(REDS)))
    with (tmp_path / "labels.csv").open("w") as file:
        file.write("FileName,reddish,level,Split\n")
        file.writelines(f"v{n},{int(n < 5)},{red},{'TRAIN' if n % 2 else 'TEST'}\n" for n, red in enumerate(REDS))
    (tmp_path / "red.yaml").write_text("name: red\nmode: binary\nprompts: ['red']\n")
    (tmp_path / "colour.yaml").write_text(
        "name: colour\nmode: contrastive\nclasses:\n  red: ['red']\n  green: ['green']\n  blue: ['blue']\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ECHOSEARCH_TASKS", str(tmp_path / "tasks"))
    code, _, err = run("ingest", "videos", "--index", "index", "--model", "toy", "--manifest", "manifest.csv")
    assert code == 0, err
    return tmp_path / "index"


def ok(run: Run, *arguments: object) -> str:
    code, out, err = run(*arguments)
    assert code == 0, err
    return out


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len({key for key, _ in pairs}) == len(pairs), [key for key, _ in pairs]
    return dict(pairs)


@pytest.mark.parametrize(
    "command",
    [
        "sweep red.yaml colour.yaml",
        "search red",
        "similar 1",
        "list",
        "info",
        "tasks list",
        "check",
        "failures",
        "models",
    ],
)
def test_no_json_has_a_key_twice(index: Path, run: Run, command: str) -> None:
    where = [] if command in ("tasks list", "models") else ["--index", index]
    told = json.loads(ok(run, *command.split(), *where, "--json"), object_pairs_hook=_no_key_twice)
    if command.startswith("sweep"):
        assert [(each["num_videos"], len(each["videos"])) for each in told] == [(10, 10), (10, 10)]


def test_a_sweep_prints_every_video_s_scores(index: Path, run: Run) -> None:
    told = json.loads(ok(run, "sweep", "red.yaml", "colour.yaml", "--index", index, "--json"))
    assert [each["task"] for each in told] == ["red", "colour"]
    assert (told[0]["validated"], told[0]["form"], told[0]["scored_now"]) == ("not validated on patients", "exact", 10)
    scores = [row["value"] for row in told[0]["videos"]]
    assert scores == sorted(scores, reverse=True)  # v0 is the reddest
    for row in told[1]["videos"]:
        assert row["red"] + row["green"] + row["blue"] == pytest.approx(1)
    rows = list(csv.DictReader(io.StringIO(ok(run, "sweep", "red.yaml", "--index", index, "--csv"))))
    assert [row["path"].rpartition("/")[2] for row in rows] == [f"v{n}.avi" for n in range(10)]
    assert [float(row["red.value"]) for row in rows] == pytest.approx(scores)
    out = ok(run, "sweep", "red.yaml", "--index", index, "-k", "1")
    assert "red: mean similarity, exact form, 10 videos, 0 scored now; wording: not validated on patients" in out
    assert "no calibration: a score is no probability" in out
    assert "v0.avi" in out
    assert "v1.avi" not in out


def test_only_missing_shows_new_videos_only(index: Path, run: Run) -> None:
    ok(run, "sweep", "red.yaml", "--index", index)
    write_video(index.parent / "videos" / "new.avi", plain_frames(3, (10, 10, 200)), fps=10)
    ok(run, "ingest", "videos", "--index", index)
    out = ok(run, "sweep", "red.yaml", "--index", index, "--only-missing", "--csv")
    [row] = csv.DictReader(io.StringIO(out))
    assert row["path"].endswith("new.avi")


def test_a_sweep_that_keeps_nothing_writes_nothing(index: Path, run: Run) -> None:
    before = json.loads(ok(run, "info", "--index", index, "--json"))["generation"]
    ok(run, "sweep", "red.yaml", "--no-keep", "--index", index)
    assert json.loads(ok(run, "info", "--index", index, "--json"))["generation"] == before


def test_calibrated_scores_have_a_chance_and_a_yes_or_no(index: Path, run: Run) -> None:
    out = ok(run, "calibrate", "red.yaml", "--labels", "labels.csv", "--label-column", "reddish", "--index", index)
    assert "10 videos of 10 patients, 5 positive" in out
    few = "not given (5 of 5, 5 patients: no share below 10 patients)"
    assert f"5 folds over whole patients: sensitivity {few}; specificity {few}; f1 not given" in out
    labels = "labels of 5 patients with the finding and 5 without: from 20 and 80 on a prevalence is given"
    assert f"note: {labels}; threshold and p of so few may be far off" in out
    rows = list(csv.DictReader(io.StringIO(ok(run, "sweep", "red.yaml", "--index", index, "--csv"))))
    assert [row["red.yes"] for row in rows] == ["True"] * 5 + ["False"] * 5
    chances = [float(row["red.p"]) for row in rows]
    assert chances == sorted(chances, reverse=True)
    assert {row["red.p_and_yes"][:54] for row in rows} == {"p by calibration red is for a prevalence of 0.5 (the l"}
    assert chances[0] > 0.5 > chances[-1]
    out = ok(run, "sweep", "red.yaml", "--index", index)
    assert "calibration red (labels.csv, max-f1): 5 of 10 videos that can show it are called positive" in out
    assert f"estimated share that truly has it not given (5 of 10, 10 patients: {labels})" in out
    assert "p by calibration red is for a prevalence of 0.5 (the labels' own); its yes (max-f1) is best where" in out
    assert "assumes that sensitivity and specificity are here what they were on the labelled patients left out" in out


def test_calibrations_are_listed_carried_over_and_deleted(index: Path, run: Run) -> None:
    assert "no calibrations" in ok(run, "calibrations", "list", "--index", index)
    made = ("calibrate", "red.yaml", "--labels", "labels.csv", "--label-column", "reddish", "--index", index)
    ok(run, *made, "--name", "mine", "--rule", "sensitivity:0.9")
    assert "sensitivity:0.9" in ok(run, "calibrations", "list", "--index", index)
    assert "1 / (1 + exp(-(" in ok(run, "calibrations", "show", "mine", "--index", index)
    ok(run, "calibrations", "export", "mine", "mine.json", "--index", index)
    text = Path("mine.json").read_text()
    assert "P0" not in text  # no patient
    assert "v0" not in text  # no file
    code, _, err = run("calibrations", "export", "mine", "mine.json", "--index", index)
    assert (code, "exists already" in err) == (2, True)
    ok(run, "calibrations", "delete", "mine", "--index", index)
    code, _, err = run("calibrations", "show", "mine", "--index", index)
    assert (code, "there is no calibration 'mine'" in err) == (2, True)
    # A user's own task has to be known by name where the calibration goes to.
    Path("tasks").mkdir()
    Path("red.yaml").rename("tasks/red.yaml")
    ok(run, "calibrations", "import", "mine.json", "--index", index)
    assert "mine" in ok(run, "calibrations", "list", "--index", index)


def test_an_evaluation_says_what_was_judged_and_how(index: Path, run: Run) -> None:
    asked = ("evaluate", "red.yaml", "--labels", "labels.csv", "--label-column", "reddish", "--index", index)
    told = json.loads(ok(run, *asked, "--json", "--repeats", "100", "--threshold", "0.5"))
    assert told["threshold"] == {"value": 0.5, "origin": "given", "learnt": False}
    video, study, patient = told["levels"]
    assert [level["level"] for level in (video, study, patient)] == ["video", "study", "patient"]
    auroc = video["figures"]["auroc"]
    assert (auroc["value"], auroc["reason"]) == (None, "no AUROC below 10 patients a class")
    assert (auroc["count"], auroc["of"], auroc["patients"]) == (5, 10, 5)
    assert sum(video["counts"].values()) == 10
    out = ok(run, *asked, "--repeats", "100", "--split", "TEST", "--plot", "roc.png")
    assert "5 videos of 5 patients, 3 positive" in out
    assert Path("roc.png").stat().st_size > 1000


def test_a_published_figure_says_whose_it_is_and_is_not_applied_to_another_model(index: Path, run: Run) -> None:
    """On the toy encoder EchoCLIP's figures mean nothing; a task of one's own may name any model."""
    out = ok(run, "sweep", "pacemaker", "--index", index)
    assert "published for echo-clip, not for this model: threshold of best F1 0.298 (preprint arXiv" in out
    assert "published for echo-clip, not for this model: AUROC 0.84 (preprint arXiv 2308.15670)" in out
    [told] = json.loads(ok(run, "sweep", "pacemaker", "--index", index, "--json"))
    assert [(each["model"], each["applied"]) for each in told["published"]] == [("echo-clip", False)] * 2
    judged = ("--labels", "labels.csv", "--label-column", "reddish", "--index", index)
    assert "published for echo-clip, not for this model: AUROC 0.84" in ok(run, "evaluate", "pacemaker", *judged)
    refusal = (
        "error: the threshold of pacemaker was published for echo-clip, and toy is not that; learn one from labels: "
    )
    for command in (("sweep", "pacemaker", "--index", index), ("evaluate", "pacemaker", *judged)):
        code, _, err = run(*command, "--published-threshold")
        assert (code, err.strip().splitlines()[-1]) == (2, refusal + "echosearch calibrate")
    Path("own.yaml").write_text(
        "name: own\nmode: binary\nprompts: ['red']\npublished:\n"
        "  - {name: threshold, value: 0.5, source: me, model: toy}\n"
    )
    out = ok(run, "sweep", "own.yaml", "--index", index, "--published-threshold")
    assert "published for toy, on other patients, applied, as asked: threshold 0.5 (me)" in out
    assert "threshold 0.5 (published: me)" in ok(run, "evaluate", "own.yaml", *judged, "--published-threshold")


def test_a_probe_is_swept_like_a_task(index: Path, run: Run) -> None:
    labels = ("--labels", "labels.csv", "--label-column", "level", "--index", index)
    out = ok(run, "probe", "train", "level", *labels)
    assert "probe:level, ridge, 32 weights" in out
    told = json.loads(ok(run, "sweep", "probe:level", "--index", index, "--json"))
    values = [row["value"] for row in told[0]["videos"]]
    assert values == pytest.approx(REDS, abs=15)
    assert "probe:level" in ok(run, "probe", "list", "--index", index)
    out = ok(run, "probe", "train", "moving", *labels, "--motion")
    assert "probe:moving, ridge, 64 weights (half of them for how far each dimension varies over the frames)" in out
    code, _, err = run("probe", "train", "level", *labels)
    assert (code, "give another name, or --replace" in err) == (2, True)
    ok(run, "probe", "train", "level", *labels, "--replace")
    assert "probe:level written to" in ok(run, "probe", "export", "level", "level.json", "--index", index)
    text = Path("level.json").read_text()
    assert "P0" not in text  # no patient
    assert "v0" not in text  # no file
    code, _, err = run("probe", "export", "level", "level.json", "--index", index)
    assert (code, "exists already" in err) == (2, True)
    ok(run, "probe", "delete", "level", "--index", index)
    code, _, err = run("sweep", "probe:level", "--index", index)
    assert (code, "there is no probe 'level'" in err) == (2, True)
    assert "probe:level kept" in ok(run, "probe", "import", "level.json", "--index", index)
    again = json.loads(ok(run, "sweep", "probe:level", "--index", index, "--json"))
    assert again[0]["scored_now"] == 0  # the same weights have the same scores
    code, _, err = run("probe", "import", "level.json", "--index", index)
    assert (code, "there is a probe level already" in err) == (2, True)
    ok(run, "probe", "import", "level.json", "--index", index, "--replace")
    Path("level.json").write_text("{}")
    code, _, err = run("probe", "import", "level.json", "--index", index)
    assert (code, "level.json is no probe" in err) == (2, True)


def test_retrieval_by_reports(index: Path, run: Run) -> None:
    with Path("reports.csv").open("w") as file:
        file.write("study,report\nS0,red\nS9,green\n")
    told = json.loads(ok(run, "evaluate", "retrieval", "--reports", "reports.csv", "--index", index, "--json"))
    assert told["pairs"] == 2
    first = told["text_to_video"]["r_at_1"]
    assert (first["value"], first["count"], first["of"]) == (None, 2, 2)
    assert told["published"][0]["pairs"] == 21_484


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("sweep",), "name the tasks to sweep, or give --all"),
        (("sweep", "red.yaml", "--all"), "--all goes without names of tasks"),
        (("sweep", "rde"), "no task is called 'rde'"),
        (("sweep", "red.yaml", "--plot", "scores.pdf"), "the name of the picture ends in .png, not 'scores.pdf'"),
        (("sweep", "red.yaml", "--calibration", "x"), "there is no calibration 'x' in this index; there are none"),
        (("sweep", "red.yaml", "--approximate"), "only regressions are approximated"),
        (("calibrate", "red.yaml"), "labels are needed: --labels FILE"),
        (("calibrate", "red.yaml", "--labels", "labels.csv", "--label-column", "level"), "needs labels 0 and 1"),
        (
            ("calibrate", "red.yaml", "--labels", "labels.csv", "--label-column", "reddish", "--rule", "best"),
            "a threshold is chosen by max-f1, youden, sensitivity:0.9 or precision:0.8, not 'best'",
        ),
        (
            ("calibrate", "colour.yaml", "--labels", "labels.csv", "--label-column", "reddish"),
            "say which classes of colour are positive, some of red, green, blue: --class CLASS",
        ),
        (("evaluate", "red.yaml"), "labels are needed"),
        (("sweep", "red.yaml", "--published-threshold"), "no threshold was published for red"),
        (
            ("evaluate", "retrieval", "--reports", "labels.csv", "--split", "TEST"),
            "--split goes with a task judged by labels, not with evaluate retrieval",
        ),
        (
            ("evaluate", "red.yaml", "--labels", "labels.csv", "--label-column", "reddish", "--view", "A4C"),
            "--view goes with evaluate retrieval, not with evaluate red.yaml",
        ),
        (
            (
                "evaluate",
                "colour.yaml",
                "--class",
                "red",
                "--labels",
                "labels.csv",
                "--label-column",
                "reddish",
                "--threshold",
                "1.5",
            ),
            "a threshold on the weight of classes lies between 0 and 1, not 1.5",
        ),
        (("evaluate", "red.yaml", "--reports", "labels.csv"), "evaluate retrieval and --reports FILE go together"),
        (
            ("evaluate", "red.yaml", "--labels", "labels.csv", "--label-column", "reddish", "--published-threshold"),
            "no threshold was published for red",
        ),
        (
            ("evaluate", "red.yaml", "--labels", "labels.csv", "--label-column", "reddish", "--split", "VAL"),
            "TEST",  # the splits that there are
        ),
    ],
)
def test_what_cannot_be_done_is_a_sentence_and_keeps_nothing(
    index: Path, run: Run, arguments: tuple[str, ...], sentence: str
) -> None:
    before = json.loads(ok(run, "info", "--index", index, "--json"))["generation"]
    code, _, err = run(*arguments, "--index", index)
    assert (code, sentence in err) == (2, True), err
    assert "Traceback" not in err
    assert json.loads(ok(run, "info", "--index", index, "--json"))["generation"] == before
