"""Text embeddings kept as small files, so that a phrase asked before needs no model. Never fails, only forgets."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import secrets
from pathlib import Path

import numpy as np

from echosearch.types import EncodedText


class TextCache:
    """An `EmbeddingCache` in a folder; a file that is damaged counts as not there."""

    def __init__(self, folder: Path, dim: int) -> None:
        self._folder = folder
        self._dim = dim

    def get(self, key: str) -> EncodedText | None:
        """What was put under this key, unless it was lost or damaged since."""
        try:
            values = json.loads(self._path(key).read_text("utf-8"))
            data = base64.b64decode(values["float32"], validate=True)
            if hashlib.sha256(data).hexdigest() != values["sha256"]:
                return None
            vector = np.frombuffer(data, "<f4").astype(np.float32)
            return EncodedText(vector, str(values["cut"])) if len(vector) == self._dim else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, key: str, text: EncodedText) -> None:
        """Keep an embedding; where that cannot be done (read-only, full), nothing happens."""
        data = text.vector.astype("<f4").tobytes()
        values = {
            "float32": base64.b64encode(data).decode(),
            "sha256": hashlib.sha256(data).hexdigest(),
            "cut": text.cut,
        }
        path = self._path(key)
        partial = path.with_name(f".partial-{secrets.token_hex(8)}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps(values), "utf-8")
            partial.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._folder / "text" / key[:2] / f"{key}.json"
