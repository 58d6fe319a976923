"""Any history of files and commands leaves the index that a plain model of it says, and every answer right."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from PIL import Image
from test_crash import DIED, _die_at, _forked, _InProcess

import echosearch.ingest.pipeline as pipeline
from echosearch import open_index
from echosearch.check import check
from echosearch.encoders import load_encoder
from echosearch.ingest import IngestOptions, annotate, compact_index, delete_videos, ingest, read_metadata, undelete_videos
from echosearch.types import ModelRequest
from echosearch.video import prepare_video

NAMES = st.sampled_from([f"{letter}.png" for letter in "abcdef"] + ["deep/g.png"])
COLOURS = st.sampled_from([(250, 10, 10), (10, 250, 10), (10, 10, 250), (200, 200, 20)])
Colour = tuple[int, int, int]


@dataclass
class Video:
    """What the model knows of an id."""

    name: str
    colour: Colour
    study: str | None = None
    live: bool = True
    buried: bool = False
    has_vectors: bool = True


class IndexHistory(RuleBasedStateMachine):
    """Files come, go, change and move; commands run, some of them dying on the way."""

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        (self.folder / "files" / "deep").mkdir(parents=True)
        self.files: dict[str, Colour] = {}
        self.videos: dict[int, Video] = {}
        self.clock = 1_000_000_000
        encoder = load_encoder(ModelRequest("toy"))
        self.recipe, self.encode = encoder.card.recipe, encoder.encode_pixels
        self.vectors: dict[Colour, Any] = {}
        self._write("a.png", (250, 10, 10))
        self.ingest()

    @property
    def index(self) -> Path:
        return self.folder / "index"

    def _write(self, name: str, colour: Colour) -> None:
        path = self.folder / "files" / name
        Image.new("RGB", (20, 20), colour).save(path)
        self.clock += 1
        os.utime(path, (self.clock, self.clock))
        self.files[name] = colour
        [pixels] = [prepare_video(path, self.recipe.sampling, self.recipe.preprocess).pixels]
        self.vectors[colour] = self.encode(pixels)[0]

    @rule(name=NAMES, colour=COLOURS)
    def write(self, name: str, colour: Colour) -> None:
        self._write(name, colour)

    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        if len(self.files) > 1 and name in self.files:
            (self.folder / "files" / name).unlink()
            del self.files[name]

    @rule(old=NAMES, new=NAMES)
    def rename(self, old: str, new: str) -> None:
        if old in self.files and new not in self.files:
            (self.folder / "files" / old).rename(self.folder / "files" / new)
            self.files[new] = self.files.pop(old)

    @rule()
    def ingest(self) -> None:
        self._ingest()
        self._expect_ingest()

    @rule(nth=st.integers(1, 60))
    def ingest_that_dies_and_again(self, nth: int) -> None:
        assert _forked(lambda: _die_at(nth, self._ingest)) in (0, DIED)
        self._ingest()
        self._expect_ingest()

    @rule()
    def prune(self) -> None:
        self._ingest(prune=True, yes=True)
        self._expect_ingest()
        for video in self.videos.values():
            if video.live and video.name not in self.files:
                video.live = False

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        live = [video_id for video_id, video in self.videos.items() if video.live]
        if live:
            video_id = data.draw(st.sampled_from(live))
            delete_videos(self.index, [video_id])
            self.videos[video_id].live, self.videos[video_id].buried = False, True

    @rule(data=st.data())
    def undelete(self, data: st.DataObject) -> None:
        buried = [video_id for video_id, video in self.videos.items() if video.buried]
        if not buried:
            return
        video_id = data.draw(st.sampled_from(buried))
        video = self.videos[video_id]
        free = all(not other.live or other.name != video.name for other in self.videos.values())
        told = undelete_videos(self.index, [video_id])
        video.buried, video.live = False, video.has_vectors and free
        assert told["undeleted"] == ([video_id] if video.live else [])

    @rule(name=NAMES, study=st.sampled_from(["S1", "S2", ""]))
    def annotate(self, name: str, study: str) -> None:
        (self.folder / "m.csv").write_text(f"path,study\n{self.folder / 'files' / name},{study}\n")
        report = annotate(self.index, read_metadata(self.folder / "m.csv"))
        changed = 0
        for video in self.videos.values():
            if video.live and video.name == name and video.study != (study or None):
                video.study = study or None
                changed += 1
        assert report.updated == changed

    @rule()
    def compact(self) -> None:
        compact_index(self.index)
        for video in self.videos.values():
            video.has_vectors &= video.live

    @invariant()
    @precondition(lambda self: hasattr(self, "folder"))
    def every_answer_is_right(self) -> None:
        index = open_index(self.index)
        live = {video_id: video for video_id, video in self.videos.items() if video.live}
        found = {video.video_id: video for video in index.videos()}
        told = {
            id_: (str(Path(video.path).relative_to(self.folder / "files")), video.study) for id_, video in found.items()
        }
        assert told == {id_: (video.name, video.study) for id_, video in live.items()}
        for id_, video in live.items():
            assert np.array_equal(index.video_embedding(id_), self.vectors[video.colour])
        hits = index.search("red", k=100).hits
        right = sorted(((-float(self.vectors[video.colour][0]), id_) for id_, video in live.items()))
        assert [hit.video_id for hit in hits] == [id_ for _, id_ in right]
        assert [hit.score for hit in hits] == pytest.approx([-score for score, _ in right], abs=1e-7)
        index.close()

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            ingest_problems = [line for line in check(self.index).problems if "there is no FAISS index" not in line]
            assert ingest_problems == []
            shutil.rmtree(self.folder)

    def _ingest(self, **options: Any) -> None:
        ingest(self.index, [self.folder / "files"], IngestOptions(ModelRequest("toy"), workers=1, **options))

    def _expect_ingest(self) -> None:
        """What an ingest makes of the files, step by step, as README says it."""
        before = dict(self.videos)
        index = open_index(self.index)
        ids = {str(Path(video.path).relative_to(self.folder / "files")): video.video_id for video in index.videos()}
        index.close()
        buried_names = {video.name for video in before.values() if video.buried}
        buried_colours = {video.colour for video in before.values() if video.buried}
        at = {video.name: id_ for id_, video in before.items() if video.live}
        moved: set[int] = set()
        for name, colour in sorted(self.files.items(), key=lambda file: Path(file[0])):
            known = at.get(name)
            if known is not None and before[known].colour == colour:
                continue
            if (known is None and name in buried_names) or colour in buried_colours:
                continue
            gone = [
                id_
                for id_, video in sorted(before.items())
                if video.live and video.colour == colour and video.name not in self.files and id_ not in moved
            ]
            if known is None and gone:
                moved.add(gone[0])
                self.videos[gone[0]].name = name
                continue
            new = ids[name]
            assert new not in before, "an id is never used again"
            study = None
            if known is not None:
                self.videos[known].live = False
                study = self.videos[known].study
            self.videos[new] = Video(name, colour, study)


@contextmanager
def _in_process(*arguments: Any) -> Iterator[_InProcess]:
    yield _InProcess()


@pytest.mark.slow
def test_histories(monkeypatch: pytest.MonkeyPatch) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    monkeypatch.setattr(pipeline, "decoders", _in_process)
    monkeypatch.setattr("echosearch.ingest.adding.COMMIT_VIDEOS", 2)
    monkeypatch.setattr("echosearch.store.merging.MERGE_FROM", 4)
    run_state_machine_as_test(
        IndexHistory,
        settings=settings(
            max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
