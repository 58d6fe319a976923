"""What is to become of a file, case by case: at first sight, and once its bytes are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from echosearch.index.catalog import KnownFile, SameBytes
from echosearch.ingest.decide import Arrival, Decision, Sight, at_first_sight, decide

# At first sight: a path, its size and time.

NOW, BEFORE, OTHER = (10, 100), (10, 99), (11, 100)


@pytest.mark.parametrize(
    ("before", "failed", "deleted", "is_our_own", "wanted"),
    [
        (None, None, [], False, "to do"),
        (NOW, None, [], False, "unchanged"),
        (BEFORE, None, [], False, "to do"),  # another time
        (OTHER, None, [], False, "to do"),  # another size
        # A failure comes again with the same bytes, whatever was there before.
        (None, NOW, [], False, "failed earlier"),
        (BEFORE, NOW, [], False, "failed earlier"),
        (NOW, NOW, [], False, "unchanged"),
        (None, BEFORE, [], False, "to do"),
        # What was deleted stays so while its file is as it was, and while no other video has its path.
        (None, None, [NOW], False, "deleted earlier"),
        (None, None, [BEFORE, NOW], False, "deleted earlier"),
        (None, None, [BEFORE], False, "to do"),
        (BEFORE, None, [NOW], False, "to do"),
        (None, NOW, [NOW], False, "failed earlier"),
        # A picture that echosearch wrote is passed over, unless it is in the index already.
        (None, None, [], True, "our own"),
        (None, None, [NOW], True, "deleted earlier"),
        (BEFORE, None, [], True, "to do"),
    ],
)
def test_at_first_sight(before: Any, failed: Any, deleted: list[Any], is_our_own: bool, wanted: Sight) -> None:
    assert at_first_sight(NOW, before, failed, deleted, lambda: is_our_own) == wanted


@pytest.mark.parametrize(
    ("before", "deleted", "wanted"),
    [
        (None, [], "to do"),
        (BEFORE, [], "unchanged"),
        (BEFORE, [OTHER], "unchanged"),
        (None, [OTHER], "deleted earlier"),
    ],
)
def test_at_first_sight_of_vectors_whose_file_nobody_looked_at(before: Any, deleted: Any, wanted: Sight) -> None:
    assert at_first_sight(None, before, deleted=deleted) == wanted


def test_whether_a_file_is_our_own_is_looked_up_last() -> None:
    def nobody_asks() -> bool:
        raise AssertionError

    for arguments in ((NOW, NOW), (NOW, None, NOW), (NOW, None, None, [NOW]), (NOW, BEFORE)):
        at_first_sight(*arguments, is_our_own=nobody_asks)  # type: ignore[arg-type, misc]


# Once its bytes are known.

HERE, THERE = Path("/d/here.avi"), Path("/e/there.avi")
PA, PB = ("S", "PA"), ("S", "PB")


def video(video_id: int, path: Path = THERE, person: Any = PA, live: bool = True, **other: Any) -> SameBytes:
    facts = {"has_vectors": True, "is_verified": True} | other
    return SameBytes(video_id, path.parent, path, 1, 1, live, person=person, **facts)


def dead(video_id: int, path: Path = THERE, person: Any = PA, **other: Any) -> SameBytes:
    return video(video_id, path, person, live=False, **other)


OLD, SAME = KnownFile(9, 1, 1, "old"), KnownFile(9, 1, 1, "x")
NEAR = Path("/d/other name.avi")


@pytest.mark.parametrize(
    ("before", "same", "holding", "wanted"),
    [
        (None, [], [], Decision("added")),
        (OLD, [], [], Decision("added", None, 9)),
        (SAME, [video(9, HERE)], [9], Decision("touched")),
        # A live video with these bytes: a copy of it, unless its own path has them no more.
        (None, [video(1)], [1], Decision("added", video(1))),
        (OLD, [video(1)], [1], Decision("added", video(1), 1)),
        (None, [video(1)], [], Decision("moved", video(1))),
        (OLD, [video(1)], [], Decision("moved", video(1))),
        (None, [video(1), video(2)], [1], Decision("moved", video(2))),
        (None, [video(1, is_verified=False)], [1], Decision("added")),
        # Deleted ones: they are back, with what was known of them where their vectors are gone.
        (None, [dead(1)], [], Decision("returned", dead(1))),
        (None, [dead(1), dead(2)], [], Decision("returned", dead(2))),
        (None, [dead(1, HERE), dead(2)], [], Decision("returned", dead(1, HERE))),
        (None, [dead(1, has_vectors=False)], [], Decision("added", None, 1)),
        (OLD, [dead(1, has_vectors=False)], [], Decision("added", None, 1)),
        (None, [dead(1, is_verified=False)], [], Decision("added", None, 1)),
        (None, [dead(1), video(2)], [2], Decision("added", video(2))),
        # Bytes that two people share say nothing of whose a file is.
        (None, [dead(1), dead(2, person=PB)], [], Decision("added")),
        (None, [dead(1, HERE), dead(2, person=PB)], [], Decision("returned", dead(1, HERE))),
        (
            None,
            [dead(1, HERE, has_vectors=False), dead(2, person=PB, has_vectors=False)],
            [],
            Decision("added", None, 1),
        ),
        (OLD, [video(1), video(2, person=PB)], [1, 2], Decision("added", video(1))),
        (None, [video(1), video(2, person=PB)], [1], Decision("added", video(1))),
        (None, [video(1), video(2, NEAR, person=PB)], [1], Decision("moved", video(2, NEAR, person=PB))),
        (None, [video(1), video(2, person=PB)], [], Decision("added", video(1))),
        # What was deleted on purpose stays so, unless it is a video that was not.
        (None, [dead(1, on_purpose=True)], [], Decision("deleted")),
        (OLD, [dead(1, on_purpose=True)], [], Decision("deleted")),
        (None, [dead(1, on_purpose=True), video(2)], [], Decision("moved", video(2))),
        (None, [dead(1, on_purpose=True), video(2)], [2], Decision("deleted")),
        (None, [dead(1, on_purpose=True), dead(2, HERE)], [], Decision("returned", dead(2, HERE))),
    ],
)
def test_decisions(before: KnownFile | None, same: list[SameBytes], holding: list[int], wanted: Decision) -> None:
    assert decide(Arrival(HERE, "x", before, same), False, lambda each: each.video_id in holding, set()) == wanted


def test_decisions_of_a_run_and_of_what_is_undeleted() -> None:
    def decided(same: list[SameBytes], undelete: bool = False, taken: Any = (), **other: Any) -> Decision:
        return decide(Arrival(HERE, "x", None, same, **other), undelete, lambda _: False, set(taken))

    assert decided([video(1)], taken=[1]) == Decision("added", video(1))  # it is placed already
    assert decided([dead(1)], taken=[1]) == Decision("added")
    for deleted in ({"is_deleted": True}, {"is_purged": True}):
        assert decided([], **deleted) == Decision("deleted")
        assert decided([video(1)], **deleted) == Decision("moved", video(1))
        assert decided([], undelete=True, **deleted) == Decision("added")
    assert decided([dead(1, on_purpose=True)], undelete=True).fate == "returned"


def test_decisions_of_an_import_which_looks_at_no_file() -> None:
    """All live videos count as where they were, so what has their bytes is another video, with its own vectors."""

    def decided(*same: SameBytes, is_purged: bool = False) -> str:
        arrival = Arrival(HERE, "x", None, same, is_purged=is_purged)
        return decide(arrival, False, lambda _: True, set()).fate

    assert decided() == "added"
    assert decided(video(1)) == "added"
    assert decided(video(1), dead(2, on_purpose=True)) == "deleted"
    assert decided(dead(2, HERE, on_purpose=True)) == "deleted"
    assert decided(is_purged=True) == "deleted"
    assert decided(video(1), is_purged=True) == "deleted"
