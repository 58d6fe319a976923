"""What an index is bound to, the file that says so, and whether a model on this machine may work with it.

Space, recipe and fingerprint decide. Knows no catalog and no vectors of videos.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from echosearch.config import FORMAT_VERSION
from echosearch.encoders import FINGERPRINT_PHRASES, Encoder, Standing, fingerprint_clip
from echosearch.errors import (
    BackendError,
    DamagedIndex,
    IndexNotFound,
    NumericsMismatch,
    RecipeMismatch,
    SpaceMismatch,
)
from echosearch.files import whole_file
from echosearch.index.catalog import refuse_newer
from echosearch.index.vectors import FramesDtype
from echosearch.types import EncoderCard, Fingerprint, ModelRequest, Numerics, Recipe

MANIFEST: Final = "manifest.json"

_REASON: Final = "it is not what was written"
_WAY_BACK: Final = "restore it from a copy of the index"


@dataclass(frozen=True, slots=True)
class IndexDescription:
    """What an index is bound to: the model that made it, its recipe, and the vectors that prove a machine."""

    created_at: str
    model: str
    weights: str
    notice: str | None
    dim: int
    frames_dtype: FramesDtype
    precision: str
    logit_scale: float | None
    recipe: Recipe
    probe: Fingerprint

    @classmethod
    def of(cls, card: EncoderCard, probe: Fingerprint, frames_dtype: FramesDtype) -> IndexDescription:
        """The description of a new index."""
        return cls(
            datetime.now(UTC).isoformat(timespec="seconds"),
            card.name,
            card.weights,
            card.notice,
            card.dim,
            frames_dtype,
            card.numerics.precision,
            card.logit_scale,
            card.recipe,
            probe,
        )

    def request(self, model: str | None = None) -> ModelRequest:
        """The model to load for this index, from where its weights lay or now lie, prepared in the index's own way."""
        weights = self.weights if model is None and self.weights not in (self.model, "none") else None
        name, recipe = self.model if model is None else model, self.recipe
        return ModelRequest(name, weights, sampling=recipe.sampling, preprocess=recipe.preprocess)

    @property
    def standing(self) -> Standing:
        """Whose weights made the index, and what in it is not as published."""
        return Standing.of(self.model, self.weights, self.recipe)

    @property
    def notes(self) -> list[str]:
        """What is to be said with every answer of this index: the model's caveat, and what is not as published."""
        return [note for note in (self.notice, self.standing.note) if note]

    def to_dict(self) -> dict[str, Any]:
        """As `manifest.json` holds it."""
        shallow = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return (
            {"format_version": FORMAT_VERSION}
            | shallow
            | {
                "space_id": self.recipe.space.id,
                "recipe_id": self.recipe.id,
                "recipe": self.recipe.to_dict(),
                "probe": self.probe.to_dict(),
            }
        )


def read_description(path: Path) -> IndexDescription:
    """The description of an index. IndexStateError says why there is none that can be used."""
    file = path / MANIFEST
    if not file.is_file():
        # A cohort's export has a manifest.json as well, and no catalog.
        near = (
            sorted(found.parent for found in path.parent.glob("[!.]*/catalog.sqlite")) if path.parent.is_dir() else []
        )
        hint = f"; there are {', '.join(map(str, near[:5]))}" if near else ""
        raise IndexNotFound(f"there is no index at {path}{hint}. Make one with: echosearch ingest VIDEOS --model MODEL")
    try:
        values = json.loads(file.read_text("utf-8"))
        if not any(path.glob("catalog.sqlite")) and (not isinstance(values, dict) or "recipe_id" not in values):
            raise IndexNotFound(
                f"{path} is not an index: its {MANIFEST} belongs to something else, such as a cohort's export"
            )
        version = int(values["format_version"])
    except OSError as error:
        raise DamagedIndex(f"{file} cannot be read: {error.strerror}; {_WAY_BACK}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedIndex(f"{file} cannot be read: {_REASON}; {_WAY_BACK}") from error
    refuse_newer(path, version)
    return description_from(file, values)


def written_format(path: Path) -> int:
    """The format of an index that was opened; NewerFormat where a newer program has migrated it since."""
    version: int = json.loads((path / MANIFEST).read_text("utf-8"))["format_version"]
    refuse_newer(path, version)
    return version


def description_from(file: Path, told: dict[str, Any] | str) -> IndexDescription:
    """The description that `to_dict` wrote, or its JSON, kept in a file. DamagedIndex on anything else."""
    try:
        values = json.loads(told) if isinstance(told, str) else told
        description = IndexDescription(
            recipe=Recipe.from_dict(values["recipe"]),
            probe=Fingerprint.from_dict(values["probe"]),
            **{name: values[name] for name in IndexDescription.__dataclass_fields__ if name not in ("recipe", "probe")},
        )
        recipe_id = values["recipe_id"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedIndex(f"{file} cannot be read: {_REASON}; {_WAY_BACK}") from error
    if description.dim != (dim := description.probe.frames.shape[1]):
        raise DamagedIndex(
            f"{file} was changed: it says that vectors have {description.dim} numbers, but its fingerprint has {dim}; "
            f"{_WAY_BACK}"
        )
    if description.recipe.id != recipe_id:
        raise DamagedIndex(f"{file} was changed: its recipe no longer matches its hash")
    return description


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Replace a file as a whole, so that no reader ever sees half of it."""
    with whole_file(path, path.name) as file:
        file.write(json.dumps(values, indent=1).encode())


@contextmanager
def named_disk_errors(path: Path) -> Iterator[None]:
    """What the disk refuses, as a BackendError that names the index."""
    try:
        yield
    except OSError as error:
        raise BackendError(f"cannot write to the index {path}: {error.strerror or error}") from error


def probe(encoder: Encoder) -> Fingerprint:
    """The encoder's fingerprint on this machine."""
    from echosearch.video import prepare  # late: a search of known phrases imports no OpenCV

    return encoder.probe(prepare(fingerprint_clip(), encoder.card.recipe.preprocess))


def check_model(description: IndexDescription, encoder: Encoder) -> list[str]:
    """Refuse to add to an index with another recipe, or from a machine that gives other vectors.

    Gives a sentence to show where the agreement is only that of half precision.
    """
    _check_space(description, encoder.card)
    if encoder.card.recipe.id != description.recipe.id:
        differences = "; ".join(encoder.card.recipe.differences(description.recipe))
        raise RecipeMismatch(
            f"videos would be prepared differently from those of this index: {differences} (the index). "
            "Use the index's own settings, or make another index"
        )
    return check_fingerprint(description, probe(encoder), encoder.card.numerics)


def check_fingerprint(description: IndexDescription, vectors: Fingerprint, numerics: Numerics) -> list[str]:
    """Refuse vectors of a machine whose fingerprint differs from the index's.

    Gives a sentence to show where the agreement is only that of half precision.
    """
    return _check_cosine(description, numerics, min(vectors.cosines(description.probe)))


def check_phrases(description: IndexDescription, encoder: Encoder) -> None:
    """Refuse to ask with another model than the index's, or from a machine that gives other vectors."""
    _check_space(description, encoder.card)
    mine = np.stack([text.vector for text in encoder.encode_text(FINGERPRINT_PHRASES)])
    _, cosine = Fingerprint(description.probe.frames, mine).cosines(description.probe)
    _check_cosine(description, encoder.card.numerics, cosine)


def _check_space(description: IndexDescription, card: EncoderCard) -> None:
    if card.recipe.space.id != description.recipe.space.id:
        raise SpaceMismatch(
            f"the model at {card.weights} is not the one that this index was made with ({description.model}, "
            f"{description.weights}): its weights, architecture or text handling differ, so no score would mean "
            "anything. Give the right weights with --model, or make another index"
        )


def _check_cosine(description: IndexDescription, numerics: Numerics, cosine: float) -> list[str]:
    half = {numerics.precision, description.precision} != {"fp32"}
    needed = 0.999 if half else 0.9999
    if not cosine >= needed:
        raise NumericsMismatch(
            f"this machine reproduces the index's fingerprint only at cosine {cosine:.6f}, and {needed} is needed "
            f"(precision {numerics.precision} here, {description.precision} in the index; "
            f"torch {numerics.torch})"
        )
    if half:
        return [
            f"half precision: the index's fingerprint comes back at cosine {cosine:.6f} here "
            f"({numerics.precision}; the index: {description.precision})"
        ]
    return []
