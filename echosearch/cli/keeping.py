"""The commands that keep an index in order: metadata, deletion, checks, compaction, moved folders, re-embedding."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from echosearch.cli import render
from echosearch.cli.options import (
    FilePath,
    IdOrFile,
    column_fields,
    index_option,
    map_option,
    model_runtime_options,
    options,
    output_option,
    wait_option,
)
from echosearch.config import index_path
from echosearch.errors import BadOption

if TYPE_CHECKING:
    from echosearch.api.purging import PurgedVideo, PurgeReceipt
    from echosearch.api.reembedding import ReembedReport
    from echosearch.index import CheckReport
    from echosearch.ingest import Deletion, NamedVideo

_NAMED = 200
"""So many ids stand in a command to copy."""

_SHOWN = 10
"""So many videos are named in the output; all are in JSON."""


@click.command()
@click.argument("manifest", type=FilePath(dir_okay=False), metavar="FILE.csv")
@map_option("Which column")
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
    from echosearch.ingest import annotate as run, read_metadata

    report = run(index_path(index), read_metadata(manifest, column_fields(column_map)), wait)
    lines = [
        f"index {report.index}",
        *(f"note: {warning}" for warning in report.warnings),
        f"{report.updated} videos changed, {report.unchanged} unchanged; generation {report.generation}",
        *(f"  {name}: set in {count}" for name, count in report.changes.items()),
        *(f"  {name}: cleared in {count}" for name, count in report.emptied.items()),
    ]
    render.answer(output, report, lines)


which_videos = options(
    click.argument("videos", nargs=-1, metavar="[ID|FILE]...", type=IdOrFile()),
    click.option("--study", help="All videos of this study; with --patient, of this patient's study."),
    click.option("--patient", help="All videos of this patient."),
)
"""Which videos are meant: ids, files, all of a study, all of a patient."""


def _wanted(videos: tuple[int | Path, ...], study: str | None, patient: str | None) -> list[int | Path]:
    if not videos and study is None and patient is None:
        raise BadOption("name the videos: ids or files, --study or --patient")
    return list(videos)


@click.command()
@which_videos
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@click.option(
    "--purge", is_flag=True, help="Erase every byte of these videos from the index, also of deleted ones; needs --yes."
)
@click.option(
    "--learned",
    type=click.Choice(["keep", "delete"]),
    default="keep",
    show_default=True,
    help="With --purge: whether to keep or delete calibrations and probes learned from labels of these videos.",
)
@click.option("--yes", is_flag=True, help="With --purge: erase for good.")
@index_option
@wait_option
@output_option("json")
def delete(
    videos: tuple[int | Path, ...],
    study: str | None,
    patient: str | None,
    dry_run: bool,
    purge: bool,
    learned: Any,
    yes: bool,
    index: str | None,
    wait: float,
    output: str | None,
) -> None:
    """Delete videos from the index, never the files. Searches no longer find them, and later ingests skip them.

    All that is known of them is kept, so that `echosearch undelete` can restore them. With --purge only keyed hashes
    are kept, so that a later ingest recognises what was purged; a receipt lists what was erased and what is out of
    reach.

    \b
    Example:
      echosearch delete 17 /data/echo/x.avi
      echosearch delete --patient P0017 --dry-run
      echosearch delete --patient P0017 --purge --yes
    """
    from echosearch.api.purging import plan_purge, purge_videos
    from echosearch.ingest import delete_videos

    path, wanted = index_path(index), _wanted(videos, study, patient)
    if (yes or learned != "keep") and not purge:
        raise BadOption("--yes and --learned go with --purge")
    if not purge:
        report = delete_videos(path, wanted, study, patient, wait, dry_run)
        ids = [str(video.video_id) for video in report.videos]
        if len(ids) > _NAMED:  # too many for a command line
            named = {"--study": study, "--patient": patient}
            ids = [*map(str, videos), *(part for name, value in named.items() if value for part in (name, value))]
        where = [] if index is None else ["--index", index]
        back = shlex.join(["echosearch", "undelete", *ids, *where])
        render.answer(output, report, _deleted(report, "" if dry_run else back))
        return
    if yes and not dry_run:
        receipt = purge_videos(path, wanted, study, patient, learned, wait)
        render.answer(output, receipt, _purged(receipt, learned))
        return
    plan = plan_purge(path, wanted, study, patient)
    if dry_run:
        lines = [f"index {plan.index}", f"{len(plan.videos)} videos would be purged:", *_lines(plan.videos)]
        render.answer(output, plan, lines)
        return
    lines = [
        f"{len(plan.videos)} videos would be purged for good, and nothing brings them back:",
        *map(render.printable, _lines(plan.videos)),
        "If this is intended, repeat with --purge --yes",
    ]
    raise BadOption("\n".join(lines))


def _deleted(report: Deletion, back: str) -> Iterator[str]:
    """What was deleted and the command that brings it back; without one, what would be."""
    done = f"deleted; generation {report.generation}" if back else "would be deleted:"
    yield f"index {report.index}"
    yield f"{len(report.videos)} {done}"
    yield from _lines(report.videos)
    if back:
        yield f"to restore them: {back}"


def _purged(receipt: PurgeReceipt, learned: str) -> Iterator[str]:
    tables = receipt.removed.tables
    yield f"index {receipt.index}"
    yield f"{len(receipt.video_ids)} videos purged: {_some(receipt.video_ids)}"
    yield f"  {tables['scores']} scores, {tables['cohorts']} members of cohorts, {tables['failures']} failures"
    yield f"  {tables['fitted']} calibrations and probes {'deleted' if learned == 'delete' else 'lost their ids'}"
    yield "  cached texts, copies of earlier formats if there were any, the FAISS index (rebuilt)"
    if receipt.kept_copies:
        yield f"not purged, with the same bytes under another name: videos {_some(receipt.kept_copies)}"
    yield from (f"out of reach: {place}" for place in receipt.out_of_reach)


def _lines(videos: Sequence[NamedVideo | PurgedVideo]) -> Iterator[str]:
    """Id, path and, where it is known, patient of the first videos."""
    for video in videos[:_SHOWN]:
        whose = getattr(video, "patient", None)
        patient = f"  patient {whose}" if whose else ""
        yield f"  {video.video_id}  {video.path}{patient}"
    if len(videos) > _SHOWN:
        yield f"  and {len(videos) - _SHOWN} more (all with --json)"


def _some(ids: Sequence[int]) -> str:
    return ", ".join(map(str, ids[:_SHOWN])) + " ..." * (len(ids) > _SHOWN)


@click.command()
@which_videos
@index_option
@wait_option
@output_option("json")
def undelete(
    videos: tuple[int | Path, ...],
    study: str | None,
    patient: str | None,
    index: str | None,
    wait: float,
    output: str | None,
) -> None:
    """Restore deleted videos, with study, patient, view, attributes and scores as they were.

    Videos whose vectors were dropped meanwhile (`echosearch compact`) are restored when their folder is ingested.

    \b
    Example:
      echosearch undelete 17
      echosearch undelete --patient P0017
    """
    from echosearch.ingest import undelete_videos

    report = undelete_videos(index_path(index), _wanted(videos, study, patient), study, patient, wait)
    lines = [f"index {report.index}", f"{len(report.undeleted)} restored; generation {report.generation}"]
    for name, words in (
        ("to_ingest", "no longer have vectors, and are restored by the next ingest of their folder"),
        ("path_taken", "stay deleted, because another video has their path now"),
    ):
        if ids := getattr(report, name):
            lines.append(f"{len(ids)} {words}: {_some(ids)}")
    render.answer(output, report, lines)


@click.command()
@click.option("--repair", is_flag=True, help="Drop damaged parts and rebuild what can be rebuilt.")
@click.option("--missing", is_flag=True, help="With --repair: also drop what is missing or on a failing disk.")
@click.option("--yes", is_flag=True, help="With --repair: drop even more than 10 videos.")
@click.option(
    "--sources", is_flag=True, help="Also read the files of all videos, to see whether they are what was embedded."
)
@index_option
@wait_option
@output_option("json")
def check(
    repair: bool, missing: bool, yes: bool, sources: bool, index: str | None, wait: float, output: str | None
) -> int:
    """Read every byte of an index and report what is wrong; the exit code is 3 if anything is.

    With --repair, damaged segments are dropped: their videos count as deleted, and the next ingest of their folder
    embeds them again. The segments are moved to segments/aside, and the FAISS index is rebuilt from the rest. A
    segment that is missing or cannot be read now is out of reach, not damaged: it is left alone, and usable again once
    its disk is mounted. Only --missing drops it too.

    \b
    Example:
      echosearch check
      echosearch check --sources
      echosearch check --repair
      echosearch check --repair --missing --yes
    """
    from dataclasses import replace

    from echosearch.index import check_index, compare_sources, repair_index

    if (missing or yes) and not repair:
        raise BadOption(f"--{'missing' if missing else 'yes'} goes with --repair")
    path = index_path(index)
    report = repair_index(path, wait, missing, yes) if repair else check_index(path)
    if sources:
        with render.progress() as listener:
            report = replace(report, sources=compare_sources(path, listener))
    render.answer(output, report, _checked(report))
    return 0 if report.is_whole else 3


def _checked(report: CheckReport) -> Iterator[str]:
    yield f"index {report.index} (generation {report.generation})"
    for kind, sentences in {
        "problem": report.problems,
        "out of reach": report.out_of_reach,
        "note": report.kept,
        "source": report.sources or (),
        "repaired": report.repaired,
        "moved aside": report.moved_aside,
        "left": report.left or (),
        "not repaired": [report.not_done] if report.not_done else (),
    }.items():
        yield from (f"{kind}: {sentence}" for sentence in sentences)
    away = f", {len(report.out_of_reach)} out of reach" if report.out_of_reach else ""
    other = "" if report.sources is None else f", {len(report.sources)} files that are not what was embedded"
    yield f"{report.segments} segments, {len(report.problems)} problems{away}{other}"


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
    lines = [
        f"index {report.index} (generation {report.generation})",
        f"{report.segments_before} segments before, {report.segments} now; "
        f"the vectors of {report.rows_dropped} deleted videos dropped",
        *(f"note: {note}" for note in report.notes),
    ]
    render.answer(output, report, lines)


@click.command()
@click.argument("old", type=FilePath())
@click.argument("new", type=FilePath())
@index_option
@wait_option
def roots(old: Path, new: Path, index: str | None, wait: float) -> None:
    """Tell the index that the videos of folder OLD are now in NEW, for example on another machine.

    \b
    Example:
      echosearch roots /gpu-box/echo /data/echo
    """
    from echosearch.ingest import move_roots

    path = index_path(index)
    render.print_index(path, None)
    changed = move_roots(path, old, new, wait)
    click.echo(f"{changed} folders of the index are now below {render.printable(str(new))}")


@click.command()
@click.option("--model", metavar="MODEL", help="Embed all videos with this model instead (as for ingest). Needs --yes.")
@click.option("--weights", metavar="WHERE", help="With --model PRESET: where else its weights are.")
@click.option("--leave-out-missing", is_flag=True, help="Leave out videos whose files are gone or cannot be read now.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--yes", is_flag=True, help="With --model: accept that scores from before and after cannot be compared.")
@index_option
@wait_option
@model_runtime_options
@output_option("json")
def reembed(
    model: str | None,
    weights: str | None,
    leave_out_missing: bool,
    dry_run: bool,
    yes: bool,
    index: str | None,
    wait: float,
    device: Any,
    precision: Any,
    output: str | None,
) -> int:
    """Embed videos again that this version embeds differently, or all with another model; report how scores moved.

    They get new ids and keep all that is known of them. The index changes in one step at the end; if the command is
    interrupted, the index is unchanged, and the next run starts from the beginning.

    \b
    Example:
      echosearch reembed --dry-run
      echosearch reembed
      echosearch reembed --model echo-clip-r --weights local-dir:/models/echo-clip-r --yes
    """
    from echosearch.api.reembedding import reembed_index
    from echosearch.ingest import IngestOptions
    from echosearch.types import ModelRequest

    if model is None and (weights is not None or yes):
        raise BadOption("--weights and --yes go with --model")
    request = None if model is None else ModelRequest(model, weights, device, precision)
    options = IngestOptions(request, device=device, precision=precision, yes=yes or dry_run, wait_seconds=wait)
    path = index_path(index)
    render.print_index(path, output)
    with render.progress() as listener:
        report = reembed_index(path, options, leave_out_missing, dry_run, listener)
    render.answer(output, report, _reembedded(report, dry_run))
    return 1 if report.left_out else 0


def _reembedded(report: ReembedReport, dry_run: bool) -> Iterator[str]:
    if report.videos or report.left_out:
        yield f"{report.videos} videos {'would be embedded again' if dry_run else 'embedded again'}"
    else:
        yield "nothing to do: all videos are embedded as this version embeds them"
    yield from (f"note: {note}" for note in report.notes)
    for name, figures in report.moved.items():
        shown = ", ".join(f"{key.replace('_', ' ')} {value:.4g}" for key, value in figures.items())
        yield f"  {name}: {shown}"
    yield from (f"left out: {failure.path}: {failure.message}" for failure in report.left_out)
