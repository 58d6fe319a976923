"""`echosearch tasks`: zero-shot tasks, built in and of one's own. Scores nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

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
    from echosearch.api.tasks import TaskList, task_details
    from echosearch.tasks import NOT_VALIDATED, folder_problems, known_tasks

    known, problems = known_tasks(), folder_problems()
    if output == "json":
        render.print_json(TaskList(tuple(task_details(*each) for each in known.values()), tuple(problems)))
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
                task.num_prompts,
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
    from echosearch.api.tasks import task_details
    from echosearch.tasks import BUILT_IN, NOT_VALIDATED, SUFFIXES, find_task, known_tasks, to_yaml

    task = find_task(reference)
    is_file = reference.lower().endswith(SUFFIXES)
    origin = reference if is_file else known_tasks().get(reference, (task, BUILT_IN))[1]
    lines = [
        f"# {origin}; {task.num_prompts} prompts; id {task.id}",
        *(() if task.validated else (f"# {NOT_VALIDATED}",)),
        *to_yaml(task).rstrip("\n").split("\n"),
    ]
    render.answer(output, task_details(task, origin), lines)


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
    from echosearch.api.tasks import check_task

    found = [check_task(file) for file in files]
    lines = (each.error or f"{each.file}: ok, task {each.task}, {each.num_prompts} prompts" for each in found)
    render.answer(output, found, lines)
    return BadTask.exit_code if any(each.error for each in found) else 0


@tasks.command("import")
@click.argument("file", metavar="FILE.json", type=FilePath())
@click.option(
    "--into",
    type=FilePath(),
    metavar="DIR",
    help="Where to write the files. Default: $ECHOSEARCH_TASKS, else ~/.config/echosearch/tasks.",
)
@click.option("--prefix", default="", metavar="P", help="A prefix for each name, such as published_.")
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

    from echosearch.api.tasks import TaskImport
    from echosearch.config import tasks_path
    from echosearch.tasks import import_published, plan_import, write_tasks

    found, warnings = import_published(file)
    if not found:
        raise BadTask("; ".join([f"{file} has no task that can be used, so nothing was stored", *warnings]))
    folder = tasks_path() if into is None else into
    if folder is None:
        raise BadTask(
            "there is no home folder for tasks of your own; name a folder: --into FOLDER or $ECHOSEARCH_TASKS"
        )
    plan = plan_import([replace(task, name=prefix + task.name) for task in found], folder)
    if not dry_run:
        write_tasks(plan.new, folder)
    names = tuple(task.name for task in plan.new)
    done = TaskImport(
        folder=str(folder),
        dry_run=dry_run,
        written=() if dry_run else names,
        would_be_written=names if dry_run else (),
        already_there=tuple(plan.already_there),
        built_in=tuple(plan.built_in),
        warnings=tuple(warnings),
    )
    written = "would be written" if dry_run else "written"
    lines = [
        *(f"note: {warning}" for warning in warnings),
        *(f"{written}: {task.name}, {task.num_prompts} prompts" for task in plan.new),
        *(f"already there: {name}" for name in plan.already_there),
        *(f"built in already, with these prompts: {name}" for name in plan.built_in),
        f"{len(plan.new)} tasks {written} into {folder}",
    ]
    render.answer(output, done, lines)


def _classes_or_range(task: Task) -> str:
    if task.range is None:
        return ", ".join(each.name for each in task.classes)
    steps = f" in steps of {task.range.step}" if task.range.step != 1 else ""
    return f"{task.range.low} to {task.range.high} {task.range.unit}".rstrip() + steps
