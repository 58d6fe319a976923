"""Commands that show what an index holds: its videos, their metadata, what failed; and the models to choose from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from echosearch.cli import render
from echosearch.cli.options import (
    Whole,
    index_option,
    open_index,
    output_option,
    sweep_missing_option,
    sweep_named,
    where_option,
)
from echosearch.config import index_path
from echosearch.types import VideoRecord

if TYPE_CHECKING:
    from rich.table import Table

    from echosearch.encoders import PresetStatus


@click.command()
@index_option
@output_option("json")
def info(index: str | None, output: str | None) -> None:
    """Show what an index holds, and with which model it was made.

    \b
    Example:
      echosearch info --index indexes/default
    """
    found = open_index(index).info()
    lines = {
        "index": f"{found.index} (generation {found.generation}, made {found.created_at})",
        "model": f"{found.model}, weights {found.weights}, {found.dim} dimensions, {found.precision}",
        "recipe": found.recipe,
        "space": found.space,
        "frames": f"{found.sampling}, embeddings kept as {found.frames_dtype}",
        "preparation": found.preparation,
        "videos": f"{found.videos} in {found.studies} studies of {found.patients} patients, "
        f"{found.embedded_frames} frames embedded, {render.bytes_in_words(found.media_bytes)} of media",
        "views": ", ".join(f"{name} {count}" for name, count in found.views.items()),
        "deleted": str(found.deleted),
        "unverified": str(found.unverified),
        "failures": str(found.failures),
        "attributes": ", ".join(f"{name} ({kind})" for name, kind in found.attributes.items()) or "none",
        "roots": ", ".join(found.roots) or "none",
        "on disk": render.bytes_in_words(found.disk_bytes),
    }
    if found.notes:
        lines["note"] = "; ".join(found.notes)
    render.answer(output, found, render.fact_lines(lines))


@click.command("list")
@index_option
@click.option("--study", help="Only videos of this study.")
@click.option("--patient", help="Only videos of this patient.")
@where_option
@sweep_missing_option
@output_option("json", "csv", "paths")
def list_videos(
    index: str | None,
    study: str | None,
    patient: str | None,
    where: tuple[str, ...],
    sweep_missing: bool,
    output: str | None,
) -> None:
    """List the videos of an index by id; with --where, also how many are left out and why.

    \b
    Example:
      echosearch list --patient P0017
      echosearch list --where "view = 'A4C' AND fps >= 30"
      echosearch list --csv > videos.csv
    """
    opened = open_index(index)
    render.print_index(opened.path, output)
    sweep_named(opened, where, sweep_missing)
    videos: Iterator[VideoRecord] = opened.videos(study=study, patient=patient)
    if where:
        found = opened.matching(where)
        ids = set(found.ids.tolist())
        videos = (video for video in videos if video.video_id in ids)
        for note in found.notes:
            click.echo(f"note: {render.printable(note)}", err=output is not None)
        click.echo(found.sentence, err=output is not None)
    attributes = list(opened.info().attributes) if output == "csv" else []
    columns = [field.name for field in dataclasses.fields(VideoRecord) if field.name != "attributes"]
    render.answer(
        output,
        list(videos) if output == "json" else (),
        _videos(videos),
        [*columns, *(f"attr.{name}" for name in attributes)],
        (video.to_dict() | {f"attr.{name}": video.attributes.get(name) for name in attributes} for video in videos),
        (video.path for video in videos),
    )


def _videos(videos: Iterable[VideoRecord]) -> Iterator[Table]:
    yield render.table(
        ("id", "path", "study", "patient", "view", "frames", "fps", "size"),
        (
            (video.video_id, video.path, video.study, video.patient, render.in_words(video), video.num_frames,
             None if video.fps is None else f"{video.fps:g}", f"{video.width}x{video.height}")
            for video in videos
        ),
        right=("id", "frames", "fps"),
    )  # fmt: skip


@click.command()
@click.argument("video_id", metavar="ID", type=Whole())
@index_option
@output_option("json")
def show(video_id: int, index: str | None, output: str | None) -> None:
    """Show all that is known about one video.

    \b
    Example:
      echosearch show 17
    """
    from echosearch.api.answers import VideoDetails

    opened = open_index(index)
    found = VideoDetails(
        index=str(opened.path),
        model=opened.description.model,
        video=opened.video(video_id),
        pooled_norm=opened.pooled_norm(video_id),
        embedded_frame_numbers=tuple(opened.frame_numbers(video_id).tolist()),
    )
    facts = found.to_dict()
    attributes = {f"attr.{name}": value for name, value in facts.pop("attributes").items()}
    lines = [
        f"index {facts.pop('index')}, model {facts.pop('model')}",
        *(f"{name:24} {'' if value is None else value}" for name, value in (facts | attributes).items()),
    ]
    render.answer(output, found, lines)


@click.command()
@index_option
@output_option("json", "csv", "paths")
def failures(index: str | None, output: str | None) -> None:
    """List files that could not be ingested, with code and reason.

    \b
    Example:
      echosearch failures --csv > failures.csv
    """
    opened = open_index(index)
    render.print_index(opened.path, output)
    found = opened.failures()
    columns = ("path", "code", "message")
    text = [render.table(columns, ((each.path, each.code, each.message) for each in found)) if found else "no failures"]
    rows = (failure.to_dict() for failure in found)
    render.answer(output, found, text, columns, rows, (failure.path for failure in found))


@click.command()
@index_option
@output_option("json")
def models(index: str | None, output: str | None) -> None:
    """List the models that ingest can use, what each is for, and whether its weights are here.

    If there is an index already, its model comes first.

    \b
    Example:
      echosearch models
    """
    from echosearch.encoders import describe_presets

    found = describe_presets()
    render.answer(output, found, _models(found, index_path(index)))


def _models(found: Sequence[PresetStatus], path: Path) -> Iterator[str]:
    if (path / "manifest.json").is_file():
        yield f"index {path} uses {open_index(str(path)).description.model}"
    for model in found:
        yield f"{model.name:12} {model.about}"
        yield f"{'':12} weights: {model.weights} ({model.status})"
        yield f"{'':12} domain: {model.domain}; frames {model.sampling}"
    yield "Any other open_clip model: open_clip:ARCH/TAG, hf-hub:ORG/NAME, or local-dir:PATH of a folder with"
    yield "open_clip_config.json and open_clip_model.safetensors. A preset's weights in a folder: --model PRESET"
    yield '--weights local-dir:PATH, or an echosearch.json beside them: {"preset": "PRESET"}.'
