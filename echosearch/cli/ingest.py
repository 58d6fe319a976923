"""`echosearch ingest`: videos into an index."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from echosearch.cli import render
from echosearch.cli.options import (
    FilePath,
    Finite,
    SamplingType,
    Whole,
    column_fields,
    index_option,
    map_option,
    model_runtime_options,
    output_option,
    wait_option,
)
from echosearch.config import default_workers, index_path
from echosearch.errors import BadOption

if TYPE_CHECKING:
    from echosearch.types import IngestReport


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...", type=FilePath())
@index_option
@click.option(
    "--model",
    metavar="MODEL",
    help="PRESET, open_clip:ARCH/TAG, hf-hub:ORG/NAME or local-dir:PATH "
    "(see `echosearch models`). Needed for a new index; later the index knows it. Weights of a preset are recognised "
    "by address, folder or tensors, and prepared as published; where that is in doubt, ingest asks you to say which.",
)
@click.option(
    "--weights",
    metavar="WHERE",
    help="Where else the preset's weights lie: local-dir:PATH, hf-hub:ORG/NAME or open_clip:ARCH/FILE. With --model "
    "open_clip: the weights of a model that is not a preset, prepared as open_clip does it.",
)
@click.option(
    "--manifest",
    type=FilePath(dir_okay=False),
    metavar="FILE",
    help="A CSV with one row per file: path, study, patient, view, acquired_at; "
    "every other column is kept as a typed attribute.",
)
@map_option("Which column of the manifest")
@click.option(
    "--frames",
    type=click.Choice(["float32", "float16", "none"]),
    help="How to store frame embeddings (new index only). Default: float32. none: no best frames, no per-frame scores.",
)
@click.option(
    "--sampling",
    type=SamplingType(),
    metavar="FRAMES",
    help="Frames to embed: all, even:N or START:STOP:STRIDE. Default: the model's usual ones.",
)
@click.option(
    "--workers",
    type=Whole(),
    default=default_workers,
    show_default="half of the processors",
    metavar="N",
    help="Decoding processes.",
)
@click.option(
    "--timeout",
    "timeout_seconds",
    type=Finite(),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="Give up on a video that takes longer to decode.",
)
@click.option(
    "--worker-memory",
    "worker_memory_gib",
    type=Finite(),
    default=4.0,
    show_default=True,
    metavar="GIB",
    help="Address space of each decoding process; a video that needs more fails.",
)
@wait_option
@click.option("--retry-failed", is_flag=True, help="Retry files that failed before and have not changed since.")
@click.option("--undelete", is_flag=True, help="Also ingest files that were deleted from the index.")
@click.option("--rehash", is_flag=True, help="Read all files again, including those whose size and time are unchanged.")
@click.option("--prune", is_flag=True, help="Afterwards delete videos below SOURCE whose files are gone.")
@click.option("--yes", is_flag=True, help="With --prune: even if more than a tenth of them is gone.")
@model_runtime_options
@output_option("json")
def ingest(
    sources: tuple[Path, ...],
    index: str | None,
    model: str | None,
    weights: str | None,
    manifest: Path | None,
    column_map: tuple[tuple[str, str], ...],
    sampling: Any,
    wait: float,
    output: str | None,
    **others: Any,
) -> int:
    """Embed videos and add them to an index. Run again, it only processes new and changed files.

    SOURCE is a video or still (AVI, MP4, MOV, MKV, WebM; PNG, JPEG, BMP, TIFF) or a folder of them.

    \b
    Example:
      echosearch ingest /data/echo --model echo-clip --manifest studies.csv --map StudyUID=study
      echosearch ingest /data/echo --model echo-clip --weights local-dir:/models/echo-clip
      echosearch ingest /data/echo --model open_clip --weights local-dir:/models/own
    """  # fmt: skip
    from echosearch.ingest import IngestOptions, ingest as run, read_metadata
    from echosearch.types import ModelRequest

    if model is None and weights is not None:
        raise BadOption("--weights goes with --model PRESET")
    if column_map and manifest is None:
        raise BadOption("--map goes with --manifest FILE")
    if model is None and sampling is not None:
        raise BadOption("--sampling goes with --model; an index keeps the sampling that it was made with")
    request = None
    if model is not None:
        request = ModelRequest(model, weights, others["device"], others["precision"], sampling)
    options = IngestOptions(request, wait_seconds=wait, **others)
    path = index_path(index)
    tables = [read_metadata(manifest, column_fields(column_map))] if manifest is not None else []
    render.print_index(path, output)
    with render.progress() as listener:
        report = run(path, sources, options, tables, listener)
    render.answer(output, report, _summary(report))
    return 1 if report.failures else 0


def _summary(report: IngestReport) -> Iterator[str]:
    yield from (f"note: {warning}" for warning in report.warnings)
    yield f"model {report.model}"
    parts = [
        f"{report.added} added, {report.replaced} replaced, {report.unchanged} unchanged, {len(report.failures)} failed"
    ]
    for count, words in (
        (report.copies, "with the bytes of another file, not encoded again"),
        (report.moved, "moved"),
        (report.returned, "restored with all that was known of them"),
        (report.updated, "with new metadata"),
        (report.pruned, "pruned"),
        (report.failed_earlier, "failed earlier (--retry-failed)"),
        (report.deleted_earlier, "deleted earlier (echosearch undelete, or --undelete)"),
    ):
        if count:
            parts.append(f"{count} {words}")
    yield (
        f"{', '.join(parts)}; generation {report.generation}; "
        f"start-up {report.seconds_starting:.1f} s, work {report.seconds_working:.1f} s"
    )
    yield from render.failure_lines(report.failures)
