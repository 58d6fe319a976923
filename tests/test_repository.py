"""The repository holds code and text only: no media, weights or indexes, no names of hosts, no stray top level."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT

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
