"""`echosearch tasks`: zero-shot tasks, built in and of one's own. Scores nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from echosearch.cli import render
from echosearch.cli.options import FilePath, output_option
from echosearch.errors import BadTask

if TYPE_CHECKING:
    from echosearch.tasks import Task


@click.group()
def tasks() -> None:
    """Zero-shot tasks: report phrases with a rule that turns similarities into scores.

    \b
    Example:
      echosearch tasks list
      echosearch tasks show ejection_fraction
    """


@tasks.command("list")
@output_option("json")
def list_(output: str | None) -> None:
    """List all tasks that can be named, built in and your own.

    Your own are the .yaml files of the folder $ECHOSEARCH_TASKS, or of ~/.config/echosearch/tasks.

    \b
    Example:
      echosearch tasks list
    """
    from echosearch.tasks import NOT_VALIDATED, folder_problems, known_tasks

    known, problems = known_tasks(), folder_problems()
    if output == "json":
        told = [_told(task, origin) for task, origin in known.values()]
        render.print_json({"tasks": told, "problems": problems})
        return
    render.print_notes(problems)
    render.print_table(
        ("name", "mode", "classes or range", "views", "prompts", "validated", "origin"),
        (
            (
                task.name,
                task.mode,
                _classes_or_range(task),
                ", ".join(task.views) or "all",
                _num_prompts(task),
                task.validated or NOT_VALIDATED,
                origin,
            )
            for task, origin in known.values()
        ),
        right=("prompts",),
    )


@tasks.command()
@click.argument("reference", metavar="NAME|FILE")
@output_option("json")
def show(reference: str, output: str | None) -> None:
    """Print a task as its YAML file, with its id.

    The id is that of what decides the scores (mode, prompts, classes, range); other words about it leave it as it is.

    \b
    Example:
      echosearch tasks show pacemaker
      echosearch tasks show pacemaker > mine.yaml
    """
    from echosearch.tasks import BUILT_IN, NOT_VALIDATED, SUFFIXES, find_task, known_tasks, to_yaml

    task = find_task(reference)
    is_file = reference.lower().endswith(SUFFIXES)
    origin = reference if is_file else known_tasks().get(reference, (task, BUILT_IN))[1]
    if output == "json":
        render.print_json(_told(task, origin))
        return
    click.echo(f"# {render.printable(origin)}; {_num_prompts(task)} prompts; id {task.id}")
    if not task.validated:
        click.echo(f"# {NOT_VALIDATED}")
    click.echo(render.printable_lines(to_yaml(task)), nl=False)


@tasks.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=FilePath())
@output_option("json")
def validate(files: tuple[Path, ...], output: str | None) -> int:
    """Check task files, and say what is wrong in which line.

    Ends with 2 when a file is no task.

    \b
    Example:
      echosearch tasks validate mine.yaml
    """
    from echosearch.tasks import read_task

    found: list[dict[str, Any]] = []
    for file in files:
        try:
            task = read_task(file)
            found.append({"file": str(file), "task": task.name, "num_prompts": _num_prompts(task), "error": None})
        except BadTask as error:
            found.append({"file": str(file), "task": None, "num_prompts": None, "error": str(error)})
    if output == "json":
        render.print_json(found)
    else:
        for line in found:
            ok = f"{line['file']}: ok, task {line['task']}, {line['num_prompts']} prompts"
            click.echo(render.printable(line["error"] or ok))
    return BadTask.exit_code if any(line["error"] for line in found) else 0


@tasks.command("import")
@click.argument("file", metavar="FILE.json", type=FilePath())
@click.option(
    "--into",
    type=FilePath(),
    metavar="DIR",
    help="Where the files go. Default: $ECHOSEARCH_TASKS, else ~/.config/echosearch/tasks.",
)
@click.option("--prefix", default="", metavar="P", help="Put this before each name, e.g. published_.")
@click.option("--dry-run", is_flag=True, help="Only say what would be written.")
@output_option("json")
def import_(file: Path, into: Path | None, prefix: str, dry_run: bool, output: str | None) -> None:
    """Make task files of a copy of EchoCLIP's published prompts.

    Prompts stay as they are. All files are written, or none; what is not used is said.

    \b
    Example:
      echosearch tasks import prompts_used.json --prefix published_
    """
    from dataclasses import replace

    from echosearch.config import tasks_path
    from echosearch.tasks import import_published, plan_import, write_tasks

    found, warnings = import_published(file)
    if not found:
        raise BadTask("; ".join([f"{file} has no task that can be used, so nothing was stored", *warnings]))
    folder = tasks_path() if into is None else into
    if folder is None:
        raise BadTask("there is no home folder for tasks of your own; say where: --into FOLDER or $ECHOSEARCH_TASKS")
    plan = plan_import([replace(task, name=prefix + task.name) for task in found], folder)
    if not dry_run:
        write_tasks(plan.new, folder)
    if output == "json":
        render.print_json(
            {
                "folder": str(folder),
                "dry_run": dry_run,
                "written": [] if dry_run else [task.name for task in plan.new],
                "would_be_written": [task.name for task in plan.new] if dry_run else [],
                "already_there": plan.already_there,
                "built_in": plan.built_in,
                "warnings": warnings,
            }
        )
        return
    render.print_notes(warnings)
    for task in plan.new:
        click.echo(f"{'would be written' if dry_run else 'written'}: {task.name}, {_num_prompts(task)} prompts")
    for names, what in ((plan.already_there, "already there"), (plan.built_in, "built in already, with these prompts")):
        for name in names:
            click.echo(f"{what}: {name}")
    count = f"{len(plan.new)} tasks {'would be written' if dry_run else 'written'}"
    click.echo(f"{count} into {render.printable(str(folder))}")


def _told(task: Task, origin: str) -> dict[str, Any]:
    """A task for scripts: as in its file, with what follows from it."""
    from echosearch.tasks import to_plain

    told = to_plain(task) | {"validated": task.validated}
    return told | {"id": task.id, "num_prompts": _num_prompts(task), "origin": origin}


def _classes_or_range(task: Task) -> str:
    if task.range is None:
        return ", ".join(each.name for each in task.classes)
    steps = f" in steps of {task.range.step}" if task.range.step != 1 else ""
    return f"{task.range.low} to {task.range.high} {task.range.unit}".rstrip() + steps


def _num_prompts(task: Task) -> int:
    """How many phrases are encoded, those with each of their numbers."""
    return sum(len(group) for group in task.groups)
