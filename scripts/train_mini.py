"""Train `echo-mini`: a small CLIP that knows phantoms, from scratch, on this machine's processors.

    python scripts/train_mini.py                 # all of it, into echosearch/encoders/echo_mini; resumes where it was
    python scripts/train_mini.py --studies 200 --steps 100 --work /tmp/try --out /tmp/try/model    # a quick look

Frames of phantom videos are rendered once into --work. A step takes single frames of any view, and all frames of
some apical videos with their mean, which is what an index holds. Every sentence is weighed against every one of these
by what is true of it (no two sentences of a batch are "the" pair). Heads that predict the findings, the geometry drawn
in a frame, and a video's ejection fraction from its mean, help while training and are thrown away.

New weights are echo-mini once the digest of their tensors stands in echosearch/encoders/known_models/echo-mini.json
(`load_encoder(ModelRequest("open_clip", "local-dir:OUT")).card.recipe.space.tensors_sha256`).
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import mini_language as language
import numpy as np
import numpy.typing as npt

from echosearch.encoders.torchvision_import import import_torchvision
from echosearch.phantom import CUES, VIEWS, VISIBLE, Study, Video, draw_studies, frame_cues, render, report
from echosearch.types import FrameSampling, PreprocessSpec
from echosearch.video import prepare

import_torchvision()
import open_clip  # noqa: E402  after torchvision's own import was mended
import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

SEED: Final = 20_001
"""Phantoms with seeds from here to SEED + 999 are for training; tests and evaluation use others."""

SIZE: Final = 112
MEAN, STD = (0.18, 0.18, 0.18), (0.2, 0.2, 0.2)
CONFIG: Final = {
    "model_cfg": {
        "embed_dim": 128,
        "vision_cfg": {
            "timm_model_name": "mobilenetv4_conv_small_050",
            "timm_model_pretrained": False,
            "timm_pool": "avg",
            "timm_proj": "",
            "image_size": SIZE,
        },
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 3},
    },
    "preprocess_cfg": {
        "mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest", "fill_color": 0,
    },
}  # fmt: skip
SPEC: Final = PreprocessSpec(SIZE, "resize-crop", "pillow", "bicubic", MEAN, STD)
SAMPLING: Final = FrameSampling.parse("0:40:2")
CHUNK: Final = 50
"""Studies rendered by one task; what a killed run loses."""

GRADED: Final = (*language.CHAMBERS, "lv_hypertrophy", "effusion")
APICAL: Final = ("A4C", "A2C")
"""Views whose videos are also learnt as a whole: those in which an ejection fraction is read."""

WEIGHTS: Final = {
    "ef_percent": 3.0, "lv_dilation": 3.0, "lv_hypertrophy": 3.0, "effusion": 3.0, "impression": 1.0, "together": 1.5,
    "tint": 2.0, "wall_motion": 0.1,
}  # fmt: skip
"""Of the kinds of sentences; 1 for the others."""

Columns = dict[str, npt.NDArray[Any]]


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=15000)
    parser.add_argument("--frames", type=int, default=5, help="frames rendered of each video")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--singles", type=int, default=64, help="single frames of a step")
    parser.add_argument("--videos", type=int, default=14, help="apical videos of a step, with all their frames")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path(".cache/echo-mini"))
    parser.add_argument("--out", type=Path, default=Path("echosearch/encoders/echo_mini"))
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    pixels, columns, studies = rendered(arguments)
    model, told = trained(arguments, pixels, columns, studies)
    export(model, arguments.out, told)
    print(f"wrote {arguments.out}")


# Frames, rendered once.


def rendered(arguments: argparse.Namespace) -> tuple[npt.NDArray[np.uint8], Columns, list[Study]]:
    """Frames (T, 3, S, S) of all studies, and what is true of each frame, with its study's number.

    The column `cues` (T, C) is what a ruler reads in the frame, standardised; NaN where the view does not show it.
    """
    folder = arguments.work / "frames"
    folder.mkdir(exist_ok=True)
    studies = list(draw_studies(arguments.studies, SEED))
    starts = range(0, len(studies), CHUNK)
    files = [folder / f"{arguments.frames}-{start:06d}.npz" for start in starts]
    todo = [
        (studies[start : start + CHUNK], arguments.frames, file)
        for start, file in zip(starts, files, strict=True)
        if not file.exists()
    ]
    with multiprocessing.get_context("spawn").Pool(arguments.workers) as pool:
        for done, _ in enumerate(pool.imap_unordered(_render_chunk, todo), start=1):
            if done % 10 == 0 or done == len(todo):
                print(f"rendered {done}/{len(todo)} chunks", flush=True)
    here = [(number, video) for number, study in enumerate(studies) for video in study.videos]
    videos = [video for _, video in here for _ in range(arguments.frames)]
    numbers = [number for number, _ in here for _ in range(arguments.frames)]
    pixels, filled = np.empty((len(videos), 3, SIZE, SIZE), np.uint8), 0  # gigabytes: never held twice
    cues = []
    for start, file in zip(starts, files, strict=True):
        with np.load(file) as chunk:
            count = len(chunk["cues"])
            if count != arguments.frames * sum(len(study.videos) for study in studies[start : start + CHUNK]):
                raise SystemExit(f"{file} holds other studies; delete it, and they are rendered again")
            pixels[filled : filled + count] = chunk["pixels"]
            cues.append(chunk["cues"])
            filled += count
    read = np.concatenate(cues)
    read = (read - np.nanmean(read, axis=0)) / np.nanstd(read, axis=0)
    return pixels, truths(videos) | {"study": np.array(numbers), "cues": read}, studies


def _render_chunk(task: tuple[Sequence[Study], int, Path]) -> None:
    studies, frames, file = task
    cv2.setNumThreads(1)
    chosen = [_frames_of(video, frames) for study in studies for video in study.videos]
    partial = file.with_suffix(".part")
    with partial.open("wb") as out:
        pixels, cues = zip(*chosen, strict=True)
        np.savez(out, pixels=np.concatenate(pixels), cues=np.concatenate(cues).astype(np.float32))
    partial.rename(file)


def _frames_of(video: Video, count: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
    """Some of the frames that the usual sampling sees, with the traces of a codec, and the geometry drawn in them."""
    rng = np.random.default_rng([*video.seed, 77])
    seen = SAMPLING.frame_numbers(video.num_frames)
    numbers = sorted(int(number) for number in rng.choice(seen, count, replace=len(seen) < count))
    frames = render(video, numbers)
    quality = int(rng.integers(60, 96))
    coded = [cv2.imdecode(cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1) for frame in frames]
    return prepare(coded, SPEC), frame_cues(video, numbers)


def truths(videos: Sequence[Video]) -> Columns:
    """What is true of each video, column by column."""
    rows = [asdict(video.truth) | {"view": video.view, "tint": tint(video)} for video in videos]
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0] if name != "wall_motion"}
    return columns | {"wall_motion": np.array([row["wall_motion"] or "" for row in rows])}


def tint(video: Video) -> str:
    """The colour of a video's picture in words."""
    red, _, blue = video.look.tint
    return "grey" if red == blue else "blue" if blue > red else "sepia"


# Frames and sentences of one step.


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of frames: `singles` of any view, then the frames of apical videos, `each` a video."""

    rows: npt.NDArray[np.int64]
    singles: int
    each: int

    @property
    def videos(self) -> npt.NDArray[np.int64]:
        """The first row of each whole video."""
        return self.rows[self.singles :: self.each]


def drawn(rng: np.random.Generator, views: npt.NDArray[np.str_], each: int, singles: int, videos: int) -> Batch:
    """The frames of one step; `views` has a row for each frame, `each` of them a video."""
    apical = np.flatnonzero(np.isin(views[::each], APICAL))
    whole = rng.choice(apical, videos, replace=False)[:, None] * each + np.arange(each)
    return Batch(np.concatenate([rng.choice(len(views), singles, replace=False), whole.ravel()]), singles, each)


def sentences(
    rng: np.random.Generator, columns: Columns, batch: Batch, studies: Sequence[Study]
) -> list[language.Saying]:
    """Something of every kind: all grades of all findings, numbers that reports hold and numbers that they do not."""
    speaker = language.Speaker(rng)
    said: list[language.Saying] = []
    for field in GRADED:
        said += [speaker.graded(field, grade) for grade in range(4) for _ in range(2)]
        said.append(speaker.somehow(field))
    for field in language.DEVICES:
        said += [speaker.device(field, there) for there in (True, True, True, False)]
    said += [speaker.view(view) for view in VIEWS for _ in range(2)]
    said += [speaker.tint(name) for name in language.TINTS]
    said += [speaker.function(bounds) for bounds in language.FUNCTION_WORDS for _ in range(2)]
    said += [speaker.region(str(rng.choice(["", *language.WALLS]))) for _ in range(2)]
    some = rng.choice(np.concatenate([batch.rows[: batch.singles], batch.videos]), 30, replace=False)
    said += [speaker.ejection_fraction(float(columns["ef_percent"][row])) for row in some]
    said += [speaker.ejection_fraction(value) for value in rng.uniform(0, 100, 34)]
    rows = [{name: column[row] for name, column in columns.items()} for row in some[:24]]
    said += [speaker.together(row) for row in rows]
    for row in rows[:10]:
        told = report(studies[int(row["study"])])
        said.append(language.impression(told, row))
        spoken = language.of_report(told, row)
        said.append(spoken[int(rng.integers(len(spoken)))])
    return said


def targets(said: Sequence[language.Saying], columns: Columns) -> tuple[torch.Tensor, torch.Tensor]:
    """How true each sentence is of each video, and whether that can be seen: two (sentences, videos)."""
    holds = np.stack([saying.holds(columns) for saying in said])
    applies = np.stack([saying.applies(columns) for saying in said])
    return torch.from_numpy(holds).float(), torch.from_numpy(applies)


# Training.


def trained(
    arguments: argparse.Namespace, frames: npt.NDArray[np.uint8], columns: Columns, studies: Sequence[Study]
) -> tuple[Any, dict[str, Any]]:
    """The model after all steps, and how it was trained; goes on from the last checkpoint."""
    torch.manual_seed(SEED)
    model = new_model(arguments.work)
    heads = Heads(CONFIG["model_cfg"]["embed_dim"])  # type: ignore[arg-type, index]
    tokenizer = open_clip.get_tokenizer("local-dir:" + str(arguments.work / "architecture"))
    decayed = [p for p in [*model.parameters(), *heads.parameters()] if p.ndim > 1]
    rest = [p for p in [*model.parameters(), *heads.parameters()] if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}], lr=arguments.rate
    )
    checkpoint, step, seconds = arguments.work / "checkpoint.pt", 0, 0.0
    runs: list[dict[str, float]] = []
    if checkpoint.exists():
        kept = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(kept["model"])
        heads.load_state_dict(kept["heads"])
        optimizer.load_state_dict(kept["optimizer"])
        step, seconds, runs = kept["step"], kept["seconds"], kept.get("runs", [])
        print(f"resumed at step {step}", flush=True)
    if step < arguments.steps:
        runs.append({"studies": len(studies), "from_step": step, "steps": arguments.steps, "rate": arguments.rate})
    started, shown = time.monotonic() - seconds, time.monotonic()
    means: dict[str, float] = {}
    while step < arguments.steps:
        for group in optimizer.param_groups:
            group["lr"] = (
                arguments.rate * min(1, (step + 1) / 200) * (0.5 + 0.5 * math.cos(math.pi * step / arguments.steps))
            )
        rng = np.random.default_rng([SEED, 5, step])  # what is drawn depends on the seed and the step alone
        batch = drawn(rng, columns["view"], arguments.frames, arguments.singles, arguments.videos)
        losses = one_step(model, heads, tokenizer, frames, columns, studies, batch, rng)
        loss = sum(losses.values())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        step += 1
        for name, value in losses.items():
            means[name] = 0.98 * means.get(name, value.item()) + 0.02 * value.item()
        if step % 100 == 0:
            parts = ", ".join(f"{name} {value:.3f}" for name, value in means.items())
            print(f"step {step}: {parts}; {(time.monotonic() - shown) / 100:.3f} s a step", flush=True)
            shown = time.monotonic()
        if step % 250 == 0 or step == arguments.steps:
            kept = {
                "model": model.state_dict(),
                "heads": heads.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": step,
                "seconds": time.monotonic() - started,
                "runs": runs,
            }
            torch.save(kept, checkpoint.with_suffix(".part"))
            checkpoint.with_suffix(".part").rename(checkpoint)
    told = {
        "studies": len(studies),
        "videos": len(frames) // arguments.frames,
        "frames": len(frames),
        "frames_of_each": arguments.frames,
        "steps": step,
        "runs": runs,  # also those that were cut short and went on
        "singles": arguments.singles,
        "whole_videos": arguments.videos,
        "seconds": round(time.monotonic() - started),
        "seed": SEED,
        "torch": torch.__version__,
        "open_clip": open_clip.__version__,
        "python": platform.python_version(),
    }
    return model.eval(), told


def new_model(work: Path) -> Any:
    """A model with random weights, in open_clip's own terms."""
    folder = work / "architecture"
    folder.mkdir(exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(CONFIG))
    config = json.loads(json.dumps(CONFIG["model_cfg"]))
    model = open_clip.CLIP(**config).train()
    model.visual.to(memory_format=torch.channels_last)  # nearly twice as fast on a processor
    return model


def one_step(
    model: Any,
    heads: Heads,
    tokenizer: Any,
    frames: npt.NDArray[np.uint8],
    columns: Columns,
    studies: Sequence[Study],
    batch: Batch,
    rng: np.random.Generator,
) -> dict[str, torch.Tensor]:
    """The losses of one batch."""
    said = sentences(rng, columns, batch, studies)
    single = functional.normalize(model.visual(augmented(frames[batch.rows], rng, batch)).float(), dim=-1)
    whole = functional.normalize(single[batch.singles :].reshape(len(batch.videos), batch.each, -1).mean(1), dim=-1)
    images = torch.cat([single, whole])
    here = {name: column[np.concatenate([batch.rows, batch.videos])] for name, column in columns.items()}
    holds, applies = targets(said, here)
    texts = embedded(model, tokenizer, [saying.text for saying in said])
    logits = model.logit_scale.exp() * texts @ images.T
    losses = contrastive(logits, holds, applies, [saying.kind for saying in said])
    return losses | {
        "heads": 0.5 * heads.loss(images, here),
        "geometry": 1.5 * heads.geometry_loss(single, columns["cues"][batch.rows]),
        "videos": 2 * heads.video_loss(whole, columns["ef_percent"][batch.videos]),
    }


def contrastive(
    logits: torch.Tensor, holds: torch.Tensor, applies: torch.Tensor, kinds: Sequence[str]
) -> dict[str, torch.Tensor]:
    """Cross entropy both ways against how true each sentence is; videos to sentences within each kind."""
    weights = torch.tensor([WEIGHTS.get(kind, 1.0) for kind in kinds])
    masked = logits.masked_fill(~applies, -1e4)
    some = (holds * applies).sum(1) > 0.2
    wanted = holds * applies
    to_videos = -(wanted / wanted.sum(1, keepdim=True).clamp_min(1e-6) * masked.log_softmax(1)).sum(1)
    total = (weights * to_videos)[some].sum() / weights[some].sum()
    found = {"to videos": total}
    within: list[torch.Tensor] = []
    of_kind: list[float] = []
    for kind in sorted({kind for kind in kinds if not kind.endswith("somehow") and kind != "together"}):
        rows = torch.tensor([n for n, other in enumerate(kinds) if other == kind])
        target, seen = holds[rows], applies[rows].any(0)
        if kind in VISIBLE:
            seen = seen & applies[rows].all(0) if kind != "ef_percent" else seen
        usable = seen & (target.sum(0) > 0.2)
        if len(rows) < 2 or not usable.any():
            continue
        target = target[:, usable] / target[:, usable].sum(0)
        within.append(-(target * logits[rows][:, usable].log_softmax(0)).sum(0).mean())
        of_kind.append(WEIGHTS.get(kind, 1.0))
    scale = torch.tensor(of_kind)
    return found | {"to sentences": (scale * torch.stack(within)).sum() / scale.sum()}


def embedded(model: Any, tokenizer: Any, texts: Sequence[str]) -> torch.Tensor:
    """Unit text embeddings. What lies behind a text's end changes nothing, so short texts are encoded short."""
    tokens = tokenizer(list(texts))
    lengths = (tokens != 0).sum(1)
    order = lengths.argsort()
    parts = []
    for rows in order.chunk(3):
        parts.append(encode_short(model, tokens[rows], int(lengths[rows].max())))
    found = torch.cat(parts)
    return found[order.argsort()]


def encode_short(model: Any, tokens: torch.Tensor, length: int) -> torch.Tensor:
    """open_clip's `encode_text`, normalised, for texts that end within `length` tokens."""
    short = tokens[:, :length]
    x = model.token_embedding(short) + model.positional_embedding[:length]
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
    x = x[torch.arange(len(x)), short.argmax(-1)]
    projected = (
        x @ model.text_projection if isinstance(model.text_projection, nn.Parameter) else model.text_projection(x)
    )
    return functional.normalize(projected, dim=-1)


def augmented(pixels: npt.NDArray[np.uint8], rng: np.random.Generator, of: Batch) -> torch.Tensor:
    """A batch as the model takes it, each picture a little moved, turned, zoomed, brightened and noised.

    The frames of one video are changed alike.
    """
    batch = torch.from_numpy(pixels).float() / 255
    count = len(batch)

    def some(low: float, high: float) -> torch.Tensor:
        values = rng.uniform(low, high, of.singles + len(of.videos))
        alike = np.concatenate([values[: of.singles], values[of.singles :].repeat(of.each)])
        return torch.from_numpy(alike).float()

    angle, zoom = some(-0.07, 0.07), some(0.93, 1.07)
    rows = torch.zeros(count, 2, 3)
    rows[:, 0, 0], rows[:, 1, 1] = angle.cos() / zoom, angle.cos() / zoom
    rows[:, 0, 1], rows[:, 1, 0] = -angle.sin() / zoom, angle.sin() / zoom
    rows[:, 0, 2], rows[:, 1, 2] = some(-0.05, 0.05), some(-0.05, 0.05)
    grid = functional.affine_grid(rows, list(batch.shape), align_corners=False)
    batch = functional.grid_sample(batch, grid, mode="bilinear", align_corners=False)
    batch = batch * some(0.8, 1.25).view(-1, 1, 1, 1) + some(-0.02, 0.02).view(-1, 1, 1, 1)
    noise = torch.from_numpy(rng.standard_normal((count, 1, *batch.shape[2:]), dtype=np.float32))
    batch = (batch + noise * some(0, 0.03).view(-1, 1, 1, 1)).clamp(0, 1)
    batch = batch.contiguous(memory_format=torch.channels_last)
    return (batch - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)


class Heads(nn.Module):
    """Linear guesses from an embedding, for training only."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.ef = nn.Linear(dim, 1)
        self.grades = nn.ModuleDict({field: nn.Linear(dim, 4) for field in GRADED})
        self.devices = nn.ModuleDict({field: nn.Linear(dim, 1) for field in language.DEVICES})
        self.view = nn.Linear(dim, len(VIEWS))
        self.tint = nn.Linear(dim, len(language.TINTS))
        self.geometry = nn.Linear(dim, len(CUES))
        self.video_ef = nn.Linear(dim, 1)
        self.scale = nn.Parameter(torch.tensor(8.0))

    def loss(self, images: torch.Tensor, columns: Columns) -> torch.Tensor:
        """Sum of the errors in the findings, each over the videos whose view shows it."""
        x = images * self.scale
        views = torch.tensor([VIEWS.index(view) for view in columns["view"]])
        ef = standardised(columns["ef_percent"])
        total = 2 * functional.smooth_l1_loss(self.ef(x)[:, 0], ef) + functional.cross_entropy(self.view(x), views)
        tints = torch.tensor([list(language.TINTS).index(name) for name in columns["tint"]])
        total = total + functional.cross_entropy(self.tint(x), tints)
        for field, head in self.grades.items():
            seen = torch.from_numpy(np.isin(columns["view"], sorted(VISIBLE[field])))
            grade = torch.from_numpy(columns[field].astype(np.int64))
            total = total + 0.5 * functional.cross_entropy(head(x)[seen], grade[seen])
        for field, head in self.devices.items():
            seen = torch.from_numpy(np.isin(columns["view"], sorted(VISIBLE[field])))
            there = torch.from_numpy(columns[field].astype(np.float32))
            total = total + functional.binary_cross_entropy_with_logits(head(x)[seen][:, 0], there[seen])
        return total

    def geometry_loss(self, frames: torch.Tensor, cues: npt.NDArray[np.float32]) -> torch.Tensor:
        """Mean error in what a ruler reads in each frame, over what its view shows."""
        shown = torch.from_numpy(~np.isnan(cues))
        guesses = self.geometry(frames * self.scale)
        return functional.smooth_l1_loss(guesses[shown], torch.from_numpy(cues)[shown])

    def video_loss(self, videos: torch.Tensor, ef_percent: npt.NDArray[np.float64]) -> torch.Tensor:
        """Error in the ejection fraction read from the mean of a video's frames, which hold both ends of a beat."""
        return functional.smooth_l1_loss(self.video_ef(videos * self.scale)[:, 0], standardised(ef_percent))


def standardised(ef_percent: npt.NDArray[np.float64]) -> torch.Tensor:
    """Ejection fractions about zero and of about unit spread."""
    return torch.from_numpy((ef_percent - 43) / 19).float()


def export(model: Any, out: Path, told: dict[str, Any]) -> None:
    """Write the folder that `local-dir:` reads: config, float16 weights, how it was trained."""
    from safetensors.torch import save_file

    out.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in model.state_dict().items()
    }
    save_file(tensors, out / "open_clip_model.safetensors")
    (out / "open_clip_model.safetensors").chmod(0o644)
    (out / "open_clip_config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    (out / "training.json").write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
