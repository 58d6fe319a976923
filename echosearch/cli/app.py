"""The commands. Each reads its options, calls one thing below, and prints what it gives."""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from echosearch import __version__
from echosearch.cli import render
from echosearch.cli.cohort import cohort
from echosearch.cli.evaluate import evaluate
from echosearch.cli.exchange import export_embeddings, import_embeddings
from echosearch.cli.keeping import annotate, check, compact, delete, reembed, roots, undelete
from echosearch.cli.learn import calibrate, calibrations, probe
from echosearch.cli.opening import open_index, sweep_named
from echosearch.cli.options import (
    FilePath,
    Finite,
    IdOrFile,
    MappingType,
    SamplingType,
    Whole,
    column_fields,
    force_option,
    index_option,
    model_runtime_options,
    output_option,
    query_options,
    sweep_missing_option,
    wait_option,
    where_option,
)
from echosearch.cli.phantom import phantom
from echosearch.cli.reading import failures, info, list_videos, models, show
from echosearch.cli.sweep import sweep
from echosearch.cli.tasks import tasks
from echosearch.config import index_path
from echosearch.errors import BackendError, BadOption, EchoSearchError, InputError
from echosearch.interrupt import INTERRUPTED, TwoInterrupts

if TYPE_CHECKING:
    from echosearch.api import Index
    from echosearch.files import Output
    from echosearch.types import IngestReport, SearchResult

INTERNAL_ERROR = 70


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="echosearch")
def app() -> None:
    """Search echocardiogram videos by report phrase and by example.

    A research tool: it ranks videos by similarity and diagnoses nothing.

    \b
    Example:
      echosearch ingest /data/echo --model echo-clip
      echosearch search "SEVERE LV DILATION"
      echosearch similar 17 --contact-sheet alike.png

    Exit codes: 0 done, 1 some videos failed, 2 cannot be done as asked, 3 the index does not allow it,
    4 something beneath failed, 70 a bug, 130 interrupted.
    """


@app.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...", type=FilePath())
@index_option
@click.option(
    "--model",
    metavar="MODEL",
    help="PRESET, open_clip:ARCH/TAG, hf-hub:ORG/NAME or local-dir:PATH "
    "(see `echosearch models`). Needed for a new index; later the index knows it. A preset's weights are recognised "
    "by address, folder or tensors, and prepared as published; weights that may be a preset's or not are asked about.",
)
@click.option(
    "--weights",
    metavar="WHERE",
    help="Where else the preset's weights lie: local-dir:PATH, hf-hub:ORG/NAME or open_clip:ARCH/FILE. With --model "
    "open_clip: the weights of a model that is no preset, and is prepared as open_clip does it.",
)
@click.option(
    "--manifest",
    type=FilePath(dir_okay=False),
    metavar="FILE",
    help="A CSV with a row for each file: path, study, patient, view, acquired_at; "
    "every other column is kept as a typed attribute.",
)
@click.option(
    "--map",
    "column_map",
    multiple=True,
    type=MappingType(),
    metavar="COLUMN=FIELD",
    help="Which column of the manifest is path, study, patient, view or acquired_at. May be repeated.",
)
@click.option(
    "--frames",
    type=click.Choice(["float32", "float16", "none"]),
    help="How frame embeddings are kept (new index only). Default: float32. none: no best frames, no per-frame scores.",
)
@click.option(
    "--sampling",
    type=SamplingType(),
    metavar="FRAMES",
    help="Frames to embed: all, even:N or START:STOP:STRIDE. Default: the model's usual ones.",
)
@click.option("--workers", type=Whole(), metavar="N", help="Decoding processes. Default: half of the processors.")
@click.option(
    "--timeout",
    type=Finite(),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="Give up on a video that takes longer to decode.",
)
@click.option(
    "--worker-memory",
    type=Finite(),
    default=4.0,
    show_default=True,
    metavar="GIB",
    help="Address space of each decoding process; a video that needs more fails.",
)
@wait_option
@click.option("--retry-failed", is_flag=True, help="Try files again that failed before and have not changed since.")
@click.option("--undelete", is_flag=True, help="Ingest files again that were deleted from the index.")
@click.option("--rehash", is_flag=True, help="Read all files again, also those with the size and time that they had.")
@click.option("--prune", is_flag=True, help="Afterwards delete videos below SOURCE whose files are gone.")
@click.option("--yes", is_flag=True, help="With --prune: also when more than a tenth is gone.")
@model_runtime_options
@output_option("json")
def ingest(
    sources: tuple[Path, ...],
    index: str | None,
    model: str | None,
    weights: str | None,
    manifest: Path | None,
    column_map: tuple[tuple[str, str], ...],
    frames: Any,
    sampling: Any,
    workers: int | None,
    timeout: float,
    worker_memory: float,
    retry_failed: bool,
    undelete: bool,
    rehash: bool,
    prune: bool,
    yes: bool,
    wait: float,
    device: Any,
    precision: Any,
    output: str | None,
) -> int:
    """Embed videos and add them to an index; run again, only new and changed files are done.

    SOURCE is a video or still (AVI, MP4, MOV, MKV, WebM; PNG, JPEG, BMP, TIFF) or a folder of them.

    \b
    Example:
      echosearch ingest /data/echo --model echo-clip --manifest studies.csv --map StudyUID=study
      echosearch ingest /data/echo --model echo-clip --weights local-dir:/models/echo-clip
      echosearch ingest /data/echo --model open_clip --weights local-dir:/models/own
    """  # fmt: skip
    from echosearch.cli.progress import ingest_progress
    from echosearch.config import default_workers
    from echosearch.ingest import IngestOptions, ingest as run, read_metadata
    from echosearch.types import ModelRequest

    if model is None and weights is not None:
        raise BadOption("--weights goes with --model PRESET")
    if column_map and manifest is None:
        raise BadOption("--map goes with --manifest FILE")
    path = index_path(index)
    request = None
    if model is not None:
        request = ModelRequest(model, weights, device, precision, sampling)
    elif sampling is not None:
        raise BadOption("--sampling goes with --model; an index keeps the sampling that it was made with")
    options = IngestOptions(
        model=request,
        frames=frames,
        workers=default_workers() if workers is None else workers,
        timeout_seconds=timeout,
        worker_memory_gib=worker_memory,
        device=device,
        precision=precision,
        retry_failed=retry_failed,
        undelete=undelete,
        rehash=rehash,
        prune=prune,
        yes=yes,
        wait_seconds=wait,
    )
    tables = [read_metadata(manifest, column_fields(column_map))] if manifest is not None else []
    click.echo(f"index {render.printable(str(path))}", err=output is not None)
    with ingest_progress() as listener:
        report = run(path, sources, options, tables, listener)
    if output == "json":
        render.print_json(report.to_dict())
    else:
        for warning in report.warnings:
            click.echo(f"note: {render.printable(warning)}")
        click.echo(f"model {render.printable(report.model)}")
        click.echo(_ingest_summary(report))
        render.print_failures(report.failures)
    return 1 if report.failures else 0


def _ingest_summary(report: IngestReport) -> str:
    """One line: what was done, then what was left alone and why."""
    parts = [
        f"{report.added} added, {report.replaced} replaced, {report.unchanged} unchanged, {len(report.failures)} failed"
    ]
    for count, words in (
        (report.copies, "with the bytes of another file, so not encoded again"),
        (report.moved, "moved"),
        (report.returned, "back, as they were known"),
        (report.updated, "with new metadata"),
        (report.pruned, "pruned"),
        (report.failed_earlier, "failed earlier (--retry-failed)"),
        (report.deleted_earlier, "deleted earlier (echosearch undelete, or --undelete)"),
    ):
        if count:
            parts.append(f"{count} {words}")
    return (
        f"{', '.join(parts)}; generation {report.generation}; "
        f"start-up {report.seconds_starting:.1f} s, work {report.seconds_working:.1f} s"
    )


@app.command()
@click.argument("phrases", nargs=-1, required=True, metavar="PHRASE...")
@click.option(
    "--not",
    "without",
    multiple=True,
    metavar="PHRASE",
    help="Rank videos that match this phrase lower. May be repeated.",
)
@click.option(
    "--score",
    type=click.Choice(["cosine", "mean"]),
    default="cosine",
    show_default=True,
    help="mean: the inner product with the mean frame embedding as it is (EchoCLIP-R's published form).",
)
@where_option
@sweep_missing_option
@index_option
@query_options
@force_option
@model_runtime_options
@output_option("json", "csv", "paths")
def search(
    phrases: tuple[str, ...],
    without: tuple[str, ...],
    score: Any,
    where: tuple[str, ...],
    sweep_missing: bool,
    index: str | None,
    k: int,
    min_score: float | None,
    model: str | None,
    contact_sheet: Path | None,
    force: bool,
    device: Any,
    precision: Any,
    output: str | None,
) -> None:
    """Find videos by report phrases; several phrases are averaged.

    Scores of different phrases are not comparable: the percentile says what share of all videos scores no
    higher for this query. The frame is the 0-based one of the file that matches best.

    \b
    Example:
      echosearch search "SEVERE LV DILATION" -k 5
      echosearch search "PACER LEAD IN THE RIGHT VENTRICLE" --not "MITRAL CLIP" --json
    """  # fmt: skip
    opened = open_index(index, model, device, precision)
    sheet = _sheet(opened, contact_sheet, force)
    sweep_named(opened, where, sweep_missing)
    result = opened.search(*phrases, without=without, k=k, min_score=min_score, score=score, where=where)
    _answer(result, output, sheet, " + ".join(phrases) + "".join(f" - {phrase}" for phrase in without))


@app.command()
@click.argument("example", metavar="ID|FILE", type=IdOrFile())
@click.option(
    "--exclude",
    multiple=True,
    type=click.Choice(["study", "patient", "content"]),
    help="Leave out videos of the example's study, patient, or with its bytes. May be repeated.",
)
@where_option
@sweep_missing_option
@index_option
@query_options
@force_option
@model_runtime_options
@output_option("json", "csv", "paths")
def similar(
    example: int | Path,
    exclude: tuple[Any, ...],
    where: tuple[str, ...],
    sweep_missing: bool,
    index: str | None,
    k: int,
    min_score: float | None,
    model: str | None,
    contact_sheet: Path | None,
    force: bool,
    device: Any,
    precision: Any,
    output: str | None,
) -> None:
    """Find videos that look like an example: the id of a video of the index, or any video file.

    A video asked for by id is left out of its own hits; copies of it are not (--exclude content).

    \b
    Example:
      echosearch similar 17 --exclude patient
      echosearch similar new.avi -k 5 --contact-sheet alike.png
    """  # fmt: skip
    opened = open_index(index, model, device, precision)
    sheet = _sheet(opened, contact_sheet, force, [example] if isinstance(example, Path) else [])
    sweep_named(opened, where, sweep_missing)
    result = opened.similar(example, k=k, exclude=exclude, min_score=min_score, where=where)
    _answer(result, output, sheet, f"similar to {example}")


def _sheet(opened: Index, path: Path | None, force: bool, inputs: Sequence[Path] = ()) -> Output | None:
    if path is None and force:
        raise BadOption("--force goes with --contact-sheet PNG")
    return None if path is None else opened.output(path, "the contact sheet", ".png", force, inputs)


def _answer(result: SearchResult, output: str | None, sheet: Output | None, title: str) -> None:
    render.print_result(result, output)
    if sheet is None:
        return
    from echosearch.pictures import write_contact_sheet

    for warning in write_contact_sheet(sheet, title, result.hits, result.warnings):
        click.echo(f"note: {render.printable(warning)}", err=True)
    click.echo(f"contact sheet {render.printable(str(sheet.path))}", err=output is not None)


for command in (
    *(info, list_videos, show, failures, models),
    *(annotate, check, compact, delete, reembed, roots, undelete, export_embeddings, import_embeddings),
    *(calibrate, calibrations, cohort, evaluate, probe, sweep, tasks, phantom),
):
    app.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and end the process with its exit code."""
    interrupts = TwoInterrupts()
    try:
        with interrupts:
            exit_code = _run(arguments)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  the edge of the process
        # While a library is being imported, or a commit undone, an interrupt comes out as an error of any kind.
        came = interrupts.came or isinstance(error, KeyboardInterrupt | click.Abort)
        exit_code = _say("interrupted", INTERRUPTED) if came else _in_words(error)
    sys.exit(exit_code)


def _run(arguments: Sequence[str] | None) -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        # File names of any bytes go out as they are; where the encoding lacks a letter, it is escaped.
        utf8 = sys.stdout.encoding.lower().replace("-", "") == "utf8"
        sys.stdout.reconfigure(errors="surrogateescape" if utf8 else "backslashreplace")
    result = app.main(arguments, prog_name="echosearch", standalone_mode=False)
    sys.stdout.flush()
    return int(result or 0)


def _in_words(error: BaseException) -> int:
    """Say what went wrong, and give the exit code of that."""
    if isinstance(error, EchoSearchError):
        return _say(f"error: {error}", error.exit_code)
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, OSError):
        reason = error.strerror or str(error)
        if isinstance(error.filename, str | bytes):
            return _say(f"error: {os.fsdecode(error.filename)}: {reason}", InputError.exit_code)
        if _output_fails():
            return _say(f"error: cannot write the output: {reason}", BackendError.exit_code)
        return _say(f"error: the system refused something: {reason}", BackendError.exit_code)
    traceback.print_exception(error)
    return _say("error: this is a bug in echosearch; please report the lines above", INTERNAL_ERROR)


def _output_fails() -> bool:
    """Whether what is still to be written to standard output cannot be written; then it is given up."""
    try:
        sys.stdout.flush()
    except OSError:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115  else Python complains at exit
        return True
    return False


def _say(sentence: str, exit_code: int) -> int:
    click.echo(render.printable_lines(sentence), err=True)
    return exit_code
