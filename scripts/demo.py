"""The demo: an archive of phantoms, three questions in words and one by example, each hit beside what is true of it.

The videos are synthetic and the model, echo-mini, knows nothing else. With --videos and --model it takes one's own
videos instead; run again, only new and changed ones are embedded.
"""

from __future__ import annotations

import argparse
import hashlib
import shlex
import subprocess
import sys
from pathlib import Path

import echosearch
from echosearch.search import SearchResult
from echosearch.types import VideoRecord

ROOT = Path(__file__).resolve().parent.parent
STUDIES, SEED = 40, 7

QUESTIONS = (
    (["severely reduced LV function, pacer wire in the RV"], "pacer wire, severely reduced"),
    (["Large pericardial effusion"], "large effusion"),
    (["LV ejection fraction is 60%", "parasternal long axis view"], "PLAX, EF about 60"),
)
"""Phrases of one question, and what a good hit is."""

FINDINGS = (
    ("lv_dilation", "LV dilation"),
    ("la_dilation", "LA dilation"),
    ("rv_dilation", "RV dilation"),
    ("ra_dilation", "RA dilation"),
    ("lv_hypertrophy", "hypertrophy"),
    ("effusion", "effusion"),
)
GRADES = ("no", "mild", "moderate", "severe")
SIZES = ("no", "small", "moderate", "large")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, help="a folder of one's own videos, instead of phantoms")
    parser.add_argument("--model", help="the model for these, as `echosearch ingest --model` takes it")
    arguments = parser.parse_args()
    if (arguments.videos is None) != (arguments.model is None):
        sys.exit("one's own videos need a model that knows such: make demo VIDEOS=DIR MODEL=echo-clip (see README)")
    if arguments.videos is None:
        phantoms(ROOT / "demo" / f"phantoms-{SEED}")
    else:
        own(arguments.videos, arguments.model)


def phantoms(folder: Path) -> None:
    """The whole way on videos whose truth is known."""
    archive, index = folder / "archive", folder / "index"
    folder.mkdir(parents=True, exist_ok=True)
    if not archive.exists():
        command("phantom", "make", archive, "--studies", STUDIES, "--seed", SEED)
    command(
        "ingest", archive / "videos", "--manifest", archive / "manifest.csv", "--model", "echo-mini", "--index", index
    )
    opened = echosearch.open_index(index)
    for number, (phrases, wanted) in enumerate(QUESTIONS, start=1):
        sheet = folder / f"question-{number}.png"
        command("search", *phrases, "--index", index, "-k", 5, "--contact-sheet", sheet, quiet=True)
        show(opened.search(*phrases, k=5), wanted)
    opened.close()
    opened = echosearch.open_index(index)
    example = next(video for video in opened.videos() if video.attributes["stent_valve"] and video.view == "PLAX")
    print(f"\nAn example: video {example.video_id}, {truth(example)}")
    sheet = folder / "by-example.png"
    command(
        "similar",
        example.video_id,
        "--index",
        index,
        "-k",
        5,
        "--exclude",
        "study",
        "--contact-sheet",
        sheet,
        quiet=True,
    )
    show(opened.similar(example.video_id, k=5, exclude=["study"]), "PLAX, stent valve")
    opened.close()
    print(f"\nLook at the contact sheets in {folder}")


def show(result: SearchResult, wanted: str) -> None:
    """Each hit beside what is true of it."""
    opened = echosearch.open_index(result.index)
    for warning in result.warnings:
        print(f"note: {warning}")
    print(f"wanted: {wanted}")
    for hit in result.hits:
        print(f"  {hit.rank}. {hit.score:.3f}  {Path(hit.path).name:20} {truth(opened.video(hit.video_id))}")
    opened.close()


def truth(video: VideoRecord) -> str:
    """A phantom's truth in a few words."""
    told = video.attributes
    parts = [str(video.view), f"EF {told['ef_percent']:.0f}"]
    for name, words in FINDINGS:
        grade = int(told[name] or 0)
        if grade:
            parts.append(f"{(SIZES if name == 'effusion' else GRADES)[grade]} {words}")
    devices = (("pacemaker_lead", "pacer lead"), ("stent_valve", "stent valve"), ("mitral_clip", "mitral clip"))
    return ", ".join([*parts, *(words for name, words in devices if told[name])])


def own(videos: Path, model: str) -> None:
    """Ingest, ask once in words and once by example."""
    key = hashlib.sha256(f"{videos.resolve()} {model}".encode()).hexdigest()[:8]
    folder = ROOT / "demo" / f"{videos.resolve().name}-{key}"
    index, sheet = folder / "index", folder / "contact-sheet.png"
    folder.mkdir(parents=True, exist_ok=True)
    command("ingest", videos, "--index", index, "--model", model, some_may_fail=True)
    command("search", "SEVERE LV DILATION", "--index", index, "-k", 5)
    opened = echosearch.open_index(index)
    first = next(opened.videos(), None)
    opened.close()
    if first is None:
        sys.exit("none of the videos could be read; see: echosearch failures")
    command("similar", first.video_id, "--index", index, "-k", 5, "--contact-sheet", sheet)
    print(f"\nLook at {sheet}")


def command(*arguments: object, some_may_fail: bool = False, quiet: bool = False) -> None:
    """Show a command, run it, and end the demo with its exit code when it fails."""
    words = [str(argument) for argument in arguments]
    print(f"\n$ echosearch {shlex.join(words)}", flush=True)
    out = subprocess.DEVNULL if quiet else None
    code = subprocess.run([sys.executable, "-m", "echosearch", *words], check=False, stdout=out).returncode
    if code != 0 and not (some_may_fail and code == 1):
        sys.exit(code)


if __name__ == "__main__":
    main()
