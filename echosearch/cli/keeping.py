"""The commands that keep an index in order: other metadata, deletion, checks, compaction, folders that moved."""

from __future__ import annotations

from pathlib import Path

import click

from echosearch.cli import render
from echosearch.cli.options import MappingType, column_fields, index_option, output_option, wait_option
from echosearch.config import index_path
from echosearch.errors import BadOption


@click.command()
@click.argument("manifest", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.csv")
@click.option(
    "--map",
    "column_map",
    multiple=True,
    type=MappingType(),
    metavar="COLUMN=FIELD",
    help="Which column is path, study, patient, view or acquired_at. May be repeated.",
)
@index_option
@wait_option
@output_option("json")
def annotate(
    manifest: Path, column_map: tuple[tuple[str, str], ...], index: str | None, wait: float, output: str | None
) -> None:
    """Give videos other metadata without embedding anything again, and say what changed.

    Only columns that FILE has are touched; an empty cell of such a column empties the value.

    \b
    Example:
      echosearch annotate corrected.csv --map StudyUID=study
    """
    from echosearch.ingest import annotate as run
    from echosearch.ingest import read_metadata

    report = run(index_path(index), read_metadata(manifest, column_fields(column_map)), wait)
    if output == "json":
        render.print_json(report.to_dict())
        return
    click.echo(f"index {render.printable(report.index)}")
    for warning in report.warnings:
        click.echo(f"note: {render.printable(warning)}")
    click.echo(f"{report.updated} videos changed, {report.unchanged} were so already; generation {report.generation}")
    for told, what in ((report.changes, "set"), (report.emptied, "emptied")):
        for name, count in told.items():
            click.echo(f"  {render.printable(name)}: {what} in {count}")


@click.command()
@click.argument("videos", nargs=-1, metavar="[ID|FILE]...")
@click.option("--study", help="All videos of this study.")
@click.option("--patient", help="All videos of this patient.")
@click.option("--undelete", is_flag=True, help="Take back the deletion of these.")
@index_option
@wait_option
@output_option("json")
def delete(
    videos: tuple[str, ...],
    study: str | None,
    patient: str | None,
    undelete: bool,
    index: str | None,
    wait: float,
    output: str | None,
) -> None:
    """Delete videos from the index (never the files): at once for every search, and for later ingests.

    \b
    Example:
      echosearch delete 17 /data/echo/x.avi
      echosearch delete --patient P0017
      echosearch delete --patient P0017 --undelete
    """
    from echosearch.ingest import delete_videos

    if not videos and study is None and patient is None:
        raise BadOption("say what to delete: ids or files, --study or --patient")
    wanted = [int(video) if video.isdecimal() else Path(video) for video in videos]
    report = delete_videos(index_path(index), wanted, study, patient, undelete, wait)
    if output == "json":
        render.print_json(report)
        return
    click.echo(f"index {render.printable(report['index'])}")
    if undelete:
        click.echo(f"{len(report['undeleted'])} are back; {report['to_ingest']} will be back after: ingest --undelete")
    else:
        click.echo(f"{len(report['deleted'])} deleted; generation {report['generation']}")


@click.command()
@click.option("--repair", is_flag=True, help="Let damaged parts go and build what can be built.")
@index_option
@wait_option
@output_option("json")
def check(repair: bool, index: str | None, wait: float, output: str | None) -> int:
    """Read every byte of an index and say what is wrong; ends with 3 when something is.

    With --repair damaged segments are let go: their videos count as deleted and are embedded again by the next
    ingest of their folder. The FAISS index is built anew from what is whole.

    \b
    Example:
      echosearch check
      echosearch check --repair
    """
    from echosearch import check as checking

    path = index_path(index)
    report = checking.repair(path, wait) if repair else checking.check(path)
    if output == "json":
        render.print_json(report.to_dict())
    else:
        click.echo(f"index {render.printable(report.index)} (generation {report.generation})")
        for problem in report.problems:
            click.echo(f"problem: {render.printable(problem)}")
        for done in report.repaired:
            click.echo(f"repaired: {done}")
        click.echo(f"{report.segments} segments, {len(report.problems)} problems")
    return 3 if report.problems and not repair else 0


@click.command()
@index_option
@wait_option
@output_option("json")
def compact(index: str | None, wait: float, output: str | None) -> None:
    """Rewrite segments without the vectors of deleted videos, and merge small ones.

    The old folders stay for an hour, for readers that have an older commit open; the next writer removes them.

    \b
    Example:
      echosearch compact
    """
    from echosearch.ingest import compact_index

    report = compact_index(index_path(index), wait)
    if output == "json":
        render.print_json(report)
        return
    click.echo(f"index {render.printable(report['index'])} (generation {report['generation']})")
    click.echo(
        f"{report['segments_before']} segments before, {report['segments']} now; "
        f"the vectors of {report['rows_dropped']} deleted videos dropped"
    )


@click.command()
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@index_option
@wait_option
def roots(old: Path, new: Path, index: str | None, wait: float) -> None:
    """Say that the videos below the folder OLD lie below NEW now, e.g. on another machine.

    \b
    Example:
      echosearch roots /gpu-box/echo /data/echo
    """
    from echosearch.ingest import move_roots

    path = index_path(index)
    click.echo(f"index {render.printable(str(path))}")
    changed = move_roots(path, old, new, wait)
    click.echo(f"{changed} folders of the index lie below {render.printable(str(new))} now")
