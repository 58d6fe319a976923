"""The commands that write vectors out of an index and read them in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from echosearch.cli import render
from echosearch.cli.options import FilePath, force_option, index_option, output_option, wait_option
from echosearch.config import index_path

if TYPE_CHECKING:
    from echosearch.ingest import ImportReport


@click.command("export-embeddings")
@click.argument("out", metavar="OUT.npz", type=FilePath(dir_okay=False))
@force_option
@index_option
@output_option("json")
def export_embeddings(out: Path, force: bool, index: str | None, output: str | None) -> None:
    """Write all videos with their vectors and metadata into one file that numpy can read.

    It holds ids, paths, v (unit vectors), norms (length of the mean frame embedding), and frames with offsets and
    frame_numbers, and all that `import-embeddings` needs to make the same index again.

    \b
    Example:
      echosearch export-embeddings embeddings.npz
      python -c "import numpy; print(numpy.load('embeddings.npz')['v'].shape)"
    """
    from echosearch.ingest import export_embeddings as run

    report = run(index_path(index), out, force)
    notes = [f"note: the vectors of {report.unverified} videos are unverified, and marked so in the file"]
    lines = [
        f"index {report.index} (generation {report.generation})",
        *(notes if report.unverified else ()),
        f"{report.videos} videos with {report.frames} frames written to {report.file}",
    ]
    render.answer(output, report, lines)


@click.command("import-embeddings")
@click.argument("source", metavar="IN.npz", type=FilePath(dir_okay=False))
@click.option(
    "--recipe",
    metavar="RECIPE",
    help="How the vectors were made: the index's recipe as `echosearch info` shows it (8 characters at least), or a "
    "model. Not needed for files of export-embeddings.",
)
@click.option(
    "--root",
    type=FilePath(file_okay=False),
    metavar="FOLDER",
    help="The folder that relative paths start from.",
)
@index_option
@wait_option
@output_option("json")
def import_embeddings(
    source: Path, recipe: str | None, root: Path | None, index: str | None, wait: float, output: str | None
) -> int:
    """Add videos whose vectors were made elsewhere, by export-embeddings or by a program of your own.

    A file of your own holds `paths` (n,), and `frames` (all unit frame embeddings) with `offsets` (n + 1,) and
    `frame_numbers`, or else `v` (n, D) with `norms` (n,). Its vectors count as unverified, and every result says so,
    until a file with the same vectors also has `probe_frames` and `probe_phrases`: the model's embeddings of
    echosearch.encoders.fingerprint_clip() and FINGERPRINT_PHRASES.

    \b
    Example:
      echosearch import-embeddings embeddings.npz
      echosearch import-embeddings mine.npz --recipe echo-clip --root /data/echo
    """
    from echosearch.ingest import ImportOptions, import_embeddings as run

    with render.progress() as listener:
        options = ImportOptions(recipe=recipe, root=root, wait_seconds=wait)
        report = run(index_path(index), source, options, listener)
    render.answer(output, report, _imported(report))
    return 1 if report.failures else 0


def _imported(report: ImportReport) -> Iterator[str]:
    yield f"index {report.index}"
    yield from (f"note: {warning}" for warning in report.warnings)
    counts = {
        "verified now": report.verified,
        "in the index with other vectors, which stay": report.other_vectors,
        "deleted earlier (echosearch undelete)": report.deleted_earlier,
    }
    others = "".join(f", {count} {words}" for words, count in counts.items() if count)
    done = f"{report.added} added, {report.unchanged} unchanged, {len(report.failures)} failed{others}"
    yield f"{done}; generation {report.generation}; {report.unverified} unverified in the index"
    yield from render.failure_lines(report.failures)
