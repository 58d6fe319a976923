"""What is to become of a file whose bytes are known by now. Pure: looks nothing up, and writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from typing import Literal

from echosearch.catalog import KnownFile, SameBytes

Fate = Literal["touched", "deleted", "moved", "returned", "added"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What happens to a file.

    `touched`: it has the bytes that it had. `deleted`: its bytes were deleted on purpose, and stay so. `moved` and
    `returned`: it is `video`, which lay elsewhere, or was deleted. `added`: it is a new video, with the vectors of
    `video` if there is one, and at first with what is known of video `known_as`.
    """

    fate: Fate
    video: SameBytes | None = None
    known_as: int | None = None


def decide(
    before: KnownFile | None,
    content_sha256: str,
    same: Sequence[SameBytes],
    is_tombstone: bool,
    holds: Callable[[SameBytes], bool],
    taken: Set[int],
) -> Decision:
    """What happens to a file: the bytes say which video it is, and only for bytes never seen before its path.

    `before` is what its path was, `same` the videos with its bytes (deleted ones too, ascending), `holds` says whether
    a live one of these still has them at its own path, and `taken` are those that this run has placed already.
    """
    if before is not None and before.content_sha256 == content_sha256:
        return Decision("touched")
    if is_tombstone:
        return Decision("deleted")
    live = [video for video in same if video.is_live or video.video_id in taken]
    for video in live:
        if video.video_id not in taken and not holds(video):
            return Decision("moved", video)
    if not live:
        for video in reversed(same):
            if video.has_vectors and video.is_verified:
                return Decision("returned", video)
    copy = next((video for video in live if video.is_live and video.is_verified), None)
    if before is None:  # two paths with the same bytes may be of two patients, so a mere copy is known as nobody
        return Decision("added", copy, same[-1].video_id if same and not live else None)
    known_as = [video.video_id for video in live or same[-1:]] or [before.video_id]
    return Decision("added", copy, known_as[0])
