"""Linear probes: a weight for each dimension of the video embedding, learnt from labels. Knows no index.

A probe of motion has as many weights again, for how far each dimension varies over a video's frames: what moves is in
no single frame, and averaged away in their mean.

Logistic regression for findings, ridge for measurements, by scikit-learn; penalty and scaling are those that
cross-validation over whole patients likes best.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from echosearch.errors import BadLabels, BadOption, BadQuery, CalibrationMismatch
from echosearch.index import FittedKind, SweepKey
from echosearch.learning.intervals import FEWEST
from echosearch.learning.sample import MOST_FOLDS, stratified_folds
from echosearch.tasks import (
    NAME,
    Aggregate,
    Embed,
    Form,
    Mode,
    Model,
    PublishedFigure,
    Task,
    TaskClass,
    ValueRange,
    Vectors,
)
from echosearch.typed import from_json
from echosearch.types import BESIDE, Answer

ProbeKind = Literal["logistic", "ridge"]
Doubles = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]

PREFIX: Final = "probe:"
_FORMAT: Final = {"probe_format": 1}
_LARGEST: Final = 1e100
"""Larger weights could make a score that is no number."""

_PENALTIES: Final = tuple(10.0 ** np.arange(-3, 6))
FEWEST_PATIENTS: Final = 5


@dataclass(frozen=True, slots=True)
class Training:
    """On what a probe was trained, and how it did on patients left out: `figure` is the name, `value` the figure.

    `contents` are the beginnings of the content hashes of the videos, to tell whether they are used again. Of a probe
    of motion `shortest_frames` and `shortest_seconds` are the least that a video showed (see `calling`). `purged`
    studies were learnt from as well, and nothing else is left of them.
    """

    labels: str
    labels_sha256: str
    label_column: str
    videos: int
    positives: int | None
    patients: int
    folds: int
    scaled: bool
    penalty: float
    figure: str
    value: float
    chance: float
    split: str | None = None
    contents: tuple[str, ...] = ()
    shortest_frames: int | None = None
    shortest_seconds: float | None = None
    purged: int = 0
    rarer: int | None = None
    """Patients of the class that has fewer of them; None of values, and in probes of before."""

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.penalty, self.value, self.chance, self.shortest_seconds or 0))):
            raise ValueError("penalty, value, chance and shortest_seconds are finite numbers")

    @property
    def judged(self) -> str:
        """How it did on patients left out, where these are enough (of a finding 10 each with and without, at least)."""
        if self.patients < (FEWEST if self.positives is None else 2 * FEWEST):
            return f"{self.figure} on patients left out not given, as they are {self.patients}"
        if self.rarer is not None and self.rarer < FEWEST:
            return f"{self.figure} on patients left out not given, as one class has {self.rarer} of them"
        return f"{self.figure} {self.value:.3f} on patients left out (chance {self.chance:.3g})"


@dataclass(frozen=True, slots=True)
class Probe:
    """A probe that is swept like a task: logistic gives a probability, ridge a value in the labels' unit.

    The score of a video is `weights . x + offset`, of a logistic one through the logistic function; x is the video
    embedding and, of a probe of motion, behind it the standard deviation over frames of each dimension (`features`).
    """

    label: str
    kind: ProbeKind
    recipe: str
    weights: tuple[float, ...]
    offset: float
    training: Training
    views: tuple[str, ...] = ()
    aggregate: Aggregate = "mean"
    # What a task has as well:
    mode: Literal["probe"] = "probe"
    classes: tuple[TaskClass, ...] = ()
    columns: tuple[str, ...] = ("value",)
    range: ValueRange | None = None
    published: tuple[PublishedFigure, ...] = field(default=())
    motion: bool = False

    def __post_init__(self) -> None:
        if not self.weights or not all(abs(number) < _LARGEST for number in (*self.weights, self.offset)):
            raise ValueError(f"weights and offset of a probe are numbers below {_LARGEST:g}")
        if self.motion and len(self.weights) % 2:
            raise ValueError("a probe of motion has two weights for each dimension")
        if (self.mode, self.classes, self.columns, self.range, self.published) != ("probe", (), ("value",), None, ()):
            raise ValueError("a probe has one column and no classes, range or published figures")

    @property
    def name(self) -> str:
        """As it is called in a sweep."""
        return f"{PREFIX}{self.label}"

    @property
    def kept_as(self) -> tuple[FittedKind, str]:
        """As what and under which name an index keeps it."""
        return "probe", self.label

    @property
    def rule(self) -> Mode:
        """What its kind says of it."""
        return _MODES[self.kind](self)

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """It has no phrases."""
        return ()

    def key(self, form: Form = "exact", model: Model | None = None) -> SweepKey:
        """Under what its scores are kept; no phrase is embedded, so the model's precision says nothing."""
        return SweepKey(self.name, self.id, "exact", 1, self.recipe, "none", self.columns, self.to_json())

    def scorer(self, form: Form, model: Model, embed: Embed | None = None) -> ProbeScorer:
        """The probe ready to score. CalibrationMismatch for another recipe, BadQuery for the approximate form."""
        if self.recipe != model.recipe:
            told = "was trained by another recipe, or on videos embedded again since; train it again on this index"
            raise CalibrationMismatch(f"{self.name} {told}")
        if form == "approximate":
            raise BadQuery(f"{self.name} is a probe, and only regressions by phrases are approximated")
        known, weights = Features(self.motion, self.dim), np.array(self.weights, np.float64)
        return ProbeScorer(self.key(), weights, self.offset, self.kind == "logistic", known)

    @property
    def id(self) -> str:
        """Hash of what decides its scores, hexadecimal."""
        told = {"kind": self.kind, "weights": self.weights, "offset": self.offset}
        if self.motion:
            told |= {"motion": True}
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()

    @property
    def dim(self) -> int:
        """Of the embeddings that it scores."""
        return len(self.weights) // 2 if self.motion else len(self.weights)

    @property
    def validated(self) -> str:
        """What is known of how good it is, in words."""
        told = self.training
        return f"trained on {told.videos} videos of {told.patients} patients ({told.labels}); {told.judged}"

    def to_json(self) -> str:
        """As it is kept; `from_json` reads it."""
        return json.dumps(asdict(self))

    def to_dict(self) -> dict[str, Any]:
        """As it is exported: plain JSON values."""
        return _FORMAT | asdict(self)

    def shown(self) -> ProbeDetails:
        """For people: with the name by which it is called."""
        return ProbeDetails(self.name, self)

    def new(self, warnings: Sequence[str]) -> NewProbe:
        """As it is shown when it was trained just now."""
        return NewProbe(self.shown(), tuple(warnings))

    @classmethod
    def from_json(cls, text: str, source: str = "the probe") -> Probe:
        """The probe that `to_json` or `to_dict` wrote. BadOption on anything else."""
        try:
            return from_json(cls, text, _FORMAT)
        except ValueError as error:
            raise BadOption(f"{source} is no probe that echosearch has written: {error}") from error


AnyTask = Task | Probe


class ProbeMode(Mode):
    """What every probe has to say besides its kind: what taught it, and how short a video it knows."""

    task: Probe

    @property
    def learnt_from(self) -> tuple[str, ...]:
        """See `Mode`."""
        return self.task.training.contents

    @property
    def shortest(self) -> tuple[int, float | None] | None:
        """See `Mode`; how far frames differ depends on how much of a beat they show."""
        told = self.task.training
        return (told.shortest_frames or 2, told.shortest_seconds) if self.task.motion else None


class Logistic(ProbeMode):
    """Of a finding."""

    kind = "probability"


class Ridge(ProbeMode):
    """Of a measurement."""

    kind = "value"
    gives_value = True


_MODES: Final[dict[ProbeKind, type[ProbeMode]]] = {"logistic": Logistic, "ridge": Ridge}


@dataclass(frozen=True, slots=True)
class ProbeDetails(Answer):
    """A probe as it is shown."""

    name: str
    probe: Probe = field(metadata=BESIDE)


@dataclass(frozen=True, slots=True)
class NewProbe(Answer):
    """A probe that was trained just now, with what is to be known beside it."""

    made: ProbeDetails = field(metadata=BESIDE)
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """What a probe learns from, as a `Scorer`: one column for each number, kept nowhere."""

    motion: bool
    dim: int

    @property
    def numbers_per_frame(self) -> int:
        """See `Scorer`: frames in float64, their means and their squares, as twice as many float32."""
        return 6 * self.dim if self.motion else 0

    @property
    def key(self) -> SweepKey:
        """Of no sweep; its name stands in messages."""
        return SweepKey("a probe of motion" if self.motion else "a probe", "", "exact", 1, "", "none", (), "")

    def columns(self, videos: Vectors) -> list[Doubles]:
        """See `Scorer`."""
        return list(features(videos, self.motion).T)


@dataclass(frozen=True, slots=True, eq=False)
class ProbeScorer:
    """A probe as a `Scorer`. In float64, as weights that undo a scaling can be large and cancel."""

    key: SweepKey
    weights: Doubles
    offset: float
    is_logistic: bool
    features: Features

    @property
    def numbers_per_frame(self) -> int:
        """See `Scorer`."""
        return self.features.numbers_per_frame

    def columns(self, videos: Vectors) -> list[Doubles]:
        """See `Scorer`."""
        from scipy.special import expit

        linear = features(videos, self.features.motion) @ self.weights + self.offset
        return [expit(linear) if self.is_logistic else linear]


def features(videos: Vectors, motion: bool) -> Doubles:
    """(n, D) video embeddings or, for motion, (n, 2 D): with the standard deviation over frames of each dimension."""
    pooled = videos.pooled.astype(np.float64)
    if not motion:
        return pooled
    frames, starts = videos.frames.astype(np.float64), videos.offsets[:-1]
    counts = np.diff(videos.offsets)
    means = np.add.reduceat(frames, starts) / counts[:, None]
    frames -= np.repeat(means, counts, axis=0)
    return np.hstack([pooled, np.sqrt(np.add.reduceat(frames**2, starts) / counts[:, None])])


@dataclass(frozen=True, slots=True)
class _Choice:
    scaled: bool
    penalty: float


def train(vectors: Doubles, labels: Doubles, clusters: Ids, kind: ProbeKind) -> tuple[Doubles, float, dict[str, Any]]:
    """Weights (D,) and offset for `features` (n, D) with labels (n,), and what is to be said of the training.

    Penalty and scaling are chosen within each training part, so that the figure on patients left out is an honest
    one; the probe itself is then fitted to all. BadLabels with too few patients (of either class), or one label only.
    """
    from threadpoolctl import threadpool_limits

    if kind == "logistic":
        _check_classes(labels, clusters)
    elif (count := len(np.unique(clusters))) < FEWEST_PATIENTS:
        raise BadLabels(f"a probe needs labelled videos of {FEWEST_PATIENTS} patients or more, not {count}")
    elif labels.min() == labels.max():
        raise BadLabels(f"all {len(labels)} labels are {labels[0]:g}, so there is nothing to learn from them")
    left_out = np.empty(len(labels))
    folds = _folds(labels, clusters, kind)
    with threadpool_limits(1):  # many small fits: threads would wait for each other
        for rest, part in folds:
            choice = _best(vectors[rest], labels[rest], clusters[rest], kind)
            weights, offset = _fit(vectors[rest], labels[rest], kind, choice)
            left_out[part] = vectors[part] @ weights + offset
        choice = _best(vectors, labels, clusters, kind)
        weights, offset = _fit(vectors, labels, kind, choice)
    told = {"scaled": choice.scaled, "penalty": choice.penalty, "folds": len(folds)}
    return weights, offset, told | _figure(left_out, labels, clusters, kind)


def _figure(guesses: Doubles, labels: Doubles, clusters: Ids, kind: ProbeKind) -> dict[str, Any]:
    from sklearn.metrics import roc_auc_score

    if kind == "logistic":
        rarer = min(len(np.unique(clusters[labels == each])) for each in (0, 1))
        return {"figure": "AUROC", "value": float(roc_auc_score(labels, guesses)), "chance": 0.5, "rarer": rarer}
    error, chance = (float(np.abs(values - labels).mean()) for values in (guesses, labels.mean()))
    return {"figure": "MAE", "value": error, "chance": chance}


def _check_classes(labels: Doubles, clusters: Ids) -> None:
    for value in (0, 1):
        count = len(np.unique(clusters[labels == value]))
        if count < FEWEST_PATIENTS:
            raise BadLabels(
                f"a probe needs labelled videos of {FEWEST_PATIENTS} patients or more in each class; "
                f"{value} has {count}"
            )


def _folds(labels: Doubles, clusters: Ids, kind: ProbeKind) -> list[tuple[Ids, Ids]]:
    """Rows to fit and rows left out; a patient is never in both. A training part may have fewer than five patients."""
    from sklearn.model_selection import GroupKFold

    if kind == "logistic":
        return stratified_folds(labels == 1, clusters)
    return list(GroupKFold(min(MOST_FOLDS, len(np.unique(clusters)))).split(labels, labels, clusters))


def _best(vectors: Doubles, labels: Doubles, clusters: Ids, kind: ProbeKind) -> _Choice:
    """Scaling and penalty with the lowest loss on patients left out; of equals the stronger penalty."""
    losses: dict[_Choice, float] = {}
    folds = _folds(labels, clusters, kind)
    for scaled in (False, True):
        for penalty in reversed(_PENALTIES):
            choice = _Choice(scaled, float(penalty))
            losses[choice] = sum(
                _loss(vectors[part] @ weights + offset, labels[part], kind)
                for rest, part in folds
                for weights, offset in (_fit(vectors[rest], labels[rest], kind, choice),)
            )
    return min(losses, key=lambda choice: losses[choice])


def _loss(guesses: Doubles, labels: Doubles, kind: ProbeKind) -> float:
    if kind == "ridge":
        return float(((guesses - labels) ** 2).sum())
    return float(np.logaddexp(0, np.where(labels == 1, -guesses, guesses)).sum())


def _fit(vectors: Doubles, labels: Doubles, kind: ProbeKind, choice: _Choice) -> tuple[Doubles, float]:
    """Weights for the embeddings as they are: a scaling is folded in."""
    from sklearn.linear_model import LogisticRegression, Ridge

    middle = vectors.mean(axis=0)
    each = vectors.std(axis=0)
    spread = np.where(each > 1e-6, each, 1.0) if choice.scaled else np.full(len(middle), float(vectors.std()) or 1.0)
    x = (vectors - middle) / spread
    if kind == "logistic":
        fitted = LogisticRegression(C=1 / choice.penalty, max_iter=2000).fit(x, labels.astype(int))
        weights, offset = fitted.coef_[0] / spread, float(fitted.intercept_[0])
    else:
        fitted = Ridge(alpha=choice.penalty).fit(x, labels)
        weights, offset = fitted.coef_ / spread, float(fitted.intercept_)
    return weights, offset - float(weights @ middle)


def probe_kind(labels: Doubles, wanted: str | None) -> ProbeKind:
    """What the labels call for: logistic where all are 0 or 1. BadOption where `wanted` does not fit them."""
    is_binary = bool(np.isin(labels, (0, 1)).all())
    if wanted == "logistic" and not is_binary:
        raise BadOption("a logistic probe needs labels 0 and 1; say which values mean yes with --positive")
    if wanted == "logistic" or (wanted is None and is_binary):
        return "logistic"
    if wanted in ("ridge", None):
        return "ridge"
    raise BadOption(f"a probe is logistic or ridge, not {wanted!r}")


def check_label(label: str, taken: Sequence[str] = ()) -> None:
    """BadOption unless a probe can be called so."""
    if not NAME.fullmatch(label):
        raise BadOption(f"a probe's name is lower-case letters, digits and _, not {label!r}")
    if label in taken:
        raise BadOption(f"there is a probe {label} already; give another name, or --replace")
