"""One way through everything, on the toy encoder: a folder in, hits out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path


def test_a_folder_of_colours_is_found_by_their_names(
    colours: Path, tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    index = tmp_path / "index"
    code, _, err = run("ingest", colours, "--index", index, "--model", "toy")
    assert code == 0, err
    for colour in ("red", "green", "blue"):
        code, out, _ = run("search", colour, "--index", index, "-k", 3, "--json")
        told = json.loads(out)
        assert code == 0
        assert Path(told["hits"][0]["path"]).stem == colour
