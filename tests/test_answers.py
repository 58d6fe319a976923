"""The JSON of every command: of one frozen type, whose schema lies in tests/schemas, and the same as Python's."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from conftest import plain_frames, write_video
from jsonschema import Draft202012Validator

from echosearch import Index, open_index
from echosearch.api.answers import VideoDetails
from echosearch.api.evaluations import EvaluationAnswer, RetrievalAnswer, evaluation_answer, retrieval_answer
from echosearch.api.purging import plan_purge
from echosearch.api.reembedding import reembed_index
from echosearch.api.schemas import ANSWERS, file_name, schema
from echosearch.api.tasks import TaskList, check_task, task_details
from echosearch.cli.app import app
from echosearch.cohort import AuditedCohort, ExportedCohort, judged_audit, suggestions
from echosearch.encoders import describe_presets
from echosearch.index import check_index
from echosearch.ingest import IngestOptions, delete_videos
from echosearch.learning import read_labels, read_reports
from echosearch.tasks import known_tasks
from echosearch.types import plain

Run = Callable[..., tuple[int, str, str]]
Python = Callable[[Index], Any]

SCHEMAS = Path(__file__).parent / "schemas"

REDS = (200, 190, 180, 170, 160, 90, 80, 70, 60, 50)
"""How red the video of each patient is; the first five count as positive."""

FEW = [
    "labels of 5 patients with the finding and 5 without: from 20 and 80 on a prevalence is given; threshold and p of "
    "so few may be far off"
]


def evaluated(index: Index) -> EvaluationAnswer:
    labels = read_labels(Path("labels.csv"))
    return evaluation_answer(index, index.zeroshot.find("red"), index.zeroshot.evaluate("red", labels, repeats=100))


def found_by_reports(index: Index) -> RetrievalAnswer:
    reports = read_reports(Path("reports.csv"))
    return retrieval_answer(index, index.zeroshot.evaluate_retrieval(reports, repeats=100))


STEPS: list[tuple[str, str, Python | None]] = [
    ("ingest", "videos more --model toy --manifest manifest.csv", None),
    ("search", "red --not blue -k 2", lambda index: index.search("red", without=["blue"], k=2)),
    ("similar", "3 -k 2", lambda index: index.similar(3, k=2)),
    ("list", "--patient P3", lambda index: list(index.videos(patient="P3"))),
    ("failures", "", lambda index: index.failures()),
    ("models", "", lambda _: describe_presets()),
    ("phantom make", "phantoms --studies 1 --seed 3 --workers 1", None),
    ("annotate", "manifest.csv", None),
    ("check", "", lambda index: check_index(index.path)),
    ("check", "--sources --repair", None),
    ("delete", "10 --dry-run", lambda index: delete_videos(index.path, [10], dry_run=True)),
    ("delete", "10", None),
    ("undelete", "10", None),
    ("delete", "10 --purge --dry-run", lambda index: plan_purge(index.path, [10])),
    ("export-embeddings", "all.npz", None),
    ("import-embeddings", "all.npz", None),
    ("reembed", "--dry-run", lambda index: reembed_index(index.path, IngestOptions(), dry_run=True)),
    ("tasks list", "", lambda _: TaskList(tuple(task_details(*each) for each in known_tasks().values()), ())),
    ("tasks show", "red", lambda _: task_details(*known_tasks()["red"])),
    ("tasks show", "ejection_fraction", lambda _: task_details(*known_tasks()["ejection_fraction"])),
    ("tasks validate", "tasks/red.yaml", lambda _: [check_task(Path("tasks/red.yaml"))]),
    ("tasks import", "published.json --dry-run", None),
    ("tasks import", "published.json --prefix published_", None),
    ("info", "", lambda index: index.info()),
    (
        "show",
        "3",
        lambda index: VideoDetails(
            str(index.path), "toy", index.video(3), index.pooled_norm(3), tuple(index.frame_numbers(3).tolist())
        ),
    ),
    ("calibrate", "red --labels labels.csv", lambda index: index.zeroshot.calibrations()[0].new(FEW)),
    ("calibrations list", "", lambda index: [made.shown() for made in index.zeroshot.calibrations()]),
    ("calibrations show", "red", lambda index: index.zeroshot.calibrations()[0].shown()),
    ("probe train", "redness --labels labels.csv", lambda index: index.zeroshot.probes()[0].new(())),
    ("probe list", "", lambda index: [probe.shown() for probe in index.zeroshot.probes()]),
    ("probe show", "redness", lambda index: index.zeroshot.probes()[0].shown()),
    ("sweep", "red pacemaker", None),
    ("sweep", "red pacemaker", lambda index: [found.answer() for found in index.zeroshot.sweep("red", "pacemaker")]),
    ("sweep", "ejection_fraction --no-keep", None),
    ("evaluate", "red --labels labels.csv --repeats 100", evaluated),
    ("evaluate", "retrieval --reports reports.csv --repeats 100", found_by_reports),
    (
        "cohort create",
        "old --where task.red.yes --level patient --sweep-missing",
        lambda index: index.cohorts.get("old"),
    ),
    ("cohort create", "near --near blue --top 3 --level video", lambda index: index.cohorts.get("near")),
    ("cohort create", "more --where task.red.p>0.01 --level patient", lambda index: index.cohorts.get("more")),
    ("cohort list", "", lambda index: [made.manifest() for made in index.cohorts.all()]),
    ("cohort diff", "old more", lambda index: index.cohorts.diff("old", "more")),
    ("cohort rerun", "old", lambda index: index.cohorts.rerun("old").answer()),
    ("cohort export", "old as-csv", lambda index: exported_again(index, "as-csv")),
    ("cohort export", "old as-list --format echonet --label age", None),
    ("cohort sample", "old -n 3 --sheet sheet.csv --no-pictures", None),
    ("fill", "sheet.csv", None),
    (
        "cohort judge",
        "old sheet.csv --wish 0.5",
        lambda index: judged_audit(
            index.cohorts.audits("old")[0],
            suggestions(index.cohorts.get("old"), index.cohorts.audits("old")[0], 0.5),
        ),
    ),
    ("cohort sample", "old -n 3 --sheet borderline.csv --no-pictures --strategy borderline", None),
    ("fill", "borderline.csv", None),
    ("cohort judge", "old borderline.csv", lambda index: judged_audit(index.cohorts.audits("old")[1], ())),
    (
        "cohort show",
        "old",
        lambda index: AuditedCohort(index.cohorts.get("old"), tuple(index.cohorts.audits("old"))),
    ),
    ("delete", "10 --purge --yes", None),
    ("compact", "", None),
]
"""Command, arguments, and the same asked in Python; one after the other on one index."""


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[tuple[Any, Any]]]]:
    """What each command prints with --json, and what Python gives (None where it is not asked)."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("answers")
        patch.chdir(folder)
        patch.setenv("ECHOSEARCH_TASKS", str(folder / "tasks"))
        patch.setenv("ECHOSEARCH_INDEX", str(folder / "index"))
        write_archive(folder)
        found: dict[str, list[tuple[Any, Any]]] = {command: [] for command in ANSWERS}
        for command, arguments, python in STEPS:
            if command == "fill":
                fill(Path(arguments))
            elif command not in ANSWERS:
                printed_by(*command.split(), *arguments.split())
            else:
                told = json.loads(printed_by(*command.split(), *arguments.split(), "--json"))
                found[command].append((told, plain(python(open_index("index"))) if python is not None else None))
        yield found


def fill(sheet: Path) -> None:
    """Judge every unit of a sheet: yes, no, yes, ..."""
    rows = list(csv.DictReader(io.StringIO(sheet.read_text("utf-8-sig"))))
    with sheet.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(row | {"verdict": ("yes", "no")[n % 2]} for n, row in enumerate(rows))


def exported_again(index: Index, folder: str) -> ExportedCohort:
    """The export that a command has just written, written anew."""
    shutil.rmtree(folder)
    return index.cohorts.export("old", Path(folder))


def write_archive(folder: Path) -> None:
    """Ten videos, ever less red, and a broken one; manifest, labels and a task."""
    for n, red in enumerate(REDS):
        write_video(folder / "videos" / f"v{n}.avi", plain_frames(3, (red, 100, 40)), fps=10)
    (folder / "more").mkdir()
    (folder / "more" / "broken.avi").write_bytes(b"no video")
    (folder / "manifest.csv").write_text(
        "path,study,patient,view,age\n"
        + "".join(f"v{n}.avi,S{n},P{n},{'A4C' if n else 'PLAX'},{'' if n == 9 else 10 * n}\n" for n in range(10))
    )
    (folder / "labels.csv").write_text("video,red\n" + "".join(f"v{n}.avi,{int(n < 5)}\n" for n in range(10)))
    (folder / "reports.csv").write_text("study,text\n" + "".join(f"S{n},red number {n}\n" for n in range(10)))
    (folder / "published.json").write_text(json.dumps({"wire": {"mode": "binary", "label_sources": ["WIRE SEEN. "]}}))
    (folder / "tasks").mkdir()
    (folder / "tasks" / "red.yaml").write_text("name: red\nmode: binary\nprompts: ['red']\n")


def printed_by(*arguments: str) -> str:
    """Standard output of a command that ends well, or with 1 where some files failed."""
    from click.testing import CliRunner

    done = CliRunner().invoke(app, arguments, standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return done.stdout


def commands_with_json(group: click.Group, before: str = "") -> Iterator[str]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands_with_json(command, f"{before}{name} ")
        elif any("--json" in option.opts for option in command.params):
            yield f"{before}{name}"


@pytest.mark.parametrize("command", ANSWERS)
def test_the_schema_that_is_kept_is_the_one_that_the_type_has(command: str) -> None:
    kept = json.loads((SCHEMAS / file_name(command)).read_text("utf-8"))
    assert kept == schema(command), "out of step; run: make docs"


def test_every_command_with_json_has_an_answer() -> None:
    assert sorted(ANSWERS) == sorted(commands_with_json(app))


def test_no_schema_is_left_over() -> None:
    assert {file.name for file in SCHEMAS.iterdir()} == {file_name(command) for command in ANSWERS}


@pytest.mark.parametrize("command", ANSWERS)
def test_what_a_command_prints_has_the_schema_of_its_answer(
    command: str, printed: dict[str, list[tuple[Any, Any]]]
) -> None:
    assert printed[command], f"no step of this test runs {command}"
    for told, python in printed[command]:
        Draft202012Validator(schema(command)).validate(told)
        assert python is None or told == json.loads(json.dumps(python))


@pytest.mark.parametrize(
    ("command", "change", "sentence"),
    [
        ("list", {"fps": "10"}, "'10' is not valid"),
        ("list", {"more": 1}, "Additional properties are not allowed"),
        ("failures", {"code": None}, "None is not of type 'string'"),
    ],
)
def test_a_schema_refuses_what_is_not_of_its_type(
    command: str, change: dict[str, Any], sentence: str, printed: dict[str, list[tuple[Any, Any]]]
) -> None:
    told = printed[command][0][0]
    found = [error.message for error in Draft202012Validator(schema(command)).iter_errors([told[0] | change])]
    assert any(sentence in message for message in found), found
    assert "is a required property" in str(
        [error.message for error in Draft202012Validator(schema(command)).iter_errors([{}])]
    )
