"""The repository: code and text only, no names of hosts, no stray top level; rooms that are entered by their doors.

A room is a package directly under `echosearch/`, its door the names in its `__init__.pyi`.
"""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

import echosearch

PACKAGE = ROOT / "echosearch"
LONGEST = 500
"""Lines of a file of the program."""
MOST_METHODS = 15
"""Public methods of a class; properties are not counted."""

TOP_LEVEL = {
    ".ci", ".gitignore", "CHANGELOG.md", "LICENSE", "Makefile", "README.md", "constraints.txt", "docs", "echosearch",
    "indexes", "pyproject.toml", "scripts", "tests",
}  # fmt: skip
TEXT = {
    ".py",
    ".pyi",
    ".md",
    ".txt",
    ".toml",
    ".json",
    ".csv",
    ".yaml",
    ".html",
    ".j2",
    ".lark",
    ".css",
    ".js",
    ".sql",
    "",
}


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    """Files that git tracks."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()]


def test_no_media_weights_or_indexes_are_tracked(tracked: list[Path]) -> None:
    past = ROOT / "tests" / "formats"  # a small toy index of each past format, zipped
    mini = ROOT / "echosearch" / "encoders" / "echo_mini" / "open_clip_model.safetensors"  # knows phantoms only
    for path in tracked:
        if path == mini:
            assert path.stat().st_size < 16_000_000
            continue
        if path.parent == past:
            assert path.suffix == ".zip", f"{path} is no zipped index"
            assert path.stat().st_size < 50_000
            continue
        assert path.suffix in TEXT or path.name in ("py.typed", "run"), f"{path} is no text"
        data = path.read_bytes()
        assert len(data) < 1_000_000, f"{path} has {len(data)} bytes"
        assert b"\0" not in data, f"{path} is binary"
    assert [path.name for path in tracked if path.is_relative_to(ROOT / "indexes")] == ["README.md"]


def test_the_top_level_is_what_the_design_says(tracked: list[Path]) -> None:
    assert {path.relative_to(ROOT).parts[0] for path in tracked} <= TOP_LEVEL


def test_versions_are_exact_and_name_no_host() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    for line in lines:
        assert line.startswith("#") or re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][A-Za-z0-9.]*", line), line
    pinned = {re.split("==", line)[0].lower().replace("_", "-") for line in lines}
    needed = re.findall(r'^    "([A-Za-z0-9_.-]+)[>=]', (ROOT / "pyproject.toml").read_text(), re.M)
    optional = {"transformers"}
    assert {name.lower().replace("_", "-") for name in needed} - optional <= pinned


def test_the_broad_except_stands_at_the_edges_only(tracked: list[Path]) -> None:
    broad = {
        path.relative_to(ROOT).as_posix()
        for path in tracked
        if path.is_relative_to(ROOT / "echosearch")
        and re.search(r"except( \(?(Exception|BaseException)\b.*)?:", path.read_text("utf-8", "replace"))
    }
    assert broad == {
        "echosearch/cli/app.py",  # the command's edge
        "echosearch/ingest/decoding.py",  # a worker's edge
        "echosearch/index/catalog/catalog.py",  # rolls back and raises again
    }


def imports(path: Path) -> Iterator[tuple[int, str, str | None]]:
    """What a file imports: line, module, and the name in it, if one is named."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, "." * node.level + (node.module or ""), each.name) for each in node.names)
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, each.name, None) for each in node.names)


def doors(package: Path) -> dict[str, set[str]]:
    """The names that each room gives."""
    return {
        stub.parent.name: {
            each.asname or each.name
            for node in ast.parse(stub.read_text("utf-8")).body
            if isinstance(node, ast.ImportFrom)
            for each in node.names
        }
        for stub in sorted(package.glob("*/__init__.pyi"))
    }


def past_the_doors(package: Path) -> list[str]:
    """Imports that do not come through a room's door, or that come through one's own."""
    rooms = doors(package)
    found = []
    for path in sorted(package.rglob("*.py")):
        own = path.relative_to(package).parts[0]
        for line, module, name in imports(path):
            top, _, inner = module.removeprefix("echosearch").lstrip(".").partition(".")
            if module.startswith("."):
                wrong = "a relative import"
            elif module.split(".")[0] != "echosearch":
                continue
            elif not top and name in rooms and path != package / "__init__.py":
                wrong = "a room as a whole"
            elif top not in rooms:
                continue
            elif top == own:
                wrong = "" if inner else "its own door"
            elif inner or name is None:
                wrong = "" if (own, top) == ("cli", "api") else "past the door"
            else:
                wrong = "" if name in rooms[top] else "not in the stub"
            if wrong:
                found.append(f"{path.relative_to(package).as_posix()}:{line} imports {module}: {name} ({wrong})")
    return found


def unused_names(package: Path, users: list[Path]) -> list[str]:
    """Names of doors that no other room, and none of `users` (tests and scripts), imports or replaces."""
    rooms = doors(package)
    used = set()
    for path in [*package.rglob("*.py"), *users]:
        own = path.relative_to(package).parts[0] if path.is_relative_to(package) else ""
        used |= {f"{module}.{name}" for _, module, name in imports(path) if module != f"echosearch.{own}"}
    text = "\n".join(path.read_text("utf-8") for path in users)
    used |= set(re.findall(r"echosearch\.\w+\.\w+", text))
    return [name for room, names in rooms.items() for name in sorted(names) if f"echosearch.{room}.{name}" not in used]


def long_files(package: Path) -> dict[str, int]:
    """Files of more than 500 lines."""
    lines = {
        path.relative_to(package).as_posix(): path.read_text("utf-8").count("\n") for path in package.rglob("*.py")
    }
    return {name: count for name, count in lines.items() if count > LONGEST}


def large_classes(package: Path) -> dict[str, int]:
    """Classes of more than 15 public methods."""
    found = {
        f"{path.relative_to(package).as_posix()} {node.name}": sum(
            isinstance(each, ast.FunctionDef)
            and not each.name.startswith("_")
            and not any(ast.unparse(decorator).endswith("property") for decorator in each.decorator_list)
            for each in node.body
        )
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef)
    }
    return {name: count for name, count in found.items() if count > MOST_METHODS}


def test_other_rooms_are_entered_by_their_doors() -> None:
    assert past_the_doors(PACKAGE) == []


def test_a_door_gives_what_others_use_and_no_more() -> None:
    users = [path for folder in ("tests", "scripts") for path in (ROOT / folder).rglob("*.py")]
    assert unused_names(PACKAGE, users) == []


def test_every_name_of_a_door_can_be_imported() -> None:
    for room, names in doors(PACKAGE).items():
        module = importlib.import_module(f"echosearch.{room}")
        assert names == set(module.__all__)
        assert [name for name in sorted(names) if not hasattr(module, name)] == []


def test_no_file_of_the_program_is_long() -> None:
    assert long_files(PACKAGE) == {}


def test_no_class_is_large() -> None:
    assert large_classes(PACKAGE) == {}


def test_the_gate_sees_what_breaks_its_rules(tmp_path: Path) -> None:
    package = tmp_path / "echosearch"
    for path, text in {
        "api/__init__.pyi": "from .index import Index as Index, old as old\n",
        "api/__init__.py": "",
        "api/index.py": "from echosearch.api import Index\nfrom echosearch.video.read import frames\n",
        "api/jobs.py": "from echosearch.api.index import Index\nfrom echosearch.video import frames, secret\n",
        "cli/app.py": "from echosearch.api.jobs import run\nfrom echosearch.api import Index\n" + "\n" * LONGEST,
        "cli/many.py": "class Many:\n"
        + "".join(f"    def f{n}(self): ...\n" for n in range(MOST_METHODS + 1))
        + "    def _inner(self): ...\n    @property\n    def size(self): ...\n",
        "video/__init__.pyi": "from .read import frames as frames\n",
        "video/read.py": "import echosearch.api\nfrom . import x\nfrom echosearch import api, config\nimport numpy\n",
    }.items():
        (package / path).parent.mkdir(parents=True, exist_ok=True)
        (package / path).write_text(text, "utf-8")
    assert past_the_doors(package) == [
        "api/index.py:1 imports echosearch.api: Index (its own door)",
        "api/index.py:2 imports echosearch.video.read: frames (past the door)",
        "api/jobs.py:2 imports echosearch.video: secret (not in the stub)",
        "video/read.py:1 imports echosearch.api: None (past the door)",
        "video/read.py:2 imports .: x (a relative import)",
        "video/read.py:3 imports echosearch: api (a room as a whole)",
    ]
    assert unused_names(package, []) == ["old"]
    assert long_files(package) == {"cli/app.py": LONGEST + 2}
    assert large_classes(package) == {"cli/many.py Many": MOST_METHODS + 1}


def test_what_a_user_imports_is_documented() -> None:
    assert echosearch.__all__ == ["Index", "__version__", "open_index"]
    for name in ("Index", "open_index"):
        assert getattr(echosearch, name).__doc__


def test_whole_files_and_tables_are_written_and_read_in_one_place(tracked: list[Path]) -> None:
    sources = {
        path.relative_to(ROOT / "echosearch").as_posix(): path.read_text("utf-8")
        for path in tracked
        if path.is_relative_to(ROOT / "echosearch") and path.suffix == ".py"
    }

    def those_with(pattern: str) -> set[str]:
        return {name for name, text in sources.items() if re.search(pattern, text)}

    assert those_with(r"\b(import csv|from csv)\b|csv\.(reader|writer|Dict)") == {"tables.py"}
    assert those_with(r"\bcopymode\b|\"\.partial-\"") == {"files.py"}
    assert those_with(r"\bos\.(replace|rename)\(|\.rename\(|shutil\.move|\b(partial|temporary)\w*\.replace\(") == {
        "files.py",
        "index/store.py",  # gives a new index, whole already, its place
        "index/leftovers.py",  # moves aside what a repair let go of
    }
