"""The demo: a folder of videos in, a text search and a search by example out, each command shown as it is run.

Without --model it runs on a random twin of EchoCLIP, made here: the real way at the real cost, with random weights.
Run again, only new and changed videos are embedded.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import subprocess
import sys
from pathlib import Path

from make_twin import make_twin

ROOT = Path(__file__).resolve().parent.parent
CLIPS = ROOT.parent / "shared" / "clips"
TWIN = ROOT / ".cache" / "echo-clip-twin"


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, help=f"folder of videos (default: {CLIPS}, where it exists)")
    parser.add_argument("--model", help="a model as `echosearch ingest --model` takes it (default: the random twin)")
    arguments = parser.parse_args()
    videos: Path = arguments.videos or CLIPS
    if not videos.exists():
        sys.exit(f"there is no {videos}; say where videos are: make demo VIDEOS=DIR")
    model = arguments.model or f"local-dir:{TWIN}"
    if arguments.model is None and not (TWIN / "echosearch.json").is_file():
        print("making a random twin of EchoCLIP (600 MB in .cache) ...", flush=True)
        make_twin(TWIN)

    key = hashlib.sha256(f"{videos.resolve()} {model}".encode()).hexdigest()[:8]
    folder = ROOT / "demo" / f"{videos.resolve().name}-{key}"
    index, sheet = folder / "index", folder / "contact-sheet.png"
    folder.mkdir(parents=True, exist_ok=True)
    echosearch("ingest", videos, "--index", index, "--model", model, some_may_fail=True)
    echosearch("search", "SEVERE LV DILATION", "--index", index, "-k", 5)
    listed = subprocess.run(
        [sys.executable, "-m", "echosearch", "list", "--json", "--index", str(index)],
        check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    videos_in_index = json.loads(listed.stdout)
    if not videos_in_index:
        sys.exit("none of the videos could be read; see: echosearch failures")
    echosearch("similar", videos_in_index[0]["video_id"], "--index", index, "-k", 5, "--contact-sheet", sheet)
    if arguments.model is None:
        print(
            "\nThe weights of this model are RANDOM: videos that look alike come out near each other, "
            "but the text ranking above means nothing yet."
        )
    print(f"\nLook at {sheet}")


def echosearch(*arguments: object, some_may_fail: bool = False) -> None:
    """Show a command, run it, and end the demo with its exit code when it fails."""
    words = [str(argument) for argument in arguments]
    print(f"\n$ echosearch {shlex.join(words)}", flush=True)
    code = subprocess.run([sys.executable, "-m", "echosearch", *words], check=False).returncode
    if code != 0 and not (some_may_fail and code == 1):
        sys.exit(code)


if __name__ == "__main__":
    main()
