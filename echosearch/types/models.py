"""What a model is and what may be mixed: space, recipe, numerics, fingerprint, backend. Knows no model code."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal, Protocol

import numpy as np
import numpy.typing as npt

from echosearch.errors import BadOption
from echosearch.types.media import EncodedText, FrameSampling, MediaKind, PreprocessSpec, check_unit_rows

PIPELINE_VERSIONS: Final[dict[MediaKind, int]] = {"video": 1, "still": 2}
"""Raised by hand when reading, preparing or pooling a kind of file changes its numbers; stills 2: turned as EXIF says,
16 bits rounded to 8, converted in open_clip's order."""


def _digest(value: object) -> str:
    return hashlib.sha256(
        json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode()
    ).hexdigest()


@dataclass(frozen=True, slots=True)
class Space:
    """What makes two embeddings comparable: weights, architecture and the way of text. Equal to query an index.

    `tensors_sha256` digests sorted names, shapes, dtypes and bytes of the loaded tensors, not a file;
    `architecture` is the model's config as canonical JSON.
    """

    tensors_sha256: str
    architecture: str
    tokenizer: str
    text_cleaning: str

    @property
    def id(self) -> str:
        """Hash of all parts, hexadecimal."""
        return _digest(asdict(self))


@dataclass(frozen=True, slots=True)
class Recipe:
    """Space and everything else that decides a video's numbers. Equal to add to an index or compare scores.

    `pipeline_version` is that of cines; those of other kinds stand apart and outside the id, so that what was made
    with none of that kind stays of its recipe when one is raised.
    """

    space: Space
    preprocess: PreprocessSpec
    sampling: FrameSampling
    pooling: str = "renormalised mean of unit frame embeddings"
    pipeline_version: int = PIPELINE_VERSIONS["video"]
    still_version: int = PIPELINE_VERSIONS["still"]

    @property
    def id(self) -> str:
        """Hash of all parts but the still's version, hexadecimal."""
        return _digest({name: part for name, part in asdict(self).items() if name != "still_version"})

    @property
    def versions(self) -> dict[MediaKind, int]:
        """As which version of this program each kind of file is embedded."""
        return {"video": self.pipeline_version, "still": self.still_version}

    @property
    def outdated(self) -> tuple[MediaKind, ...]:
        """The kinds of files that this program embeds in another way."""
        return tuple(kind for kind, now in PIPELINE_VERSIONS.items() if self.versions[kind] != now)

    def brought_up(self, *kinds: MediaKind) -> Recipe:
        """The recipe by which this program embeds these kinds of files."""
        now = self.versions | {kind: PIPELINE_VERSIONS[kind] for kind in kinds}
        return replace(self, pipeline_version=now["video"], still_version=now["still"])

    @property
    def in_words(self) -> str:
        """For people: how a video is prepared, which frames of it, and how phrases are read."""
        way, text = self.preprocess, self.space
        how = f"{way.fit} to {way.size}, zoom {way.zoom:g}, {way.resizer} {way.interpolation}, {way.channel_order}"
        return f"{how}; frames {self.sampling}; phrases by {text.tokenizer}, {text.text_cleaning}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` reads them back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Recipe:
        """The recipe that `to_dict` wrote. TypeError, KeyError or ValueError on anything else."""
        preprocess = dict(values["preprocess"])
        preprocess["mean"] = tuple(preprocess["mean"])
        preprocess["std"] = tuple(preprocess["std"])
        return cls(
            Space(**values["space"]),
            PreprocessSpec(**preprocess),
            FrameSampling(**values["sampling"]),
            values["pooling"],
            values["pipeline_version"],
            values.get("still_version", 1),  # before format 6 there was one version of all kinds, 1
        )

    def differences(self, other: Recipe) -> list[str]:
        """What differs, in words: `preprocess.zoom 0.1 here, 0.0 there`."""
        mine, theirs = _flatten(asdict(self)), _flatten(asdict(other))
        return [
            f"{key} {_short(mine.get(key))} here, {_short(theirs.get(key))} there"
            for key in sorted(mine.keys() | theirs.keys())
            if mine.get(key) != theirs.get(key)
        ]


def _flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:12]}...({len(text)} characters)"


@dataclass(frozen=True, slots=True)
class Numerics:
    """With what the numbers were made; recorded with each segment, never part of a hash."""

    precision: str
    device: str
    torch: str
    decoder: str
    runtime: str


@dataclass(frozen=True, slots=True, eq=False)
class Fingerprint:
    """What a model makes of a fixed synthetic clip (T, D) and of fixed phrases (P, D): its fingerprint."""

    frames: npt.NDArray[np.float32]
    phrases: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        check_unit_rows("probe frame embeddings", self.frames)
        check_unit_rows("probe phrase embeddings", self.phrases)

    def cosines(self, other: Fingerprint) -> tuple[float, float]:
        """Lowest cosine over frames and over phrases between two machines' fingerprints."""
        return _lowest_cosine(self.frames, other.frames), _lowest_cosine(self.phrases, other.phrases)

    def to_dict(self) -> dict[str, Any]:
        """Shapes and base64 of little-endian float32."""
        return {
            name: {
                "shape": list(rows.shape),
                "float32": base64.b64encode(rows.astype("<f4").tobytes()).decode(),
            }
            for name, rows in (("frames", self.frames), ("phrases", self.phrases))
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Fingerprint:
        """The fingerprint that `to_dict` wrote."""
        frames, phrases = (
            np.frombuffer(base64.b64decode(part["float32"]), "<f4").reshape(part["shape"]).astype(np.float32)
            for part in (values["frames"], values["phrases"])
        )
        return cls(frames, phrases)


def _lowest_cosine(mine: npt.NDArray[np.float32], theirs: npt.NDArray[np.float32]) -> float:
    if mine.shape != theirs.shape:
        return -1.0
    return float((mine.astype(np.float64) * theirs.astype(np.float64)).sum(axis=1).min())


Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """Which model to load, and how.

    `name` is a preset, `open_clip:ARCH/TAG`, `hf-hub:ORG/NAME` or `local-dir:PATH`; `weights` (`hf-hub:` or
    `local-dir:`) says where else a preset's weights lie; `sampling` overrides the model's usual frames, `preprocess`
    the way of its preset (not size, mean and std); `device` auto means cuda where there is one.
    """

    name: str
    weights: str | None = None
    device: Device = "auto"
    precision: Precision = "fp32"
    sampling: FrameSampling | None = None
    preprocess: PreprocessSpec | None = None

    def __post_init__(self) -> None:
        if self.device not in ("auto", "cpu", "cuda"):
            raise BadOption(f"device is auto, cpu or cuda, not {self.device!r}")
        if self.precision not in ("fp32", "bf16", "fp16"):
            raise BadOption(f"precision is fp32, bf16 or fp16, not {self.precision!r}")


@dataclass(frozen=True, slots=True)
class EncoderCard:
    """What an encoder says of itself: address, recipe, numerics, and the caveat to show with every result.

    `name` is the preset that it was `recognised` as (and by what), else how it was asked for; `weights` where its
    tensors came from, `logit_scale` the model's (exponentiated).
    """

    name: str
    weights: str
    dim: int
    recipe: Recipe
    numerics: Numerics
    logit_scale: float | None = None
    notice: str | None = None
    recognised: str = ""

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise ValueError(f"dim is at least 1, not {self.dim}")


class EncoderBackend(Protocol):
    """What a model has to bring: its card and two methods. Checking, batching and caching are written on top."""

    @property
    def card(self) -> EncoderCard:
        """What the model is, and how videos are prepared for it."""
        ...

    def encode_pixels(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Embed (B, 3, S, S) uint8 as (B, D) float32, of any length."""
        ...

    def encode_text(self, phrases: Sequence[str]) -> tuple[npt.NDArray[np.float32], list[str]]:
        """Embed P phrases as (P, D) float32, of any length; and for each the words that did not fit, or ''."""
        ...


class EmbeddingCache(Protocol):
    """A place for text embeddings; may forget anything at any time, and never fails."""

    def get(self, key: str) -> EncodedText | None:
        """The embedding kept under a key, or None."""
        ...

    def put(self, key: str, text: EncodedText) -> None:
        """Keep an embedding under a key."""
        ...
