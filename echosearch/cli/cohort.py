"""`echosearch cohort`: selections that are kept, compared, exported, shown as a page and audited."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from echosearch.cli import render
from echosearch.cli.audit import audit_lines, judge, labels, sample
from echosearch.cli.options import (
    FilePath,
    Whole,
    force_option,
    index_option,
    model_option,
    open_index,
    output_option,
    print_swept,
    ranking_options,
    sweep_missing_option,
    sweep_named,
    wait_option,
    where_option,
)
from echosearch.errors import BadOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from echosearch.cohort import Cohort, Member
    from echosearch.search import Example, Phrase

_SHOWN = 20


@click.group()
def cohort() -> None:
    """Cohorts for studies: a selection with its definition, counts at each step, and all that repeats it.

    A cohort is found by similarities to phrases: how clean it is, an audit tells.

    \b
    Example:
      echosearch cohort create low-ef --where "task.ejection_fraction.value < 35" --level patient
      echosearch cohort report low-ef --out low-ef.html
      echosearch cohort sample low-ef -n 50 --sheet sheet.csv
    """


@cohort.command("create")
@click.argument("name")
@where_option
@ranking_options
@click.option("--top", type=Whole(), metavar="N", help="Keep the N highest-ranked units.")
@click.option(
    "--level",
    type=click.Choice(["video", "study", "patient"]),
    default="study",
    show_default=True,
    help="What is selected. study: criteria are decided of each study; patient: and one index study is picked of each.",
)
@click.option(
    "--one-per", "--per", type=click.Choice(["study", "patient"]), help="Keep one unit of each study or patient."
)
@click.option(
    "--pick",
    type=click.Choice(["first", "latest", "best"]),
    default="first",
    show_default=True,
    help="Which one: by date, or the most similar one (with --near or --like).",
)
@click.option("--same-video", is_flag=True, help="Strict: a single video must meet all criteria.")
@click.option(
    "--aggregate",
    "aggregates",
    multiple=True,
    metavar="TASK=RULE",
    help="How a task's videos become one score of a study: mean, median, max, top2, top3. Default: the task's own.",
)
@click.option("--seed", type=Whole(), default=0, show_default=True, help="For splits and samples.")
@click.option("--about", default="", metavar="TEXT", help="A sentence that says what the cohort is for.")
@click.option("--dry-run", is_flag=True, help="Only show what would be selected.")
@sweep_missing_option
@model_option
@index_option
@wait_option
@output_option("json")
def create(
    name: str,
    where: tuple[str, ...],
    near: tuple[Phrase, ...],
    like: tuple[Example, ...],
    without: tuple[Phrase, ...],
    unlike: tuple[Example, ...],
    top: int | None,
    level: Any,
    one_per: Any,
    pick: Any,
    same_video: bool,
    aggregates: tuple[str, ...],
    seed: int,
    about: str,
    dry_run: bool,
    sweep_missing: bool,
    model: str | None,
    index: str | None,
    wait: float,
    output: str | None,
) -> None:
    """Select by criteria and keep the selection: definition, prompts, thresholds, counts after each step, members.

    At level study a comparison is true of a study where it is true of any of its videos; a task has one score a study,
    over the views that show the finding. NOT (view = 'PLAX') means: no video of the study is PLAX.

    \b
    Example:
      echosearch cohort create low-ef-lead --level patient --pick first
        --where "view = 'A4C' AND task.ejection_fraction.value < 35 AND task.pacemaker.yes"
        --where "acquired_at BETWEEN '2015-01-01' AND '2020-12-31' AND NOT task.stent_valve.yes"
      echosearch cohort create clips --level video --near "MITRAL CLIP" --top 50
    """
    from dataclasses import replace

    from echosearch.cohort import Definition

    definition = Definition(
        where=where,
        level=level,
        near=near,
        like=like,
        without=without,
        unlike=unlike,
        top=top,
        one_per=one_per,
        pick=pick,
        same_video=same_video,
        aggregates=tuple(_pair(text) for text in aggregates),
        seed=seed,
    )
    opened = open_index(index, model)
    sweep_named(opened, where, sweep_missing, wait)
    if dry_run:
        made = replace(opened.cohorts.preview(definition), name=name, about=about)
    else:
        made = opened.cohorts.create(name, definition, about, wait)
    if output == "json":
        render.print_json(made)
        return
    _show(made)
    click.echo("nothing was kept (--dry-run)" if dry_run else f"kept as {made.name}")


def _pair(text: str) -> tuple[str, str]:
    task, equals, rule = text.partition("=")
    if not equals or not task or not rule:
        raise BadOption(f"--aggregate is TASK=RULE, such as pacemaker=max, not {text!r}")
    return task, rule


def _show(made: Cohort) -> None:
    """Definition, attrition, measures; no member."""
    click.echo(
        f"cohort {made.name}: {len(made.members)} {_units(made)} with {made.videos} videos; made {made.created_at}"
    )
    if made.about:
        click.echo(render.printable(made.about))
    render.print_source(made.index, made.generation, made.model)
    render.print_notes(dict.fromkeys((*made.notes, *made.assumptions)))
    render.print_table(
        ("step", "left", "no", "unknown", "videos", "studies", "patients"),
        [
            (step.name, step.kept, step.no, step.unknown, step.videos, step.studies, step.patients)
            for step in made.steps
        ],
        right=("left", "no", "unknown", "videos", "studies", "patients"),
    )
    for each in made.measures:
        name = f"{each.name}: {each.aggregate} over a study's videos" if made.definition.level != "video" else each.name
        threshold = "" if each.threshold is None else f"; threshold {each.threshold:.6g} ({each.origin})"
        click.echo(render.printable(f"{name}{threshold}; wording: {each.validated}"))


def _units(made: Cohort) -> str:
    return {"video": "videos", "study": "studies", "patient": "patients"}[made.definition.level]


@cohort.command("show")
@click.argument("name")
@click.option("-k", type=Whole(0), default=_SHOWN, show_default=True, help="Number of members to show.")
@index_option
@output_option("json")
def show(name: str, k: int, index: str | None, output: str | None) -> None:
    """Show a cohort: how it was made, counts at each step, its first members and what audits have found.

    \b
    Example:
      echosearch cohort show low-ef-lead
    """
    from echosearch.cohort import AuditedCohort

    opened = open_index(index)
    made = opened.cohorts.get(name)
    audits = opened.cohorts.audits(name)
    if output == "json":
        render.print_json(AuditedCohort(made, tuple(audits)))
        return
    _show(made)
    anew = sum(old != record.video_id for old, record in opened.cohorts.records(made).items())
    if anew:
        click.echo(f"note: {anew} videos of the cohort were embedded again since, and have other ids and scores now")
    for line in audit_lines(audits):
        click.echo(render.printable(line))
    _show_members(made.members[:k])
    if len(made.members) > k:
        click.echo(f"... and {len(made.members) - k} more (-k, or: echosearch cohort export {name} FOLDER)")


def _show_members(members: Sequence[Member]) -> None:
    if not members:
        return
    names = list(members[0].values)
    render.print_table(
        ("unit", "study", "patient", "acquired", "videos", *names, "similarity"),
        [
            (
                member.unit,
                member.study,
                member.patient,
                member.acquired_at,
                len(member.video_ids),
                *(_cell(member.values[name]) for name in names),
                None if member.score is None else f"{member.score:.4f}",
            )
            for member in members
        ],
        right=("videos",),
    )


def _cell(value: float | str | None) -> str | None:
    return f"{value:.4g}" if isinstance(value, float) else None if value is None else str(value)


@cohort.command("list")
@index_option
@output_option("json")
def list_cohorts(index: str | None, output: str | None) -> None:
    """List the cohorts of an index, oldest first.

    \b
    Example:
      echosearch cohort list
    """
    kept = open_index(index).cohorts.all()
    if output == "json":
        render.print_json([made.manifest() for made in kept])
        return
    if not kept:
        click.echo("no cohorts; make one: echosearch cohort create NAME --where CONDITION")
        return
    render.print_table(
        ("name", "level", "members", "videos", "criteria", "made", "about"),
        [
            (made.name, made.definition.level, len(made.members), made.videos, " AND ".join(made.criteria),
             made.created_at[:19], made.about)
            for made in kept
        ],
        right=("members", "videos"),
    )  # fmt: skip


@cohort.command("delete")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@index_option
@wait_option
def delete(name: str, yes: bool, index: str | None, wait: float) -> None:
    """Forget a cohort with its audits and judgements; videos and scores stay.

    \b
    Example:
      echosearch cohort delete low-ef-lead --yes
    """
    opened = open_index(index)
    audits = opened.cohorts.audits(name)
    if not yes:
        judged = sum(len(audit.judgements) for audit in audits)
        click.confirm(f"forget cohort {name} with {len(audits)} audits and {judged} judgements?", abort=True)
    opened.cohorts.delete(name, wait)
    click.echo(f"cohort {name} is deleted")


@cohort.command("diff")
@click.argument("first")
@click.argument("second")
@index_option
@output_option("json")
def diff(first: str, second: str, index: str | None, output: str | None) -> None:
    """What two cohorts have in common: members of both, of one only, and what differs in how they were made.

    \b
    Example:
      echosearch cohort diff low-ef low-ef-lead
    """
    found = open_index(index).cohorts.diff(first, second)
    if output == "json":
        render.print_json(found)
        return
    for name, units in (
        (f"only in {first}", found.only_first),
        ("in both", found.both),
        (f"only in {second}", found.only_second),
    ):
        more = " ... (all: --json)" if len(units) > _SHOWN else ""
        click.echo(render.printable(f"{name}: {len(units)}  {' '.join(units[:_SHOWN])}{more}"))
    for name, (one, other) in found.differs.items():
        click.echo(render.printable(f"{name}: {one} | {other}"))


@cohort.command("rerun")
@click.argument("name")
@click.option("--model", metavar="WHERE", help="Where the weights of the index's model lie now.")
@click.option("--save-as", metavar="NEW", help="Save today's selection under another name.")
@click.option(
    "--sweep-missing", is_flag=True, help="First sweep the cohort's own tasks, where videos have no score yet."
)
@index_option
@wait_option
@output_option("json")
def rerun(
    name: str,
    model: str | None,
    save_as: str | None,
    sweep_missing: bool,
    index: str | None,
    wait: float,
    output: str | None,
) -> None:
    """Select again by the same definition, prompts and thresholds on today's index: what came, what went, and why.

    \b
    Example:
      echosearch cohort rerun low-ef-lead
      echosearch cohort rerun low-ef-lead --save-as low-ef-lead-2027
    """
    opened = open_index(index, model)
    if sweep_missing:
        print_swept(lambda listener: opened.cohorts.sweep_missing((), wait, listener, name))
    found = opened.cohorts.rerun(name)
    if save_as is not None:
        opened.cohorts.keep(found.now, save_as, wait)
    if output == "json":
        render.print_json(found.answer())
        return
    then, now = found.before, found.now
    click.echo(
        f"cohort {name}: {len(then.members)} members at generation {then.generation}, {len(now.members)} at generation "
        f"{now.generation}; {len(found.stayed)} stayed, {len(found.came)} came, {len(found.went)} went"
    )
    render.print_notes(now.notes)
    for sign, units in (("+", found.came), ("-", found.went), ("=", found.moved)):
        for unit, why in units.items():
            click.echo(render.printable(f"{sign} {unit}: {why}"))
    if save_as is not None:
        click.echo(f"kept as {save_as}")


@cohort.command("export")
@click.argument("name")
@click.argument("folder", type=FilePath(file_okay=False), metavar="FOLDER")
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "json", "echonet"]),
    default="csv",
    show_default=True,
    help="echonet: a FileList.csv with TRAIN, VAL and TEST splits that share no patient.",
)
@click.option("--view", "views", multiple=True, metavar="VIEW", help="Only videos of this view. May be repeated.")
@click.option("--label", metavar="ATTRIBUTE", help="echonet: the attribute to write as EF. Default: EF is left empty.")
@click.option("--without-names", is_flag=True, help="csv and json: leave out identifiers and paths.")
@index_option
@output_option("json")
def export(
    name: str,
    folder: Path,
    form: Any,
    views: tuple[str, ...],
    label: str | None,
    without_names: bool,
    index: str | None,
    output: str | None,
) -> None:
    """Write a cohort into a new folder: its videos with their values, and manifest.json, which says how it was made.

    The files name patients, studies and paths. With --without-names numbers stand for members, patients and studies;
    dates, ids, paths and columns that look as if they identified somebody are left out (what you wrote about the
    cohort stands as it is). Exported twice, the bytes are equal. Text cells that a spreadsheet program would run as
    formulas begin with an apostrophe.

    \b
    Example:
      echosearch cohort export low-ef-lead low-ef-lead-export
      echosearch cohort export low-ef-lead for-training --format echonet --view A4C --label EF
    """
    if label is not None and form != "echonet":
        raise BadOption("--label goes with --format echonet")
    from echosearch.cohort import ExportedList

    done = open_index(index).cohorts.export(name, folder, form, views, label, not without_names)
    if output == "json":
        render.print_json(done)
        return
    click.echo(render.printable(f"{done.members} members with {done.videos} videos in {done.folder}/{done.file}"))
    if done.gone:
        click.echo(f"note: {done.gone} videos of the cohort are no longer in the index and are left out")
    if isinstance(done, ExportedList):
        click.echo(", ".join(f"{split} {count}" for split, count in done.splits.items()) + " videos")
        if done.without_EF:
            click.echo(f"note: {done.without_EF} videos have no EF (--label ATTRIBUTE)")


@cohort.command("report")
@click.argument("name")
@click.option("--out", type=FilePath(dir_okay=False), required=True, metavar="OUT.html")
@click.option("--pictures", "count", type=Whole(0, 200), default=12, show_default=True,
              help="How many random and how many borderline members to show.")  # fmt: skip
@click.option("--with-ids", is_flag=True, help="Show ids of patients, studies and videos.")
@click.option("--with-paths", is_flag=True, help="Show where videos and index lie.")
@click.option("--show", multiple=True, metavar="COLUMN",
              help="Show a column that seems to identify a person. May be repeated.")  # fmt: skip
@force_option
@index_option
def report(
    name: str,
    out: Path,
    count: int,
    with_ids: bool,
    with_paths: bool,
    show: tuple[str, ...],
    force: bool,
    index: str | None,
) -> None:
    """Write one self-contained HTML page: attrition diagram, table one, score distributions, pictures, limits.

    It names no patient, study, video or path unless asked to. Columns that look as if they identified somebody, by
    name or by values, are left out, and masked in criteria; what you wrote about the cohort and its phrases stand as
    they are. Pictures are frames of the videos themselves: what is burnt into them is shown (--pictures 0 leaves them
    out).

    \b
    Examples:
      echosearch cohort report low-ef-lead --out low-ef-lead.html
      echosearch cohort report low-ef-lead --out low-ef-lead.html --show attr.city
    """
    from echosearch.pictures import pictures, render_page, write_page

    opened = open_index(index)
    page = opened.output(out, "the page", ".html", force)
    made = opened.cohorts.get(name)
    records = opened.cohorts.records(made)
    shown = pictures(
        made,
        {video_id: record.path for video_id, record in records.items()},
        count,
        made.definition.seed,
        {video_id: render.in_words(record) for video_id, record in records.items()},
    )
    lines = audit_lines(opened.cohorts.audits(name))
    write_page(page, render_page(made, shown, with_ids, with_paths, lines, show))
    missing = sum(each.image is None for each in (*shown.random, *shown.borderline))
    if missing:
        click.echo(f"note: {missing} pictures could not be made; the page says why")
    click.echo(f"page {render.printable(str(page.path))}")


@cohort.command("manifest")
@click.argument("name")
@index_option
def manifest(name: str, index: str | None) -> None:
    """Print all that says how a cohort was made, without its members, as JSON; values and criteria are not masked.

    \b
    Example:
      echosearch cohort manifest low-ef-lead > low-ef-lead.json
    """
    click.echo(json.dumps(open_index(index).cohorts.get(name).manifest().to_dict(), indent=1, sort_keys=True))


for command in (sample, judge, labels):
    cohort.add_command(command)
