"""What `echo-mini` can do, on phantoms of seeds that it was never trained on: one table, with the bars beside it.

    python scripts/evaluate_mini.py [--model echo-mini] [--json OUT.json]

Everything goes the way that users go: archives written as MP4 and AVI, ingested, searched. The ceiling is a
regression on the true geometry of single frames, which no method that looks at stills can know better.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import mini_language as language
import numpy as np
import numpy.typing as npt
import train_mini

import echosearch
from echosearch.api import Index
from echosearch.encoders import load_encoder
from echosearch.ingest import IngestOptions, ingest
from echosearch.phantom import CUES, VISIBLE, Study, Video, draw_studies, frame_cues, make_archive, report
from echosearch.types import FrameSampling, ModelRequest

LEARNT_FROM, ASKED, MORE = 301, 302, 303
"""Seeds: labelled videos for the linear probe; videos that are asked for; hearts for the ceiling."""

STUDIES: Final = 320
LABELLED: Final = 500
SEARCHED: Final = 500
SAMPLING: Final = FrameSampling.parse("0:40:2")

_BEGIN: Final = "<!-- table: written by scripts/evaluate_mini.py -->"
_END: Final = "<!-- end of table -->"

Array = npt.NDArray[np.float64]

EF_PROMPTS: Final = (
    "THE LEFT VENTRICULAR EJECTION FRACTION IS ESTIMATED TO BE {}% ",
    "LV EJECTION FRACTION IS {}%. ",
)
"""EchoCLIP's published prompts (echonet/echo_CLIP)."""

FINDINGS: Final[dict[str, tuple[str, Callable[[Any], Any], tuple[str, ...], tuple[str, ...]]]] = {
    "pacemaker lead": ("pacemaker_lead", lambda there: there, language.PUBLISHED_LEAD, ("NO PACEMAKER LEAD.",)),
    "effusion, moderate or more": (
        "effusion", lambda grade: grade >= 2,
        ("Moderate pericardial effusion.", "Large pericardial effusion."),
        ("No pericardial effusion.", "Small pericardial effusion."),
    ),
    "stent valve": (
        "stent_valve", lambda there: there,
        ("Aortic stent valve in place.", "Transcatheter aortic valve is present."), ("The aortic valve is native.",),
    ),
    "mitral clip": (
        "mitral_clip", lambda there: there,
        ("Mitral clip in place.", "Mitral valve clip is present."), ("No mitral clip.",),
    ),
    "severe LV dilation": (
        "lv_dilation", lambda grade: grade == 3,
        ("Severe LV dilation.", "The left ventricle is severely dilated."), ("Normal LV size.", "Mild LV dilation."),
    ),
    "severe LA dilation": (
        "la_dilation", lambda grade: grade == 3,
        ("Severe LA dilation.", "The left atrium is severely dilated."), ("Normal LA size.", "Mild LA dilation."),
    ),
    "hypertrophy, moderate or more": (
        "lv_hypertrophy", lambda grade: grade >= 2,
        ("Moderate left ventricular hypertrophy.", "Severe left ventricular hypertrophy."),
        ("No left ventricular hypertrophy.", "Mild left ventricular hypertrophy."),
    ),
}  # fmt: skip
"""Name -> field, what counts as there, prompts for it and against it; asked of the views that show it."""

PHRASES: Final[dict[str, tuple[str, Any]]] = {
    "pacer wire in the RV": ("pacemaker_lead", True),
    "A pacemaker lead is seen in the right heart.": ("pacemaker_lead", True),
    "TAVR prosthesis in place": ("stent_valve", True),
    "prosthetic aortic valve": ("stent_valve", True),
    "Mitral clip in place": ("mitral_clip", True),
    "Large pericardial effusion": ("effusion", 3),
    "Moderate pericardial effusion": ("effusion", 2),
    "SEVERE LV DILATION": ("lv_dilation", 3),
    "The left atrium is severely dilated.": ("la_dilation", 3),
    "severely dilated right ventricle": ("rv_dilation", 3),
    "Severe RA enlargement": ("ra_dilation", 3),
    "Severe left ventricular hypertrophy": ("lv_hypertrophy", 3),
    "Moderate concentric LV hypertrophy": ("lv_hypertrophy", 2),
    "severely reduced LV systolic function": ("function", (0, 30)),
    "normal LV systolic function": ("function", (55, 100)),
    "apical four chamber view": ("view", "A4C"),
    "apical two chamber view": ("view", "A2C"),
    "parasternal long axis": ("view", "PLAX"),
    "parasternal short axis view": ("view", "PSAX"),
    "subcostal view": ("view", "SUBCOSTAL"),
}
"""Phrase -> field and value that make a video a hit."""


@dataclass
class Archive:
    """An archive of phantoms, its truth by file name, and the index made of it."""

    studies: Sequence[Study]
    videos: list[Video]
    index: Index
    ids: dict[str, int]
    of: dict[int, Video] = field(default_factory=dict)

    @property
    def columns(self) -> language.Columns:
        """What is true of each of `videos`."""
        return train_mini.truths(self.videos)

    def vectors(self) -> Array:
        """(N, D) video embeddings in the order of `videos`."""
        return np.stack([self.index.video_embedding(self.ids[video.name]) for video in self.videos]).astype(np.float64)

    def frames(self, video: Video) -> Array:
        """(T, D) frame embeddings of a video."""
        return self.index.frame_embeddings(self.ids[video.name]).astype(np.float64)

    def with_motion(self, video: Video) -> Array:
        """(2 D,) the video embedding, and the standard deviation over frames of each dimension."""
        return np.concatenate([self.index.video_embedding(self.ids[video.name]), self.frames(video).std(axis=0)])


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="echo-mini")
    parser.add_argument(
        "--weights", help="where else its weights lie, e.g. local-dir:PATH; of newly trained ones: --model open_clip"
    )
    parser.add_argument("--card", type=Path, help="also write the table into this model card")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--work", type=Path, help="keep archives and indexes in this folder, and use what is there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        told = evaluate(ModelRequest(arguments.model, arguments.weights), work)
    print(table(told))
    if arguments.card:
        page = arguments.card.read_text()
        before, after = page.split(_BEGIN)[0], page.split(_END)[1]
        arguments.card.write_text(f"{before}{_BEGIN}\n\n{table(told)}\n\n{_END}{after}")
    if arguments.json:
        arguments.json.write_text(json.dumps(told, indent=2) + "\n")


@dataclass(frozen=True)
class Text:
    """Text embeddings of the model, one unit row a phrase."""

    request: ModelRequest

    def __call__(self, phrases: Sequence[str]) -> Array:
        """(P, D)."""
        encoder = load_encoder(self.request)
        return np.stack([text.vector for text in encoder.encode_text(list(phrases))]).astype(np.float64)


def evaluate(request: ModelRequest, work: Path) -> list[dict[str, Any]]:
    """All figures, in the order of the table."""
    text = Text(request)
    learnt = archive(work, LEARNT_FROM, request)
    asked = archive(work, ASKED, request)
    rows = ejection_fraction(learnt, asked, text)
    rows += findings(learnt, asked, text)
    rows += searches(asked, request, work)
    rows += studies(asked, text)
    return rows


def archive(work: Path, seed: int, request: ModelRequest) -> Archive:
    """Phantoms of a seed, written, ingested and opened."""
    folder, index = work / f"phantoms-{seed}", work / f"index-{seed}"
    if not folder.exists():
        print(f"writing phantoms of seed {seed} ...", file=sys.stderr, flush=True)
        make_archive(folder, STUDIES, seed)
    ingest(index, [folder / "videos"], IngestOptions(model=request))
    opened = echosearch.open_index(index)
    ids = {Path(record.path).name: record.video_id for record in opened.videos()}
    drawn = draw_studies(STUDIES, seed)
    videos = [video for study in drawn for video in study.videos]
    return Archive(drawn, videos, opened, ids, {ids[video.name]: video for video in videos})


# Ejection fraction.


def ejection_fraction(learnt: Archive, asked: Archive, text: Text) -> list[dict[str, Any]]:
    """The ceiling, the published form, the pooled form, and the pooled form on a single frame."""
    train = [video for video in learnt.videos if video.view in ("A4C", "A2C")][:LABELLED]
    test = [video for video in asked.videos if video.view in ("A4C", "A2C")]
    truth = np.array([video.truth.ef_percent for video in test])
    labels = np.array([video.truth.ef_percent for video in train])

    ceiling = np.array(geometry(test))
    prompts = text([prompt.format(value) for prompt in EF_PROMPTS for value in range(101)])
    values = np.tile(np.arange(101), len(EF_PROMPTS))
    published = np.array([published_regression(asked.frames(video) @ prompts.T, values) for video in test])

    def pooled(embed: Callable[[Archive, Video], Array]) -> Array:
        mine = np.stack([embed(learnt, video) for video in train])
        theirs = np.stack([embed(asked, video) for video in test])
        return ridge(mine, labels)(theirs)

    whole = pooled(lambda where, video: where.index.video_embedding(where.ids[video.name]).astype(np.float64))
    moving = pooled(lambda where, video: where.with_motion(video))
    single = pooled(lambda where, video: where.frames(video)[7 % len(where.frames(video))])
    best = errors(ceiling, truth)
    rows = [
        {"what": "EF ceiling: regression on the true geometry of single frames, averaged", **best},
        {"what": "EF, published per-frame form", **errors(published, truth),
         "bar": f"MAE at most {best['MAE'] + 2:.1f}"},
        {"what": "EF, linear probe on the video embedding, 500 labelled", **errors(whole, truth),
         "bar": "MAE at most 7.5, R2 at least 0.7"},
        {"what": "EF, the same where one frame stands for all (control)", **errors(single, truth),
         "bar": "clearly worse"},
        {"what": "EF, linear probe of motion (how far each dimension varies over the frames as well)",
         **errors(moving, truth)},
        {"what": "EF, EchoCLIP on patients (published: internal 8.35, external 7.1)", "MAE": 7.1},
    ]  # fmt: skip
    return [*rows, *correlations()]


def geometry(test: Sequence[Video]) -> list[float]:
    """What a quadratic regression on the true cues of single frames makes of each video, averaged over its frames."""
    others = [video for study in draw_studies(1500, MORE) for video in study.videos if video.view in ("A4C", "A2C")]
    told: dict[str, float] = {}
    for view in ("A4C", "A2C"):
        mine = [video for video in others if video.view == view]
        cues = [frame_cues(video, SAMPLING.frame_numbers(video.num_frames)[::4]) for video in mine]
        shown = ~np.isnan(np.concatenate(cues)).any(axis=0)
        labels = np.concatenate(
            [np.full(len(rows), video.truth.ef_percent) for video, rows in zip(mine, cues, strict=True)]
        )
        guess = ridge(quadratic(np.concatenate(cues)[:, shown]), labels)
        for video in test:
            if video.view == view:
                seen = frame_cues(video, SAMPLING.frame_numbers(video.num_frames))[:, shown]
                told[video.name] = float(np.clip(guess(quadratic(seen)), 5, 80).mean())
    return [told[video.name] for video in test]


def quadratic(cues: Array) -> Array:
    """Cues (N, C) with their squares and products."""
    first, second = np.triu_indices(cues.shape[1])
    return np.concatenate([cues, cues[:, first] * cues[:, second]], axis=1)


def published_regression(similarities: Array, values: npt.NDArray[np.int64]) -> float:
    """EchoCLIP's code: values by similarity (T, P), mean over frames at each rank, lower median of the first fifth."""
    order = np.argsort(-similarities, axis=1, kind="stable")
    kept = values[order].mean(axis=0)[: int(0.2 * len(values))]
    return float(np.sort(kept)[(len(kept) - 1) // 2])


def ridge(features: Array, labels: Array) -> Callable[[Array], Array]:
    """Linear regression with the penalty that leave-one-out likes best, on standardised features."""
    middle, spread = features.mean(axis=0), features.std(axis=0) + 1e-9
    x, y = (features - middle) / spread, labels - labels.mean()
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    best: tuple[float, Array] = (np.inf, np.zeros(x.shape[1]))
    for penalty in 10.0 ** np.arange(-2, 6, 0.5):
        shrunk = s**2 / (s**2 + penalty)
        residual = y - u @ (shrunk * (u.T @ y))
        leverage = (u**2 @ shrunk) + 1 / len(y)
        error = float(np.mean((residual / (1 - leverage)) ** 2))
        if error < best[0]:
            best = error, vt.T @ (s / (s**2 + penalty) * (u.T @ y))
    return lambda others: labels.mean() + ((others - middle) / spread) @ best[1]


def errors(guesses: Array, truth: Array) -> dict[str, float]:
    """MAE and R2, in points of EF."""
    residual = guesses - truth
    r2 = 1 - float((residual**2).sum() / ((truth - truth.mean()) ** 2).sum())
    return {"MAE": float(np.abs(residual).mean()), "R2": r2, "n": len(truth)}


def correlations() -> list[dict[str, Any]]:
    """How EF goes with each cue as drawn in the first frame, in the A4C videos of many studies."""
    videos = [video for study in draw_studies(3000, MORE) for video in study.videos if video.view == "A4C"]
    cues = np.array([frame_cues(video, [0])[0] for video in videos])
    ef = np.array([video.truth.ef_percent for video in videos])
    shown = [n for n in range(len(CUES)) if not np.isnan(cues[:, n]).any() and cues[:, n].std() > 0]
    found = {CUES[n]: float(np.corrcoef(cues[:, n], ef)[0, 1]) for n in shown}
    worst = max(map(abs, found.values()))
    told = ", ".join(f"{name} {value:+.2f}" for name, value in found.items())
    what = f"correlation of EF with single cues in {len(videos)} A4C videos: {told}"
    return [{"what": what, "largest": worst, "bar": "at most 0.7"}]


# Findings and views by prompts.


def findings(learnt: Archive, asked: Archive, text: Text) -> list[dict[str, Any]]:
    """AUROC of each finding in the views that show it, by prompts; accuracy of the view."""
    vectors, columns = asked.vectors(), asked.columns
    rows = []
    for name, (of, is_there, for_it, against) in FINDINGS.items():
        seen = np.isin(columns["view"], sorted(VISIBLE[of]))
        there = is_there(columns[of][seen]).astype(bool)
        positive = vectors[seen] @ text(for_it).mean(axis=0)
        contrast = positive - vectors[seen] @ text(against).mean(axis=0)
        rows.append(
            {"what": f"{name}, AUROC by prompts for and against", "AUROC": auroc(contrast, there),
             "n": int(there.sum()), "prompts for it alone": auroc(positive, there), "bar": "at least 0.95"}
        )  # fmt: skip
    rows.append(dilation_by_geometry(asked.videos))
    moving = np.array([bool(region) for region in columns["wall_motion"]])
    score = vectors @ (
        text(["Hypokinesis of the anterior wall."])[0] - text(["No regional wall motion abnormality."])[0]
    )
    rows.append(
        {"what": "wall-motion abnormality (lives in motion only)", "AUROC": auroc(score, moving), "bar": "none"}
    )
    known = np.array([bool(region) for region in learnt.columns["wall_motion"]]).astype(np.float64)
    guess = ridge(np.stack(list(map(learnt.with_motion, learnt.videos))), known)
    guesses = guess(np.stack(list(map(asked.with_motion, asked.videos))))
    rows.append(
        {"what": f"the same by a linear probe of motion, {len(known)} labelled", "AUROC": auroc(guesses, moving),
         "n": int(moving.sum())}
    )  # fmt: skip
    views = list(language.VIEW_NAMES)
    prompts = np.stack([text([f"{name} view" for name in language.VIEW_NAMES[view]]).mean(axis=0) for view in views])
    named = np.array(views)[np.argmax(vectors @ prompts.T, axis=1)]
    accuracy = float((named == columns["view"]).mean())
    return [*rows, {"what": "view by prompts", "accuracy": accuracy, "n": len(named), "bar": "at least 0.95"}]


def dilation_by_geometry(videos: Sequence[Video]) -> dict[str, Any]:
    """What a quadratic logistic regression on the true geometry of many frames makes of severe LV dilation.

    A picture has no scale: sizes are parts of the sector's depth, which is drawn by chance.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    others = [video for study in draw_studies(1200, MORE) for video in study.videos]
    scores, there = [], []
    for view in language.VIEW_NAMES:
        mine, theirs = ([video for video in some if video.view == view] for some in (others, videos))
        learnt, judged = np.stack(list(map(over_time, mine))), np.stack(list(map(over_time, theirs)))
        shown = ~(np.isnan(learnt).any(axis=0) | np.isnan(judged).any(axis=0))
        scale = StandardScaler().fit(learnt[:, shown])
        is_severe = [video.truth.lv_dilation == 3 for video in mine]
        fitted = LogisticRegression(C=0.3, max_iter=3000).fit(quadratic(scale.transform(learnt[:, shown])), is_severe)
        scores += fitted.decision_function(quadratic(scale.transform(judged[:, shown]))).tolist()
        there += [video.truth.lv_dilation == 3 for video in theirs]
    what = "severe LV dilation, the true geometry of many frames instead of the picture (logistic regression)"
    return {"what": what, "AUROC": auroc(np.array(scores), np.array(there)), "n": sum(there)}


def over_time(video: Video) -> Array:
    """Mean, largest and smallest of each cue over the frames of a video."""
    cues = frame_cues(video, SAMPLING.frame_numbers(video.num_frames)[::2])
    return np.concatenate([cues.mean(axis=0), cues.max(axis=0), cues.min(axis=0)])


def auroc(scores: Array, there: npt.NDArray[np.bool_]) -> float:
    """Chance that a positive scores above a negative; ties count half."""
    order = np.argsort(scores, kind="stable")
    ranks = np.empty(len(scores))
    ranks[order] = np.arange(1, len(scores) + 1)
    for value in np.unique(scores):
        same = scores == value
        ranks[same] = ranks[same].mean()
    positives = int(there.sum())
    return float((ranks[there].sum() - positives * (positives + 1) / 2) / (positives * (len(there) - positives)))


# Text to video.


def searches(asked: Archive, request: ModelRequest, work: Path) -> list[dict[str, Any]]:
    """Precision in the first ten of 500, for finding phrases and for sentences that were never learnt from."""
    some = sorted(asked.videos, key=lambda video: video.name)[:SEARCHED]
    folder = work / f"phantoms-{ASKED}" / "videos"
    index = work / f"index-{ASKED}-{SEARCHED}"
    ingest(index, [folder / video.name for video in some], IngestOptions(model=request))
    opened = echosearch.open_index(index)
    truth = {video.name: video for video in some}
    assert_unseen()
    rows = []
    for title, asked_for, bar in (
        ("finding phrases", [(phrase, of, value) for phrase, (of, value) in PHRASES.items()], 0.9),
        ("sentences never learnt from", language.unseen(), 0.7),
    ):
        found: dict[str, float] = {}
        for phrase, of, value in asked_for:
            right = {name for name, video in truth.items() if is_hit(video, of, value)}
            if len(right) >= 10:
                hits = opened.search(phrase, k=10).hits
                found[phrase] = float(np.mean([Path(hit.path).name in right for hit in hits]))
        detail = "; ".join(f"{phrase} {precision:.1f}" for phrase, precision in found.items())
        rows.append(
            {"what": f"text -> video among {len(some)}, {title}", "P@10": float(np.mean(list(found.values()))),
             "lowest": min(found.values()), "n": len(found), "bar": f"at least {bar}", "detail": detail}
        )  # fmt: skip
    opened.close()
    return rows


def is_hit(video: Video, of: str, value: Any) -> bool:
    """Whether a video shows what a phrase says; an EF is right within 10 points."""
    if of == "view":
        return bool(video.view == value)
    if of == "ef_percent":
        return abs(video.truth.ef_percent - value) <= 10
    if of == "function":
        return bool(value[0] <= video.truth.ef_percent < value[1])
    return video.view in VISIBLE[of] and getattr(video.truth, of) == value


def assert_unseen() -> None:
    """Say every sentence of the training again: none is one of the unseen, and each of their words is there."""
    told = json.loads((Path(echosearch.__file__).parent / "encoders" / "echo_mini" / "training.json").read_text())
    drawn = list(draw_studies(told["studies"], told["seed"]))
    each = told["frames_of_each"]
    videos = [(number, video) for number, study in enumerate(drawn) for video in study.videos]
    columns = {
        name: np.repeat(column, each) for name, column in train_mini.truths([video for _, video in videos]).items()
    } | {"study": np.repeat([number for number, _ in videos], each)}
    said: set[str] = set()
    for step in range(told["steps"]):
        rng = np.random.default_rng([told["seed"], 5, step])
        batch = train_mini.drawn(rng, columns["view"], each, told["singles"], told["whole_videos"])
        said |= {saying.text.lower() for saying in train_mini.sentences(rng, columns, batch, drawn)}
    words = {word for sentence in said for word in split(sentence)}
    for sentence, _, _ in language.unseen():
        assert not any(sentence.lower() in other for other in said), f"{sentence!r} was learnt from"
        assert set(split(sentence.lower())) <= words, f"{set(split(sentence.lower())) - words} never occur"
    print(f"{len(said)} sentences said again; the unseen are unseen", file=sys.stderr, flush=True)


def split(sentence: str) -> list[str]:
    """The words of a sentence."""
    return "".join(letter if letter.isalnum() or letter == "-" else " " for letter in sentence).split()


# Studies.


def studies(asked: Archive, text: Text) -> list[dict[str, Any]]:
    """A report's impression to its own study among 100, and the other studies of the same patient by example."""
    vectors = dict(zip([video.name for video in asked.videos], asked.vectors(), strict=True))
    means = np.stack([np.mean([vectors[video.name] for video in study.videos], axis=0) for study in asked.studies])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    some = asked.studies[:100]
    impressions = text([report(study).impression for study in some])
    scores = impressions @ means[:100].T
    ranks = (scores > np.diag(scores)[:, None]).sum(axis=1)
    patients = [study.patient_id for study in asked.studies]
    alike = means @ means.T
    above: list[bool] = []
    for n, patient in enumerate(patients):
        same = [m for m, other in enumerate(patients) if other == patient and m != n]
        if same:
            others = np.delete(alike[n], n)
            above.append(bool(alike[n, same].max() > np.median(others)))
    return [
        {"what": "report's impression -> its own study among 100", "R@10": float((ranks < 10).mean()),
         "R@1": float((ranks < 1).mean()), "median rank": float(np.median(ranks) + 1), "bar": "R@10 at least 0.5"},
        {"what": "by example: nearest study of the same patient above the median", "share": float(np.mean(above)),
         "n": len(above), "bar": "at least 0.9"},
    ]  # fmt: skip


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The figures as Markdown."""
    lines = ["| what | measured | bar |", "|---|---|---|"]
    for row in rows:
        told = ", ".join(
            f"{name} {value:.3f}" if isinstance(value, float) else f"{name} {value}"
            for name, value in row.items()
            if name not in ("what", "bar", "detail")
        )
        lines.append(f"| {row['what']} | {told} | {row.get('bar', '')} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
