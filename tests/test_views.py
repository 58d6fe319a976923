"""Does a view show what is asked? The rule itself, and that all who ask it answer alike: yes, no or unknown."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import plain_frames, write_video
from label_helpers import labels_of

import echosearch
from echosearch.cohort.cohort import Definition
from echosearch.encoders import list_presets
from echosearch.errors import BadLabels
from echosearch.index import Store
from echosearch.index.catalog import MetadataChange
from echosearch.ingest import IngestOptions, ingest, read_metadata
from echosearch.phantom import make_archive
from echosearch.tasks.sweep import VIEW_TASK, Swept, sure
from echosearch.tasks.task_text import builtin_tasks
from echosearch.types import ModelRequest
from echosearch.types.views import NO, UNKNOWN, YES, alike, seen_view, shows, tally, view_name

Run = Callable[..., tuple[int, str, str]]

# Names.


@pytest.mark.parametrize(
    ("texts", "name"),
    [
        (
            [
                "A4C",
                "a4c",
                "AP4",
                "ap4c",
                "4CH",
                "4c",
                "A４C",
                "4CV view",
                "4-chamber",
                "apical 4 chamber",
                "Apical four-chamber view",
            ],
            "A4C",
        ),
        (["A2C", "2CH", "apical_two_chamber", "Apical 2 Chamber", "AP2"], "A2C"),
        (["A3C", "ALAX", "APLAX", "Apical long axis", "apical-3-chamber"], "A3C"),
        (["A5C", "apical five chamber"], "A5C"),
        (["PLAX", "plax", "Parasternal_Long", "parasternal long axis", "PSLAX"], "PLAX"),
        (["PSAX", "SAX", "short axis", "Parasternal_Short", "parasternal short-axis view"], "PSAX"),
        (["PSAX-AV", "psax av", "PSAX AV level", "SAX AV"], "PSAX AV"),
        (["Subcostal", "SC", "SUBC", "subcostal 4 chamber", "subxiphoid"], "SUBCOSTAL"),
        (["SSN", "suprasternal", "Suprasternal notch"], "SSN"),
        (["Apical_Doppler", "apical doppler"], "APICAL DOPPLER"),
        (["Doppler_Parasternal_Long"], "DOPPLER PARASTERNAL LONG"),
        (["apical", "Apical view", "APICAL_VIEWS"], "APICAL"),
        (["", None, "unknown", "N/A", "unk", "Indeterminate", "undefined", "not available", "unknown view"], ""),
        (["M-mode"], "M MODE"),
    ],
)
def test_one_view_is_written_in_many_ways(texts: list[str | None], name: str) -> None:
    assert {view_name(text) for text in texts} == {name}
    assert view_name(name) == name
    assert {seen_view(text, "PSAX") for text in texts} == (set(texts) if name else {"PSAX"})
    assert seen_view("unknown", None) == "unknown"


@pytest.mark.parametrize(
    ("wanted", "view", "told"),
    [
        (["A4C"], "apical four-chamber", YES),
        (["4CH"], "A4C", YES),
        (["A4C", "SUBCOSTAL"], "sc", YES),
        (["A4C"], "PLAX", NO),
        (["A4C"], "Apical_Doppler", NO),
        (["A4C"], None, UNKNOWN),
        (["A4C"], "unknown", UNKNOWN),
        (["A4C"], "apical", UNKNOWN),  # which of them is not told
        (["PLAX"], "apical", NO),
        (["PSAX"], "PSAX-AV", YES),  # a level is of its view
        (["PSAX AV"], "PSAX", UNKNOWN),
        (["PSAX AV"], "PSAX-PM", NO),
        (["PSAX AV"], "parasternal", UNKNOWN),
        (["A4C"], "A4C RV focused", UNKNOWN),  # what the other words say is not known
        (["A4C"], "apical 4-chamber (zoom)", UNKNOWN),
        (["A4C"], "A4C/A2C", UNKNOWN),
        (["A4C"], "A2C zoomed", NO),
        (["PLAX"], "PLAX-RVIF", UNKNOWN),
        (["PLAX"], "PLAX color", NO),
        (["A4C"], "mid-esophageal four chamber", NO),
        (["A4C"], "3", UNKNOWN),  # a code of the archive's own
        ([], "anything", YES),
        ([], None, YES),
    ],
)
def test_a_view_shows_it_or_not_or_that_is_unknown(wanted: list[str], view: str | None, told: int) -> None:
    assert shows(wanted, [view]).tolist() == [told]


def test_what_is_alike_and_how_many_there_are() -> None:
    there = ["A4C", "4CH", "PLAX", None, "apical"]
    assert alike(["a4c"], there) == ["a4c", "A4C", "4CH"]
    assert tally({"A4C": 3, "4CH": 2, None: 4, "unk": 1, "PLAX": 1}) == {"A4C": 5, "unknown": 5, "PLAX": 1}
    assert len(shows(["A4C"], [])) == 0


# All who ask answer alike.

REDS = (200, 190, 180, 170, 160, 90, 80, 70, 60, 50)
"""How red each video is; the first five are labelled positive."""

WRITTEN = ("A4C", "apical four-chamber", "PLAX", "", "4CH", "apical", "PSAX", "A4C", "a4c", "unknown")
SHOWN = ("yes", "yes", "no", "unknown", "yes", "unknown", "no", "yes", "yes", "unknown")
"""Whether each shows the lead, which is seen in A4C."""


@pytest.fixture
def index(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten videos of ten patients, v0 to v9, ever less red, calibrated."""
    for n, red in enumerate(REDS):
        write_video(tmp_path / "videos" / f"v{n}.avi", plain_frames(3, (red, 100, 40)), fps=10)
    rows = "".join(f"v{n}.avi,S{n},P{n},{view}\n" for n, view in enumerate(WRITTEN))
    (tmp_path / "manifest.csv").write_text(f"path,study,patient,view\n{rows}")
    (tmp_path / "labels.csv").write_text("video,red\n" + "".join(f"v{n}.avi,{int(n < 5)}\n" for n in range(10)))
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "lead.yaml").write_text("name: lead\nmode: binary\nprompts: ['red']\nviews: [4CH]\n")
    ef = "name: ef\nmode: regression\nprompts: ['red <#>']\nrange: [1, 9]\nunit: '%'\nviews: [a4c]\n"
    (tmp_path / "tasks" / "ef.yaml").write_text(ef)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ECHOSEARCH_TASKS", str(tmp_path / "tasks"))
    monkeypatch.setenv("ECHOSEARCH_INDEX", str(tmp_path / "index"))
    code, _, err = run("ingest", "videos", "--model", "toy", "--manifest", "manifest.csv")
    assert code == 0, err
    ok(run, "calibrate", "lead", "--labels", "labels.csv")
    return tmp_path / "index"


def ok(run: Run, *arguments: object) -> str:
    code, out, err = run(*arguments)
    assert code == 0, err
    return out


def listed(run: Run, *arguments: object) -> list[str]:
    return [Path(line).stem for line in ok(run, "list", "--paths", *arguments).splitlines()]


def rows_of(text: str) -> dict[str, dict[str, str]]:
    return {Path(row["path"]).stem: row for row in csv.DictReader(io.StringIO(text))}


def test_csv_json_text_filter_cohort_and_python_say_the_same(index: Path, run: Run) -> None:
    # Of what a filter is true, no and unknown.
    positive, negative = ["v0", "v1", "v4"], ["v7", "v8"]
    assert listed(run, "--where", "task.lead.yes") == positive
    assert listed(run, "--where", "NOT task.lead.yes") == negative
    assert listed(run, "--where", "task.lead.value IS NULL") == ["v2", "v3", "v5", "v6", "v9"]
    opened = echosearch.open_index(index)
    found = opened.matching(["task.lead.yes"])
    assert (found.no, found.unknown) == (2, 5)
    note = "of 3 videos it is not known whether their view shows lead, so it is unknown for them"
    told_of = f"{note} (--all-views counts them)"
    assert told_of in found.notes
    # A cohort.
    made = opened.cohorts.create("lead", Definition(("task.lead.yes",), "video"))
    assert [(step.kept, step.no, step.unknown) for step in made.steps[1:]] == [(3, 2, 5)]
    assert told_of in made.notes
    assert opened.cohorts.rerun("lead").stayed == tuple(member.unit for member in made.members)
    # CSV: without those of no; unknown is empty.
    rows = rows_of(ok(run, "sweep", "lead", "--csv"))
    assert {name: row["lead.shows"] for name, row in rows.items()} == {
        f"v{n}": shown for n, shown in enumerate(SHOWN) if shown != "no"
    }
    yes = {name: row["lead.yes"] for name, row in rows.items()}
    assert {name for name, value in yes.items() if value == "True"} == set(positive)
    assert {name for name, value in yes.items() if value == "False"} == set(negative)
    assert {name for name, value in yes.items() if value == ""} == {"v3", "v5", "v9"}
    assert all((row["lead.p"] == "") == (row["lead.yes"] == "") for row in rows.values())
    # JSON and Python.
    [told] = json.loads(ok(run, "sweep", "lead", "--json"))
    names = {video.video_id: Path(video.path).stem for video in opened.videos()}
    assert {names[row["video_id"]]: row["yes"] for row in told["scores" if "scores" in told else "videos"]} == {
        name: {"True": True, "False": False, "": None}[value] for name, value in yes.items()
    }
    assert told["shows"] == {"yes": 5, "unknown": 3, "no": 0}
    assert (told["called"]["videos"], told["called"]["positive"]) == (5, 3)
    [swept] = opened.zeroshot.sweep("lead")
    assert swept.shown.tolist() == [1, 1, 0, 1, 0, 1, 1, 0]
    assert swept.rows()["yes"].tolist() == [True, True, None, True, None, False, False, None]
    assert "lead is seen in 4CH; 2 videos have another view and are left out (--all-views)" in swept.warnings
    apart = "they are listed apart and do not count (--all-views)"
    assert f"lead is seen in 4CH; of 3 videos the view is not known: {apart}" in swept.warnings
    # Text.
    text = ok(run, "sweep", "lead")
    first, second = text.split("3 videos whose views are not known, apart:")
    assert [f"v{n}" for n in range(10) if f"v{n}.avi" in first] == ["v0", "v1", "v4", "v7", "v8"]
    assert [f"v{n}" for n in range(10) if f"v{n}.avi" in second] == ["v3", "v5", "v9"]
    assert "3 of 5 videos that can show it are called positive" in first


def test_all_views_takes_in_what_is_unknown_and_marks_the_rest(index: Path, run: Run) -> None:
    assert listed(run, "--where", "task.lead.yes", "--all-views") == ["v0", "v1", "v3", "v4"]
    assert listed(run, "--where", "NOT task.lead.yes", "--all-views") == ["v5", "v7", "v8", "v9"]
    opened = echosearch.open_index(index, all_views=True)
    made = opened.cohorts.create("all", Definition(("task.lead.yes",), "video"))
    assert [(step.kept, step.no, step.unknown) for step in made.steps[1:]] == [(4, 4, 2)]
    rows = rows_of(ok(run, "sweep", "lead", "--csv", "--all-views"))
    assert [row["lead.shows"] for row in rows.values()] == list(SHOWN)
    assert [name for name, row in rows.items() if row["lead.yes"] == ""] == ["v2", "v6"]
    assert [name for name, row in rows.items() if row["lead.yes"] == "True"] == ["v0", "v1", "v3", "v4"]
    text = ok(run, "sweep", "lead", "--all-views")
    assert "v2.avi" in text.split("2 videos whose views do not show it, apart:")[1]
    # A cohort keeps what it was made with, however it is rerun.
    assert len(echosearch.open_index(index).cohorts.rerun("all").stayed) == 4
    assert made.to_dict()["all_views"] is True


def test_a_ranking_of_values_lists_no_view_that_cannot_show_it(index: Path, run: Run) -> None:
    [swept] = echosearch.open_index(index).zeroshot.sweep("ef")
    paths = [Path(video.path).stem for video in echosearch.open_index(index).videos_of(swept.ids.tolist())]
    assert paths == [f"v{n}" for n in range(10) if SHOWN[n] != "no"]
    assert "PLAX" not in ok(run, "sweep", "ef", "-k", "20")
    told = echosearch.open_index(index).zeroshot.write_predictions("ef", index.parent / "out.csv")
    assert [row.split(",")[0] for row in (index.parent / "out.csv").read_text().splitlines()[1:]] == paths
    assert told == (
        "of 3 videos it is not known whether their view shows ef; they are written",
        "2 videos have a view that does not show ef and are left out",
    )


def test_labels_given_for_a_video_of_unknown_view_count_and_are_told(index: Path, run: Run) -> None:
    zeroshot = echosearch.open_index(index).zeroshot
    [made] = zeroshot.calibrations()
    assert (made.videos, made.positives) == (8, 4)
    labels = labels_of(index.parent, {f"v{n}.avi": int(n < 5) for n in range(10)}, name="more.csv")
    told = zeroshot.evaluate("lead", labels, repeats=10)
    assert told.levels[0].units == 8
    assert "2 labelled videos have a view that does not show lead and are left out" in told.warnings
    assert "of 3 labelled videos it is not known whether their view shows lead; they count" in told.warnings


def test_views_are_asked_for_as_the_field_writes_them(index: Path, run: Run) -> None:
    four = ["v0", "v1", "v4", "v7", "v8"]
    assert listed(run, "--where", "view = 'A4C'") == four
    assert listed(run, "--where", "view = 'apical 4 chamber'") == four
    assert listed(run, "--where", "view IN ('ap4', 'plax')") == ["v0", "v1", "v2", *four[2:]]
    assert listed(run, "--where", "view != 'A4C'") == ["v2", "v5", "v6", "v9"]  # v3 has none: unknown
    assert listed(run, "--where", "view LIKE 'a4%'") == ["v0", "v7", "v8"]  # as it is written
    assert listed(run, "--where", "view IS NULL") == ["v3"]
    opened = echosearch.open_index(index)
    assert opened.matching(["view = 'A4C'"]).notes == ()
    assert opened.matching(["view = 'A2C'"]).notes == ("no video has 'A2C' in video.view",)
    assert [video.view for video in opened.videos()] == [view or None for view in WRITTEN]  # as the user wrote it
    assert opened.info().views == {"A4C": 5, "unknown": 2, "PLAX": 1, "APICAL": 1, "PSAX": 1}
    ok(run, "cohort", "create", "every", "--where", "num_frames > 0")
    ok(run, "cohort", "export", "every", "out", "--view", "ap4")
    assert list(rows_of(Path("out/members.csv").read_text())) == four
    labels = labels_of(index.parent, {f"v{n}.avi": n for n in range(10)}, name="sizes.csv")
    with pytest.raises(BadLabels, match="none of the 10 labelled videos has the view A2C"):
        opened.zeroshot.train_probe("size", labels, "ridge", views=("A2C",))


def test_an_archive_without_views_can_be_used(index: Path, run: Run) -> None:
    with Store(index).writer() as writer, writer.transaction() as transaction:
        transaction.videos.change_metadata([MetadataChange(n, {"view": None}, {}) for n in range(1, 11)])
    text = ok(run, "sweep", "lead")
    assert "lead is seen in 4CH; of 10 videos the view is not known" in text
    assert "10 videos whose views are not known, apart:" in text
    assert "v0.avi" in text
    assert listed(run, "--where", "task.lead.yes") == []
    assert len(listed(run, "--where", "task.lead.yes", "--all-views")) == 5
    ok(run, "evaluate", "lead", "--labels", "labels.csv", "--repeats", "100")


# Predicted views.


def swept_views(weights: list[list[float]]) -> Swept:
    columns = {name: np.array(values) for name, values in zip(("A4C", "PLAX"), zip(*weights, strict=True), strict=True)}
    return Swept(None, np.arange(1, len(weights) + 1), columns, 0)  # type: ignore[arg-type]


def test_a_view_is_predicted_where_one_class_has_nine_tenths() -> None:
    assert sure(swept_views([[0.9, 0.1], [0.89, 0.11], [0.02, 0.98]])) == {1: "A4C", 2: None, 3: "PLAX"}


def test_only_models_that_are_measured_tell_views() -> None:
    told = {name: preset.measured for name, preset in list_presets().items() if preset.measured}
    assert list(told) == ["echo-mini"]
    assert told["echo-mini"][VIEW_TASK]["accuracy"] == 1.0
    assert set(told["echo-mini"][VIEW_TASK]) == {"accuracy", "of", "source"}
    assert {task for measured in told.values() for task in measured} <= set(builtin_tasks())


@pytest.mark.slow
def test_views_that_the_manifest_does_not_tell_are_predicted_at_ingest(tmp_path: Path, run: Run) -> None:
    make_archive(tmp_path / "archive", 8, 3)
    with (tmp_path / "archive" / "manifest.csv").open() as file:
        rows = list(csv.DictReader(file))
    truth = {Path(row["path"]).name: row["view"] for row in rows}
    told = {row["path"]: row["view"] if n % 2 else ("", "unknown")[n // 2 % 2] for n, row in enumerate(rows)}
    text = "".join(f"{path},{view}\n" for path, view in told.items())
    (tmp_path / "archive" / "half.csv").write_text(f"path,view\n{text}")
    path = tmp_path / "index"
    tables = [read_metadata(tmp_path / "archive" / "half.csv")]
    ingest(path, [tmp_path / "archive" / "videos"], IngestOptions(ModelRequest("echo-mini"), workers=2), tables)
    opened = echosearch.open_index(path)
    videos = list(opened.videos())
    unknown = [video for video in videos if video.view in (None, "unknown")]
    assert len(unknown) == len(videos) - len(videos) // 2
    predicted = [video for video in unknown if video.view_predicted is not None]
    assert len(predicted) >= 0.9 * len(unknown)
    right = [video.view_predicted == truth[Path(video.path).name] for video in predicted]
    assert np.mean(right) >= 0.95
    # The one view that is known or predicted decides, and is named as predicted.
    seen = {video.video_id: video.view_predicted if video in unknown else video.view for video in videos}
    four = [video for video in videos if seen[video.video_id] == "A4C"]
    found = opened.matching(["view = 'A4C'"])
    assert found.ids.tolist() == [video.video_id for video in four]
    assert found.notes == (f"the view of {len(predicted)} videos is predicted by echo-mini, and not in the manifest",)
    assert opened.matching(["view IS NULL"]).ids.tolist() == [
        video.video_id for video in unknown if video.view is video.view_predicted is None
    ]
    [swept] = opened.zeroshot.sweep("pacemaker")
    wanted = [video.video_id for video in videos if seen[video.video_id] in ("A4C", "SUBCOSTAL", None)]
    assert swept.ids.tolist() == wanted
    assert "(predicted)" in ok(run, "list", "--index", path)
    listing = json.loads(ok(run, "list", "--json", "--index", path))
    assert [row["view_predicted"] for row in listing] == [video.view_predicted for video in videos]
    made = opened.cohorts.create("four", Definition(("view = 'A4C'",), "video"))
    assert {member.values["video.view"] for member in made.members} == {"A4C", "A4C (predicted)"}
    ok(run, "cohort", "export", "four", tmp_path / "out", "--index", path)
    exported = rows_of((tmp_path / "out" / "members.csv").read_text())
    assert {row["view"].replace("unknown", "") or f"{row['view_predicted']}!" for row in exported.values()} == {
        "A4C",
        "A4C!",
    }


@pytest.mark.slow
def test_an_index_of_before_gets_its_views_with_the_next_sweep(tmp_path: Path) -> None:
    make_archive(tmp_path / "archive", 2, 3)
    path = tmp_path / "index"
    ingest(path, [tmp_path / "archive" / "videos"], IngestOptions(ModelRequest("echo-mini"), workers=2))
    store = Store(path)
    with store.writer() as writer, writer.transaction() as transaction:  # as if nothing had been predicted
        ids = [video.video_id for video in transaction.videos.records()]
        transaction.videos.predict_views(dict.fromkeys(ids))  # scores of the view task were kept before as well
    opened = echosearch.open_index(path)
    assert {video.view_predicted for video in opened.videos()} == {None}
    opened.zeroshot.sweep("view")
    assert len({video.view_predicted for video in opened.videos()} - {None}) >= 2
