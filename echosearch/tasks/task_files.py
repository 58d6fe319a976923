"""Tasks on disk: built in, in the user's folder, or by their path, found and written. Knows no scores."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from echosearch import files
from echosearch.config import tasks_path
from echosearch.errors import BackendError, BadTask, UnknownTask, nearest
from echosearch.files import refuse_inside_index, write_new
from echosearch.outputs import Output
from echosearch.tasks.task import Task
from echosearch.tasks.task_text import builtin_tasks, read_task

BUILT_IN: Final = "built in"
"""Where a task comes from that no file of the user holds."""

SUFFIXES: Final = (".yaml", ".yml")


def find_task(reference: str, folder: Path | None = None) -> Task:
    """The task of a file (.yaml, .yml), or of this name in the user's folder or built in.

    UnknownTask offers the nearest names; BadTask when the file is wrong, or a name could mean two tasks.
    """
    if reference.lower().endswith(SUFFIXES):
        return read_task(files.absolute(Path(reference)))
    folder = tasks_path() if folder is None else folder
    theirs = _read_folder(folder)
    for name, error in theirs.refused:
        if name == reference:
            raise error
    known = theirs.known()
    if reference in known:
        return known[reference][0]
    parts = [f"no task is called {reference!r}, built in" + (f" or in {folder}" if folder is not None else "")]
    if theirs.refused:
        parts.append(f"{len(theirs.refused)} files there give no task")
    how = "`echosearch tasks list` shows all, and a file of your own is given by its path, ending in .yaml"
    parts.append(nearest(reference.lower(), known, how))
    raise UnknownTask("; ".join(parts))


def known_tasks(folder: Path | None = None) -> dict[str, tuple[Task, str]]:
    """Every task that `find_task` finds by name, in alphabetical order, with its origin: built in, or its file."""
    return _read_folder(tasks_path() if folder is None else folder).known()


def folder_problems(folder: Path | None = None) -> list[str]:
    """A sentence for each file of the user's folder that gives no task."""
    theirs = _read_folder(tasks_path() if folder is None else folder)
    return [str(error) for _, error in theirs.refused]


@dataclass(frozen=True, slots=True)
class _UserTasks:
    """`refused` has the name that a file would have given, as far as it is known, and why it gives none."""

    tasks: dict[str, tuple[Task, Path]]
    refused: list[tuple[str, BadTask]]

    def known(self) -> dict[str, tuple[Task, str]]:
        known = {name: (task, BUILT_IN) for name, task in builtin_tasks().items()}
        known |= {name: (task, str(path)) for name, (task, path) in self.tasks.items() if name not in known}
        refused = {name for name, _ in self.refused}
        return {name: known[name] for name in sorted(known) if name not in refused}


def _read_folder(folder: Path | None) -> _UserTasks:
    found = _UserTasks({}, [])
    for path in _task_files(folder) if folder is not None else ():
        try:
            task = read_task(path)
        except BadTask as error:
            found.refused.append((path.stem, error))
            continue
        built_in = builtin_tasks().get(task.name)
        if built_in is not None and not _same_rule(task, built_in):
            sentence = f"{path}: a task of another content with the name {task.name} is built in; give it another name"
            found.refused.append((task.name, BadTask(f"{sentence}, or use the file by its path from another folder")))
        elif task.name in found.tasks:
            other = found.tasks[task.name][1]
            found.refused.append(
                (task.name, BadTask(f"{path}: the task {task.name} stands in {other} too; remove one"))
            )
        else:
            found.tasks[task.name] = (task, path)
    return found


def _task_files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES and not path.name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise BadTask(f"the folder of tasks {folder} cannot be read: {error.strerror or error}") from error


def _same_rule(one: Task, other: Task) -> bool:
    """Whether the two give the same answers for a video and for a study."""
    return (one.id, one.views, one.aggregate, one.normal) == (other.id, other.views, other.aggregate, other.normal)


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """Which tasks are new to a folder, and the names of those that need no file."""

    new: tuple[Task, ...]
    already_there: tuple[str, ...]
    built_in: tuple[str, ...]


def plan_import(tasks: Iterable[Task], folder: Path) -> ImportPlan:
    """What `write_tasks` would have to write. BadTask when a name stands for something else already."""
    theirs = _read_folder(folder)
    known, unclear = theirs.known(), {name for name, _ in theirs.refused}
    new: list[Task] = []
    already_there: list[str] = []
    built_in: list[str] = []
    taken: list[str] = []
    for task in tasks:
        target = folder / f"{task.name}.yaml"
        if task.name in known:
            other, origin = known[task.name]
            if other.id != task.id:
                taken.append(f"{task.name} ({origin})")
            else:
                (built_in if origin == BUILT_IN else already_there).append(task.name)
        elif task.name in unclear or target.exists():
            taken.append(f"{task.name} ({target})")
        else:
            new.append(task)
    if taken:
        raise BadTask(
            f"nothing was stored: with other content there is already {', '.join(taken)}; "
            "give all of them other names, e.g. with --prefix published_"
        )
    return ImportPlan(tuple(new), tuple(already_there), tuple(built_in))


def write_tasks(tasks: Sequence[Task], folder: Path) -> list[Path]:
    """Write a new file for each into a folder, all or none; in no index. BackendError where the disk does not let."""
    refuse_inside_index(folder / "tasks")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return _write_all(tasks, folder)
    except OSError as error:
        raise BackendError(
            f"cannot write tasks into {folder}, nothing was stored: {error.strerror or error}"
        ) from error


def _write_all(tasks: Sequence[Task], folder: Path) -> list[Path]:
    targets = [Output(folder / f"{task.name}.yaml", f"task {task.name}", ".yaml", force=None).path for task in tasks]
    write_new({target: to_yaml(task).encode() for task, target in zip(tasks, targets, strict=True)})
    return targets


def to_plain(task: Task) -> dict[str, Any]:
    """A task as the keys and values of its file: text, whole numbers, lists; what it does not have is left out."""
    told: dict[str, Any] = {"name": task.name, "mode": task.mode, "about": task.about}
    told["prompts"] = list(task.prompts)
    told["classes"] = {each.name: list(each.prompts) for each in task.classes}
    if task.range is not None:
        told["range"] = [task.range.low, task.range.high]
        told["step"] = task.range.step if task.range.step != 1 else None
        told["unit"] = task.range.unit
    told |= {"normal": task.normal, "views": list(task.views), "aggregate": task.aggregate, "source": task.source}
    told["validated"] = task.validated
    told["published"] = [{key: is_ for key, is_ in asdict(each).items() if is_ is not None} for each in task.published]
    return {key: value for key, value in told.items() if value or (key == "validated" and value is not None)}


def to_yaml(task: Task) -> str:
    """A task as the text of a file from which `read_task` makes an equal one; phrases stand in double quotes."""
    told = to_plain(task)
    for key in ("range", "views"):
        if key in told:
            told[key] = _OneLine(told[key])
    return yaml.dump(told, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=sys.maxsize)


class _OneLine(list[Any]):
    """A list in brackets."""


class _Dumper(yaml.SafeDumper):
    """Shows each blank of a phrase; single words stand as they are, unless YAML would read them as something else."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = None if re.fullmatch(r"[A-Za-z0-9_.]+", text) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _represent_one_line(dumper: yaml.SafeDumper, items: _OneLine) -> yaml.Node:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=True)


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(_OneLine, _represent_one_line)
