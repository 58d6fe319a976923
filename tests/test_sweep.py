"""Sweeps over whole indexes: values against the oracle, what is kept, what is free, what stays apart."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zeroshot_oracle as oracle
from hypothesis import given, settings, strategies as st
from store_helpers import Vector, add, make_store, new_video, random_units, stored

from echosearch.encoders.toy import DIM
from echosearch.errors import BackendError, BadQuery
from echosearch.index import Store
from echosearch.index.catalog import SweepKey
from echosearch.index.upkeep import compact
from echosearch.index.vectors import FramesDtype, StoredVideo
from echosearch.tasks.modes.mode import Model
from echosearch.tasks.sweep import Embed, Scorer, Swept, sweep, sweep_without_keeping
from echosearch.tasks.task import Form, Task, TaskClass, ValueRange
from echosearch.types import IngestProgress

sweep_module = importlib.import_module("echosearch.tasks.sweep")  # the package gives the function of this name

MODEL = Model("recipe", "fp32", 40.0)
PACER = Task("pacer", "binary", prompts=("a", "b"))
EF = Task("ef", "regression", prompts=("ef <#>", "<#> percent"), range=ValueRange(0, 20))
SIZE = Task("size", "contrastive", classes=(TaskClass("normal", ("n1", "n2")), TaskClass("severe", ("s",))))
GRADE = Task("grade", "categorical", classes=(TaskClass("mild", ("m",)), TaskClass("severe", ("s",))))
TASKS = (PACER, EF, SIZE, GRADE)


def phrase_vectors(phrases: Any) -> Vector:
    """A random direction for each phrase, always the same."""
    return np.concatenate([random_units(1, DIM, abs(hash_of(phrase))) for phrase in phrases])


def hash_of(phrase: str) -> int:
    return int.from_bytes(phrase.encode()[:6].ljust(6, b"."), "little")


def scorers(*tasks: Task, form: Form = "exact", model: Model = MODEL, embed: Embed = phrase_vectors) -> list[Scorer]:
    return [task.scorer(form, model, embed) for task in tasks]


def cine(seed: int, frames: int) -> StoredVideo:
    """A video of random frames that look a little alike, with the mean that belongs to them."""
    drawn = random_units(frames, DIM, seed).astype(np.float64) + 0.6 * random_units(1, DIM, seed + 10_000)
    rows = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
    mean = rows.astype(np.float64).mean(axis=0)
    norm = float(np.linalg.norm(mean))
    return stored((mean / norm).astype(np.float32), norm, rows)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Three segments: 7, 1 and 12 videos of 1 to 9 frames."""
    made = make_store(tmp_path / "index")
    fill(made)
    return made


def fill(store: Store, counts: tuple[int, ...] = (7, 1, 12)) -> list[int]:
    ids = []
    for part, count in enumerate(counts):
        new = [new_video(f"{part}-{n}.avi", cine(100 * part + n, 1 + (5 * n + part) % 9)) for n in range(count)]
        ids += add(store, *new)
    return ids


def by_oracle(store: Store, task: Task) -> dict[int, list[float]]:
    """What the oracle makes of every live video."""
    groups = [phrase_vectors(group) for group in task.groups]
    found: dict[int, list[float]] = {}
    with store.snapshot() as snapshot:
        for video_id in snapshot.rows.ids.tolist():
            frames = snapshot.stored(video_id).frame_embeddings
            assert frames is not None
            if task.mode == "regression":
                similarities = oracle.similarities(frames, groups[0]).astype(np.float32)
                found[video_id] = [
                    oracle.regression_of(similarities, task.values), oracle.spread_of(similarities, task.values)
                ]  # fmt: skip
            elif task.mode == "contrastive":
                found[video_id] = oracle.weights_of(frames, groups, 40.0)
            else:
                found[video_id] = [oracle.binary(frames, group) for group in groups]
    return found


def table(swept: Swept) -> dict[int, list[float]]:
    columns = [swept.columns[name].tolist() for name in swept.key.columns]
    return dict(zip(swept.ids.tolist(), map(list, zip(*columns, strict=True)), strict=True))


def assert_close(found: dict[int, list[float]], expected: dict[int, list[float]], tolerance: float = 1e-6) -> None:
    assert found.keys() == expected.keys()
    for video_id, values in expected.items():
        assert found[video_id] == pytest.approx(values, abs=tolerance), video_id


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_every_score_is_the_oracles(store: Store, task: Task) -> None:
    [swept] = sweep(store, scorers(task))
    assert_close(table(swept), by_oracle(store, task), 1e-6 if task.mode != "contrastive" else 1e-5)
    assert swept.scored_now == 20
    assert list(swept.columns) == list(task.columns)


def test_with_many_prompts_only_near_ties_may_fall_otherwise(tmp_path: Path) -> None:
    """Published shape: 202 prompts, 20 frames. float32 products may swap two prompts that are equally near."""
    store = make_store(tmp_path / "index")
    frames = random_units(300 * 20, DIM, 5)
    add(store, *(new_video(str(n), stored(frames[20 * n], 0.5, frames[20 * n : 20 * n + 20])) for n in range(300)))
    task = Task("ef", "regression", ("ef <#>", "<#> %"), range=ValueRange(0, 100))
    prompts = random_units(202, DIM, 6)
    [swept] = sweep(store, scorers(task, embed=lambda phrases: prompts))
    differing = 0
    with store.snapshot() as snapshot:
        for video_id, value in zip(swept.ids.tolist(), swept.columns["value"].tolist(), strict=True):
            kept = snapshot.stored(video_id).frame_embeddings
            assert kept is not None
            similarities = oracle.similarities(kept, prompts)
            if abs(value - oracle.regression_of(similarities, task.values)) > 1e-9:
                differing += 1
                assert oracle.narrowest_gap(similarities, 40) < 1e-6
    assert differing <= 3  # 1 %


def test_several_tasks_in_one_pass_are_as_one_by_one(store: Store, tmp_path: Path) -> None:
    together = sweep(store, scorers(*TASKS))
    alone = make_store(tmp_path / "other")
    fill(alone)
    for task, swept in zip(TASKS, together, strict=True):
        assert table(swept) == table(sweep(alone, scorers(task))[0])


@pytest.mark.parametrize(("videos", "similarities"), [(1, 1), (3, 100), (8192, 1 << 21)])
def test_the_length_of_a_stretch_changes_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch, videos: int, similarities: int
) -> None:
    monkeypatch.setattr(sweep_module, "_VIDEOS", videos)
    monkeypatch.setattr(sweep_module, "_NUMBERS", similarities)
    for task in TASKS:
        [swept] = sweep_without_keeping(store, scorers(task))
        assert_close(table(swept), by_oracle(store, task), 1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_frames_kept_as_float16_are_scored_as_kept(tmp_path: Path, dtype: FramesDtype) -> None:
    store = make_store(tmp_path / "index", dtype)
    fill(store)
    [swept] = sweep(store, scorers(EF))
    assert_close(table(swept), by_oracle(store, EF))


@pytest.mark.parametrize("deleted", [(2,), (1, 7), (9, 10, 12, 19)])
def test_rows_that_do_not_follow_each_other_are_scored_by_their_own_frames(
    store: Store, deleted: tuple[int, ...]
) -> None:
    with store.writer() as writer:
        writer.delete(deleted)
    [swept] = sweep(store, scorers(EF))
    assert_close(table(swept), by_oracle(store, EF))
    assert len(swept.ids) == 20 - len(deleted)


def test_an_unchanged_sweep_is_free(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    first = sweep(store, scorers(*TASKS))
    generation = generation_of(store)

    def refuse(*_: Any) -> None:
        raise AssertionError("nothing is to be scored or written")

    monkeypatch.setattr(sweep_module, "score", refuse)
    monkeypatch.setattr(Store, "writer", refuse)
    again = sweep(store, scorers(*TASKS))
    assert [table(swept) for swept in again] == [table(swept) for swept in first]
    assert [swept.scored_now for swept in again] == [0, 0, 0, 0]
    assert generation_of(store) == generation


def generation_of(store: Store) -> int:
    with store.snapshot() as snapshot:
        return snapshot.generation


def test_of_several_tasks_the_one_that_lacks_scores_gets_them(store: Store) -> None:
    sweep(store, scorers(PACER))
    swept = sweep(store, scorers(PACER, SIZE))
    assert [one.scored_now for one in swept] == [0, 20]
    assert_close(table(swept[1]), by_oracle(store, SIZE), 1e-5)


def test_of_several_tasks_each_gets_what_it_lacks(store: Store) -> None:
    sweep(store, scorers(PACER), among=np.array([2, 3, 11], np.int64))
    swept = sweep(store, scorers(PACER, SIZE))
    assert [one.scored_now for one in swept] == [17, 20]
    assert_close(table(swept[0]), by_oracle(store, PACER))
    assert_close(table(swept[1]), by_oracle(store, SIZE), 1e-5)


def test_what_does_not_change_a_score_changes_no_key(store: Store) -> None:
    sweep(store, scorers(PACER))
    renamed = Task("pacer2", "binary", ("a", "b"), views=("A4C",), about="other words", source="elsewhere")
    [swept] = sweep(store, scorers(renamed))
    assert swept.scored_now == 0
    for other in (
        scorers(Task("pacer", "binary", ("a", "b "))),
        scorers(Task("pacer", "binary", ("b", "a"))),
        scorers(PACER, model=Model("another recipe", "fp32", 40.0)),
        scorers(PACER, model=Model("recipe", "fp16", 40.0)),
    ):
        [swept] = sweep(store, other)
        assert swept.scored_now == 20


def test_approximate_never_stands_in_for_exact(store: Store) -> None:
    [rough] = sweep(store, scorers(EF, form="approximate"))
    assert list(rough.columns) == ["value"]
    [exact] = sweep(store, scorers(EF))
    assert (rough.scored_now, exact.scored_now) == (20, 20)
    assert_close(table(exact), by_oracle(store, EF))
    # By the oracle too: the video embedding as if it were the only frame.
    prompts = phrase_vectors(EF.groups[0])
    with store.snapshot() as snapshot:
        for video_id, value in zip(rough.ids.tolist(), rough.columns["value"], strict=True):
            one = oracle.similarities(snapshot.stored(video_id).vector[None], prompts).astype(np.float32)
            assert value == oracle.regression_of(one, EF.values)
    assert rough.columns["value"].tolist() != exact.columns["value"].tolist()


def test_only_what_is_missing_is_scored(store: Store) -> None:
    [before] = sweep(store, scorers(EF))
    added = add(store, *(new_video(f"new {n}", cine(900 + n, 4)) for n in range(3)))
    told: list[IngestProgress] = []
    [pacer, ef] = sweep(store, scorers(PACER, EF), progress=told.append)
    assert (pacer.scored_now, ef.scored_now) == (23, 3)
    assert told[0] == IngestProgress(done=0, total=23, failed=0, committed=0)
    assert told[-1] == IngestProgress(done=23, total=23, failed=0, committed=23)
    assert_close(table(ef), by_oracle(store, EF))
    assert {id_: row for id_, row in table(ef).items() if id_ not in added} == table(before)


def test_deleted_videos_have_no_scores_and_come_back_with_theirs(store: Store) -> None:
    [before] = sweep(store, scorers(EF))
    gone = before.ids[[2, 7, 9]].tolist()
    with store.writer() as writer:
        writer.delete(gone)
    [now] = sweep(store, scorers(EF))
    assert now.scored_now == 0
    assert table(now) == {id_: row for id_, row in table(before).items() if id_ not in gone}
    with store.writer() as writer, writer.transaction() as transaction:
        transaction.deleted.restore(gone)
    [back] = sweep(store, scorers(EF))
    assert (back.scored_now, table(back)) == (0, table(before))


def test_compaction_keeps_scores_of_what_stays_and_drops_those_of_what_went(store: Store) -> None:
    [before] = sweep(store, scorers(EF))
    gone = before.ids[:4].tolist()
    with store.writer() as writer:
        writer.delete(gone)
        compact(writer)
    [now] = sweep(store, scorers(EF))
    assert now.scored_now == 0
    assert table(now) == {id_: row for id_, row in table(before).items() if id_ not in gone}
    with store.snapshot() as snapshot:
        [row] = snapshot.catalog.sweeps.all()
        assert row.videos == 16


@pytest.mark.parametrize("committed", [0, 1, 2])
def test_an_interrupted_sweep_keeps_what_is_scored_and_goes_on(
    store: Store, monkeypatch: pytest.MonkeyPatch, committed: int
) -> None:
    monkeypatch.setattr(sweep_module, "_NUMBERS", 42 * 4)
    told = 0

    def stop(progress: IngestProgress) -> None:
        nonlocal told
        told = progress.done
        if progress.done > 3 * committed:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(store, scorers(EF), progress=stop)
    [after] = sweep(store, scorers(EF))
    assert after.scored_now == 20 - told  # what was told as done is kept
    assert 0 < after.scored_now < 20
    assert_close(table(after), by_oracle(store, EF))


def test_scores_are_committed_on_the_way(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_module, "_COMMIT_VIDEOS", 5)
    monkeypatch.setattr(sweep_module, "_VIDEOS", 2)
    before = generation_of(store)
    sweep(store, scorers(PACER))
    # Stretches of 2, 2, 2, 1 of the first segment, 1 of the second, six of 2: commits after 6, 6 (2+1+1+2), 6, 2.
    assert generation_of(store) - before == 4


def test_an_index_that_may_only_be_read_is_scored_without_keeping(store: Store) -> None:
    generation = generation_of(store)
    [swept] = sweep_without_keeping(store, scorers(EF))
    assert (generation_of(store), swept.scored_now) == (generation, 20)
    assert_close(table(swept), by_oracle(store, EF))


def test_a_full_disk_is_named_and_nothing_half_is_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("echosearch.index.catalog.sweeps.Sweeps.add", full)
    with pytest.raises(BackendError, match=r"^cannot write to the index .*: No space left on device$"):
        sweep(store, scorers(PACER))
    with store.snapshot() as snapshot:
        assert snapshot.catalog.sweeps.all() == []


def test_an_index_without_frames_has_no_exact_regression(tmp_path: Path) -> None:
    store = make_store(tmp_path / "index", "none")
    video = cine(1, 3)
    add(store, new_video("a", StoredVideo(video.vector, video.pooled_norm, video.frame_numbers, None)))
    with pytest.raises(BadQuery, match=r"^ef needs frame embeddings, and this index keeps none .* use the approximate"):
        sweep(store, scorers(PACER, EF))
    with store.snapshot() as snapshot:
        assert snapshot.catalog.sweeps.all() == []  # nor anything of the other task
    [rough] = sweep(store, scorers(EF, form="approximate"))
    assert len(rough.ids) == 1


def test_what_a_task_needs_of_the_model() -> None:
    with pytest.raises(BadQuery, match=r"^size is contrastive, and the model of this index has no logit scale$"):
        scorers(SIZE, model=Model("recipe", "fp32", None))
    with pytest.raises(BadQuery, match=r"^pacer is binary, so its exact form is as quick: only regressions are"):
        scorers(PACER, form="approximate")


def test_an_empty_index_has_no_scores(tmp_path: Path) -> None:
    [swept] = sweep(make_store(tmp_path / "index"), scorers(EF))
    assert (swept.ids.tolist(), swept.scored_now) == ([], 0)


def test_sweeps_are_listed_with_what_they_are_of(store: Store) -> None:
    sweep(store, scorers(PACER, EF))
    with store.snapshot() as snapshot:
        rows = {row.key.task: row for row in snapshot.catalog.sweeps.all()}
    key = rows["ef"].key
    assert isinstance(key, SweepKey)
    assert (key.columns, key.form, key.recipe, rows["ef"].videos) == (("value", "spread"), "exact", "recipe", 20)


@pytest.mark.slow
@given(
    st.lists(st.tuples(st.sampled_from(["add", "delete", "sweep", "compact"]), st.integers(0, 99)), max_size=8),
)
@settings(max_examples=25, deadline=None)
def test_after_any_history_scores_are_those_of_the_live_videos(
    tmp_path_factory: pytest.TempPathFactory, history: list[tuple[str, int]]
) -> None:
    store = make_store(tmp_path_factory.mktemp("history") / "index")
    live = fill(store, (3,))
    for number, (what, choice) in enumerate(history):
        if what == "add":
            live += add(store, new_video(f"{number}", cine(choice, 1 + choice % 4)))
        elif what == "sweep":
            sweep(store, scorers(TASKS[choice % 4]))
        elif live:
            with store.writer() as writer:
                if what == "delete":
                    writer.delete([live.pop(choice % len(live))])
                else:
                    compact(writer)
    for task in (PACER, EF):
        [swept] = sweep(store, scorers(task))
        assert_close(table(swept), by_oracle(store, task))
    store.close()


@pytest.mark.parametrize("task", [EF, Task("few", "regression", ("n <#>",), range=ValueRange(0, 4))])
def test_a_stretch_holds_a_bounded_number_of_numbers_and_lets_them_go(
    store: Store, monkeypatch: pytest.MonkeyPatch, task: Task
) -> None:
    """Whether the prompts are many or few; so memory does not grow with the index (the benchmark has the figures)."""
    monkeypatch.setattr(sweep_module, "_NUMBERS", 42 * 20)
    with store.snapshot() as snapshot:
        stretches = list(sweep_module._stretches(snapshot.rows, scorers(task), [snapshot.rows.ids]))
    assert sum(len(stretch.ids) for stretch in stretches) == 20
    assert len(stretches) > 3
    widest = max(task.scorer("exact", MODEL, phrase_vectors).numbers_per_frame, DIM)
    longest = 9  # frames of one video, which is never cut
    for stretch in stretches:
        stretch.scored(scorers(task))
        assert stretch.offsets[-1] * widest <= 42 * 20 + longest * widest
        assert "frames" not in vars(stretch)
