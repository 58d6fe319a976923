"""The published prompts of EchoCLIP, a JSON file, as tasks. Knows their format, and no folder.

Its sentences say which task cannot be used, and why; prompts stay letter by letter as they are.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from echosearch.errors import BadTask
from echosearch.tasks.task import Task, TaskClass, ValueRange
from echosearch.tasks.task_faults import at, decode, read_bytes


def import_published(path: Path) -> tuple[list[Task], list[str]]:
    """The tasks of a file in the format of the published prompts, and a sentence for everything that is not used.

    Prompts stay as they are. `testers`, where a task has them, are what it is scored with. Classes come in the order
    of `value_mapping`; one that is called normal is the task's normal class. BadTask when the file is no such JSON.
    """
    data = read_bytes(path)
    source = f"{path.name}, sha256 {hashlib.sha256(data).hexdigest()}"
    tasks: dict[str, Task] = {}
    warnings: list[str] = []
    for title, entry in _json_object(decode(data, str(path)), str(path)).items():
        try:
            task, remarks = _published_task(title, entry, source)
        except BadTask as error:
            warnings.append(f"{title!r} is left out: {error}")
            continue
        if task.name in tasks:
            warnings.append(f"{title!r} is left out: the file has another task that would be called {task.name}")
            continue
        tasks[task.name] = task
        warnings += remarks
    return list(tasks.values()), warnings


def _json_object(text: str, file: str) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        [(commonest, times)] = Counter(key for key, _ in pairs).most_common(1) or [("", 1)]
        if times > 1:
            raise BadTask(f"{file}: the key {commonest!r} stands twice in one object, so one of them would be lost")
        return dict(pairs)

    try:
        value = json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise BadTask(f"{at(file, error.lineno, error.colno)}this is not JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or brackets in brackets
        raise BadTask(f"{file}: this JSON cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise BadTask(f"{at(file, 1, 1)}published prompts are one object, task name -> mode and label_sources")
    return value


def _published_task(title: str, entry: Any, source: str) -> tuple[Task, list[str]]:
    if not isinstance(entry, dict):
        raise BadTask("it is no object with mode and label_sources")
    mode = entry.get("mode")
    if mode not in ("binary", "regression", "categorical"):
        raise BadTask(f"its mode is binary, regression or categorical, not {mode!r}")
    name = _task_name(title)
    remarks = []
    if name != title:
        remarks.append(f"{title!r} is called {name} here, as names are lower-case letters, digits and _")
    phrases_key, values_key = ("testers", "tester_values") if "testers" in entry else ("label_sources", "values")
    prompts = _phrases(entry, phrases_key)
    used = {"mode", phrases_key}
    told: dict[str, Any] = {"prompts": prompts}
    if mode == "regression":
        used.add("range")
        told["range"] = _published_range(entry.get("range"))
    if mode == "categorical":
        used |= {values_key, "value_mapping"}
        classes, about_classes = _published_classes(entry, prompts, values_key)
        remarks += [f"{title!r}: {remark}" for remark in about_classes]
        normal = next((each.name for each in classes if each.name.lower() == "normal"), None)
        told = {"classes": classes, "normal": normal}
    if unused := [key for key in entry if key not in used]:
        why = ", as it is scored with its testers" if "testers" in entry else ""
        remarks.append(f"{title!r}: not used{why}: {', '.join(unused)}")
    return Task(name=name, mode=mode, source=source, **told), remarks


def _task_name(title: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")
    return (name if name[:1].isalpha() else f"task_{name}".rstrip("_"))[:64]


def _phrases(entry: Mapping[str, Any], key: str) -> tuple[str, ...]:
    found = entry.get(key)
    if not isinstance(found, list) or not all(isinstance(phrase, str) for phrase in found):
        raise BadTask(f"its {key} is no list of phrases")
    return tuple(found)


def _published_range(found: Any) -> ValueRange:
    if not isinstance(found, list) or [type(end) for end in found] != [int, int]:
        raise BadTask(f"its range is two whole numbers, such as [0, 100], not {found!r}")
    return ValueRange(*found)


def _published_classes(
    entry: Mapping[str, Any], prompts: tuple[str, ...], values_key: str
) -> tuple[tuple[TaskClass, ...], list[str]]:
    values, mapping = entry.get(values_key), entry.get("value_mapping", {})
    if not isinstance(values, list) or len(values) != len(prompts):
        raise BadTask(f"its {values_key} is no list of one value for each of {len(prompts)} prompts")
    if not all(type(value) in (int, str) for value in values):
        raise BadTask(f"its {values_key} has more than whole numbers and text")
    if not isinstance(mapping, dict) or not all(isinstance(name, str) for name in mapping.values()):
        raise BadTask("its value_mapping does not give names to values")
    groups: dict[str, list[str]] = {name: [] for name in mapping.values()}
    remarks = []
    for value, prompt in zip(values, prompts, strict=True):
        name = mapping.get(str(value), str(value))
        if name not in groups:
            remarks.append(f"value {value} has no name in value_mapping, so its class is called {name}")
        groups.setdefault(name, []).append(prompt)
    remarks += [f"class {name} has no prompt, so it gets no score" for name, phrases in groups.items() if not phrases]
    return tuple(TaskClass(name, tuple(phrases)) for name, phrases in groups.items() if phrases), remarks
