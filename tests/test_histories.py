"""Any history of files and commands leaves the index that a plain model of it says, and every answer right."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from PIL import Image
from test_crash import DIED, _die_at, _forked, _InProcess

import echosearch.ingest.pipeline as pipeline
from echosearch import open_index
from echosearch.api.purging import purge_videos
from echosearch.encoders import load_encoder
from echosearch.errors import BadManifest, UnknownVideo
from echosearch.index.check import check_index as check
from echosearch.ingest import (
    IngestOptions,
    annotate,
    compact_index,
    delete_videos,
    ingest,
    read_metadata,
    undelete_videos,
)
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
    deleted: bool = False
    deleted_at: str = ""
    heir: int | None = None
    has_vectors: bool = True


class IndexHistory(RuleBasedStateMachine):
    """Files come, go, change and move; commands run, some of them dying on the way."""

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        (self.folder / "files" / "deep").mkdir(parents=True)
        self.files: dict[str, Colour] = {}
        self.videos: dict[int, Video] = {}
        self.purged_names: set[str] = set()
        self.purged_colours: set[Colour] = set()
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
        if old in self.files and old != new:
            (self.folder / "files" / old).rename(self.folder / "files" / new)
            self.files[new] = self.files.pop(old)

    @rule(one=NAMES, other=NAMES)
    def swap(self, one: str, other: str) -> None:
        if one in self.files and other in self.files and one != other:
            paths = [self.folder / "files" / name for name in (one, other)]
            paths[0].rename(self.folder / "passing")
            paths[1].rename(paths[0])
            (self.folder / "passing").rename(paths[1])
            self.files[one], self.files[other] = self.files[other], self.files[one]

    @rule()
    def ingest(self) -> None:
        self._ingest()
        self._expect_ingest()

    @rule()
    def ingest_and_undelete(self) -> None:
        self._ingest(undelete=True)
        self._expect_ingest(undelete=True)

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
            video = self.videos[video_id]
            video.live, video.deleted, video.deleted_at = False, True, video.name

    @rule(data=st.data())
    def undelete(self, data: st.DataObject) -> None:
        deleted = [video_id for video_id, video in self.videos.items() if video.deleted]
        if deleted:
            video_id = data.draw(st.sampled_from(deleted))
            video = self.videos[video_id]
            free = all(not other.live or other.name != video.name for other in self.videos.values())
            told = undelete_videos(self.index, [video_id])
            if free:
                video.deleted, video.live = False, video.has_vectors
            assert told.undeleted == ((video_id,) if video.live else ())
            assert told.path_taken == (() if free else (video_id,))

    @rule(data=st.data(), nth=st.none() | st.integers(1, 60))
    def purge(self, data: st.DataObject, nth: int | None) -> None:
        if not self.videos:
            return
        video_id = data.draw(st.sampled_from(sorted(self.videos)))
        if nth is not None:  # it dies on the way, and is done again
            code = _forked(lambda: _die_at(nth, lambda: purge_videos(self.index, [video_id])))
            assert code in (0, DIED)
        with suppress(UnknownVideo):
            purge_videos(self.index, [video_id])
        one = self.videos[video_id]
        gone = {video_id} | {
            id_
            for id_, video in self.videos.items()
            if not video.live and (video.colour == one.colour or video.name == one.name)
        }
        self.purged_names |= {self.videos[id_].name for id_ in gone}
        self.purged_colours |= {self.videos[id_].colour for id_ in gone}
        for id_ in gone:
            del self.videos[id_]

    @rule(name=NAMES, study=st.sampled_from(["S1", "S2", ""]))
    def annotate(self, name: str, study: str) -> None:
        (self.folder / "m.csv").write_text(f"path,study\n{self.folder / 'files' / name},{study}\n")
        names = {video.name for video in self.videos.values() if video.live}
        if names and name not in names:
            with pytest.raises(BadManifest, match="no row of"):
                annotate(self.index, read_metadata(self.folder / "m.csv"))
            return
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

    def _expect_ingest(self, undelete: bool = False) -> None:  # noqa: C901  README's rules, one after the other
        """What an ingest makes of the files, step by step, as README says it: bytes say which video a file is."""
        before = {id_: replace(video) for id_, video in self.videos.items()}
        index = open_index(self.index)
        ids = {str(Path(video.path).relative_to(self.folder / "files")): video.video_id for video in index.videos()}
        index.close()
        at = {video.name: id_ for id_, video in before.items() if video.live}
        deleted_names = {video.deleted_at for video in before.values() if video.deleted} | self.purged_names
        taken: set[int] = set()
        heirs: dict[int, int] = {}  # new ids that were known, by their path, as another

        def the_one(some: list[int], same: list[int], name: str) -> int | None:
            """Which of some ids a file is: that of its path; else the first, if its bytes are of one person only."""
            here = [id_ for id_ in some if before[id_].name == name]
            if here or len({before[id_].study for id_ in same}) < 2:
                return next(iter(here or some), None)
            folder, last = Path(name).parent, Path(name).name
            near = [
                id_ for id_ in some if folder == Path(before[id_].name).parent or last == Path(before[id_].name).name
            ]
            return near[0] if len(near) == 1 else None

        for name, colour in sorted(self.files.items(), key=lambda file: Path(file[0])):
            known = at.get(name)
            if known is not None and before[known].colour == colour:
                continue
            is_deleted_name = known is None and name in deleted_names
            left = known
            if known in taken:
                known = None  # that video lies elsewhere now
            same = [id_ for id_, video in sorted(before.items()) if video.colour == colour]
            live = [id_ for id_ in same if before[id_].live or id_ in taken]
            gone = [id_ for id_ in reversed(same) if id_ not in live and (not live or before[id_].name == name)]
            elsewhere = [id_ for id_ in live if id_ not in taken and self.files.get(before[id_].name) != colour]
            video_id = the_one(elsewhere, same, name)
            if video_id is None and not undelete:
                on_purpose = colour in self.purged_colours or any(before[id_].deleted for id_ in same)
                here = [id_ for id_ in same if before[id_].name == name]
                if is_deleted_name or (on_purpose and all(before[id_].deleted for id_ in here)):
                    if known is not None:
                        self.videos[known].live = False  # its bytes are there no more
                    continue
            if video_id is None:
                video_id = the_one([id_ for id_ in gone if before[id_].has_vectors], same, name)
            if known is not None and left not in taken:
                self.videos[known].live = False
            if video_id is not None:
                taken.add(video_id)
                was = self.videos[video_id]
                heir = heirs.get(video_id) or (was.heir if was.heir in self.videos and not was.live else None)
                at_old_path = heir is not None and self.videos[heir].name == before[video_id].name
                if heir is not None and at_old_path and self.videos[heir].study == was.study:
                    self.videos[heir].study = None  # the bytes there were another's
                was.name, was.live, was.deleted, was.heir = name, True, False, None
            else:
                new = ids[name]
                assert new not in before, "an id is never used again"
                known_as = the_one(gone if known is None else live or gone, same, name)
                if known is not None:
                    if not same:
                        known_as = known
                    heirs[known] = new
                    self.videos[known].heir = new
                self.videos[new] = Video(name, colour, before[known_as].study if known_as else None)


@contextmanager
def _in_process(*arguments: Any) -> Iterator[_InProcess]:
    yield _InProcess()


@pytest.mark.slow
def test_histories(monkeypatch: pytest.MonkeyPatch) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    monkeypatch.setattr(pipeline, "decoders", _in_process)
    monkeypatch.setattr("echosearch.ingest.pipeline.COMMIT_VIDEOS", 2)
    monkeypatch.setattr("echosearch.index.writer.MERGE_FROM", 4)
    run_state_machine_as_test(
        IndexHistory,
        settings=settings(
            max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
