"""What is to become of a file: at first sight, and once its bytes are known. Pure: looks nothing up, writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from echosearch.index import KnownFile, SameBytes

Sight = Literal["unchanged", "failed earlier", "deleted earlier", "our own", "to do"]
Fate = Literal["touched", "deleted", "moved", "returned", "added"]
Stamp = tuple[int | None, int | None]
"""Size in bytes and time in nanoseconds of a file, as far as they are known."""


def at_first_sight(
    now: Stamp | None,
    before: Stamp | None,
    failed: Stamp | None = None,
    deleted: Iterable[Stamp] = (),
    is_our_own: Callable[[], bool] = lambda: False,
) -> Sight:
    """What to do with a path by its stamp; None for `now`: nobody looked, so it is taken for as it was.

    `before` is the stamp of the live video there, `failed` of a failure that comes again with the same bytes, `deleted`
    of videos there that were deleted on purpose; `is_our_own` says whether echosearch wrote the file.
    """
    if before is not None and now in (before, None):
        return "unchanged"
    if failed is not None and now == failed:
        return "failed earlier"
    if before is None and any(now in (stamp, None) for stamp in deleted):
        return "deleted earlier"
    return "our own" if before is None and is_our_own() else "to do"


@dataclass(frozen=True, slots=True)
class Arrival:
    """A file with its bytes: `before` is what its path was; `is_deleted`: its path was deleted on purpose.

    `same` are the videos with its bytes, deleted ones too, ascending; `is_purged`: so was one with them.
    """

    path: Path
    content_sha256: str
    before: KnownFile | None
    same: Sequence[SameBytes]
    is_deleted: bool = False
    is_purged: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What happens to a file.

    `touched`: it has the bytes that it had. `deleted`: its path or bytes were deleted on purpose, and stay so. `moved`
    and `returned`: it is `video`, which lay elsewhere, or was deleted. `added`: it is a new video, with the vectors of
    `video` if there is one, and at first with what is known of video `known_as`.
    """

    fate: Fate
    video: SameBytes | None = None
    known_as: int | None = None


def decide(file: Arrival, undelete: bool, holds: Callable[[SameBytes], bool], taken: Set[int]) -> Decision:
    """What happens to a file: the bytes say which video it is, and only for bytes never seen before its path.

    Bytes that videos of several people share (a blank picture, say) tell nothing of whose a file is: then only a
    video of this very path counts, or the one that has its name or folder. `holds` says whether a live video still
    has its bytes at its own path; `taken` are those that this run has placed already.
    """
    if file.before is not None and file.before.content_sha256 == file.content_sha256:
        return Decision("touched")
    same = file.same
    live = [video for video in same if video.is_live or video.video_id in taken]
    elsewhere = [video for video in live if video.video_id not in taken and not holds(video)]
    if (moved := _the_one(file, elsewhere)) is not None:
        return Decision("moved", moved)
    if not undelete and (file.is_deleted or _are_deleted(file)):
        return Decision("deleted")
    gone = [video for video in same[::-1] if video not in live and (not live or video.path == file.path)]
    if (back := _the_one(file, [each for each in gone if each.has_vectors and each.is_verified])) is not None:
        return Decision("returned", back)
    copy = next((video for video in live if video.is_live and video.is_verified), None)
    if file.before is not None and not same:
        return Decision("added", None, file.before.video_id)
    # Two paths with the same bytes may be of two patients: a mere copy at a new path is known as nobody.
    known = _the_one(file, gone if file.before is None else live or gone)
    return Decision("added", copy, None if known is None else known.video_id)


def _the_one(file: Arrival, videos: Sequence[SameBytes]) -> SameBytes | None:
    """Which of some videos a file is: that of its path, else the first, if all with its bytes are of one person."""
    here = [video for video in videos if video.path == file.path]
    if here or len({video.person for video in file.same}) < 2:
        return next(iter(here or videos), None)
    near = [each for each in videos if each.path.parent == file.path.parent or each.path.name == file.path.name]
    return near[0] if len(near) == 1 else None


def _are_deleted(file: Arrival) -> bool:
    """Whether bytes were deleted on purpose, and no video of this path has them that was not."""
    on_purpose = file.is_purged or any(video.on_purpose for video in file.same)
    return on_purpose and all(video.on_purpose for video in file.same if video.path == file.path)
