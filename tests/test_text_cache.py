"""The text cache gives back exactly what it was given, or nothing; it never fails."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from echosearch.encoders import TextCache
from echosearch.types import EncodedText

KEY, OTHER_KEY = "ab" + "0" * 62, "cd" + "1" * 62
DIM = 5


def text(seed: int = 0, cut: str = "", dim: int = DIM) -> EncodedText:
    """A random unit vector, none of whose digits is round."""
    row = np.random.default_rng(seed).normal(size=dim)
    return EncodedText((row / np.linalg.norm(row)).astype(np.float32), cut)


def file_of(folder: Path, key: str = KEY) -> Path:
    """Where an embedding lies: `text/<first two digits>/<key>.json`."""
    return folder / "text" / key[:2] / f"{key}.json"


def change(folder: Path, **values: Any) -> None:
    """Overwrite parts of the file under KEY."""
    file = file_of(folder)
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def as_fields(vector: npt.NDArray[Any]) -> dict[str, str]:
    """A vector as the file holds it, with the digest that fits."""
    data = vector.astype("<f4").tobytes()
    return {"float32": base64.b64encode(data).decode(), "sha256": hashlib.sha256(data).hexdigest()}


def test_what_was_put_comes_back_bit_for_bit(tmp_path: Path) -> None:
    first, second = text(1), text(2, cut="AND MILD MR “quoted” é")
    TextCache(tmp_path, DIM).put(KEY, first)
    TextCache(tmp_path, DIM).put(OTHER_KEY, second)
    cache = TextCache(tmp_path, DIM)
    for key, given in ((KEY, first), (OTHER_KEY, second)):
        got = cache.get(key)
        assert got is not None
        assert got.vector.dtype == np.float32
        assert got.vector.tobytes() == given.vector.tobytes()
        assert got.cut == given.cut
    assert cache.get("ef" + "2" * 62) is None


def test_a_second_put_replaces_the_first_and_leaves_one_file(tmp_path: Path) -> None:
    cache = TextCache(tmp_path, DIM)
    cache.put(KEY, text(1))
    cache.put(KEY, text(2))
    got = cache.get(KEY)
    assert got is not None
    np.testing.assert_array_equal(got.vector, text(2).vector)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [file_of(tmp_path)]


@pytest.mark.parametrize("part", [0.0, 0.2, 0.5, 0.9])
def test_a_truncated_file_counts_as_missing(tmp_path: Path, part: float) -> None:
    cache = TextCache(tmp_path, DIM)
    cache.put(KEY, text())
    content = file_of(tmp_path).read_bytes()
    file_of(tmp_path).write_bytes(content[: int(len(content) * part)])
    assert cache.get(KEY) is None


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00", b"null", b"[]", b'"text"', b"{}", b'{"float32": 3, "sha256": ""}']
)
def test_a_file_with_something_else_counts_as_missing(tmp_path: Path, content: bytes) -> None:
    cache = TextCache(tmp_path, DIM)
    cache.put(KEY, text())
    file_of(tmp_path).write_bytes(content)
    assert cache.get(KEY) is None


def test_a_vector_that_is_not_the_digested_one_counts_as_missing(tmp_path: Path) -> None:
    cache = TextCache(tmp_path, DIM)
    cache.put(KEY, text(1))
    change(tmp_path, float32=as_fields(text(2).vector)["float32"])
    assert cache.get(KEY) is None
    change(tmp_path, **as_fields(text(2).vector))  # with its own digest it is whole again
    got = cache.get(KEY)
    assert got is not None
    np.testing.assert_array_equal(got.vector, text(2).vector)


@pytest.mark.parametrize(
    "vector",
    [
        pytest.param(text().vector * np.float32(1.01), id="longer than 1"),
        pytest.param(np.zeros(DIM), id="zero"),
        pytest.param(np.full(DIM, np.nan), id="NaN"),
    ],
)
def test_a_vector_that_is_not_of_unit_length_counts_as_missing(tmp_path: Path, vector: npt.NDArray[Any]) -> None:
    cache = TextCache(tmp_path, DIM)
    cache.put(KEY, text())
    change(tmp_path, **as_fields(vector))
    assert cache.get(KEY) is None


@pytest.mark.parametrize("dim", [DIM - 1, DIM + 1])
def test_a_vector_of_another_dimension_counts_as_missing(tmp_path: Path, dim: int) -> None:
    TextCache(tmp_path, dim).put(KEY, text(dim=dim))
    assert TextCache(tmp_path, dim).get(KEY) is not None
    assert TextCache(tmp_path, DIM).get(KEY) is None


def test_a_folder_that_cannot_be_keeps_nothing_and_fails_nothing(tmp_path: Path) -> None:
    file = tmp_path / "a file"
    file.write_text("not a folder")
    cache = TextCache(file, DIM)
    cache.put(KEY, text())
    assert cache.get(KEY) is None
    assert file.read_text() == "not a folder"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write to a read-only folder")
def test_a_read_only_folder_keeps_nothing_and_fails_nothing(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        cache = TextCache(tmp_path, DIM)
        cache.put(KEY, text())
        assert cache.get(KEY) is None
        assert list(tmp_path.iterdir()) == []
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize(("method", "number"), [("mkdir", errno.EROFS), ("open", errno.ENOSPC)])
def test_a_disk_that_refuses_to_write_fails_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, number: int
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    cache = TextCache(tmp_path, DIM)
    with monkeypatch.context() as patch:
        patch.setattr(Path, method, refuse)
        cache.put(KEY, text())
    assert cache.get(KEY) is None


def test_a_put_that_stops_half_way_leaves_no_partial_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    cache = TextCache(tmp_path, DIM)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", refuse)
        cache.put(KEY, text())
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert cache.get(KEY) is None
