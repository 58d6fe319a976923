"""`echosearch phantom`: synthetic archives."""

from __future__ import annotations

from pathlib import Path

import click

from echosearch.cli import render
from echosearch.cli.options import FilePath, Whole, output_option


@click.group()
def phantom() -> None:
    """Synthetic echocardiograms whose truth is known, for tests, teaching and first trials.

    \b
    Example:
      echosearch phantom make phantoms --studies 50 --seed 1
    """


@phantom.command()
@click.argument("folder", metavar="DIR", type=FilePath())
@click.option("--studies", type=Whole(), required=True, metavar="N", help="How many studies; each has 3 to 4 videos.")
@click.option(
    "--seed",
    type=Whole(),
    default=0,
    show_default=True,
    metavar="S",
    help="The same seed, the same archive (with the same versions of numpy, OpenCV and PyAV).",
)
@click.option("--workers", type=Whole(), metavar="N", help="Rendering processes. Default: one per processor.")
@output_option("json")
def make(folder: Path, studies: int, seed: int, workers: int | None, output: str | None) -> None:
    """Write an archive of phantoms into DIR, which must be new or empty.

    DIR gets videos/ (MP4 and AVI), manifest.csv for ingest --manifest, FileList.csv in EchoNet's columns for the
    apical four-chamber videos, and reports.csv. The manifest says what the heart has; some views cannot show a
    finding (a lead in PLAX, a clip in PSAX): echosearch.phantom.VISIBLE lists those that can.

    \b
    Example:
      echosearch phantom make phantoms --studies 50 --seed 1
      echosearch ingest phantoms/videos --manifest phantoms/manifest.csv --model echo-clip
    """
    from echosearch.phantom import make_archive
    from echosearch.types import IngestProgress

    with render.progress() as show:
        archive = make_archive(
            folder,
            studies,
            seed,
            workers=workers,
            progress=lambda done, total: show(IngestProgress(done=done, total=total, committed=done, failed=0)),
        )
    line = (
        f"{archive.videos} videos in {archive.studies} studies of {archive.patients} phantom patients, "
        f"{render.bytes_in_words(archive.media_bytes)}, in {archive.folder}"
    )
    render.answer(output, archive, [line])
