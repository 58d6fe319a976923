"""Tasks as answers: what a task file has, with what follows from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Required, cast

from typing_extensions import TypedDict

from echosearch.errors import BadTask
from echosearch.tasks import Task, read_task, to_plain
from echosearch.types import BESIDE, Answer


class FigureFields(TypedDict, total=False):
    """A published figure as a task file has it."""

    name: Required[str]
    value: Required[float]
    source: Required[str]
    model: str


class TaskFields(TypedDict, total=False):
    """The keys of a task file; what a task does not have is left out."""

    name: Required[str]
    mode: Required[str]
    about: str
    prompts: list[str]
    classes: dict[str, list[str]]
    range: list[int]
    step: int
    unit: str
    normal: str
    views: list[str]
    aggregate: Required[str]
    source: str
    published: list[FigureFields]


@dataclass(frozen=True, slots=True)
class TaskDetails(Answer):
    """A task as in its file, with its id, how many phrases are encoded, and where it is from."""

    fields: TaskFields = field(metadata=BESIDE)
    validated: str | None
    id: str
    num_prompts: int
    origin: str


@dataclass(frozen=True, slots=True)
class TaskList(Answer):
    """All tasks that can be named, and what is wrong with files of one's own folder."""

    tasks: tuple[TaskDetails, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TaskCheck(Answer):
    """A task file: the task that it holds, or the error."""

    file: str
    task: str | None
    num_prompts: int | None
    error: str | None


@dataclass(frozen=True, slots=True)
class TaskImport(Answer):
    """Names of the tasks that were written into a folder (in a dry run: would be), and of those that were not."""

    folder: str
    dry_run: bool
    written: tuple[str, ...]
    would_be_written: tuple[str, ...]
    already_there: tuple[str, ...]
    built_in: tuple[str, ...]
    warnings: tuple[str, ...]


def task_details(task: Task, origin: str) -> TaskDetails:
    """All that there is to say of a task."""
    return TaskDetails(cast(TaskFields, to_plain(task)), task.validated, task.id, task.num_prompts, origin)


def check_task(file: Path) -> TaskCheck:
    """Read a task file, and say what is wrong with it."""
    try:
        task = read_task(file)
    except BadTask as error:
        return TaskCheck(str(file), None, None, str(error))
    return TaskCheck(str(file), task.name, task.num_prompts, None)
