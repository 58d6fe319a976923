"""A cohort as files for others: members with their videos, and beside them the manifest that says how it was made.

What is written depends on the cohort, the paths and the seed alone, so that the bytes are the same each time.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from echosearch.cohort.cohort import Cohort, Member
from echosearch.cohort.identifying import manifest_of, nameless
from echosearch.errors import BadOption
from echosearch.outputs import OutputFolder
from echosearch.tables import write_csv
from echosearch.types import YES, Answer, VideoRecord, joined, shows

Format = Literal["csv", "json", "echonet"]

FORMATS: Final = ("csv", "json", "echonet")
SPLITS: Final = ("TRAIN", "VAL", "TEST")
_SHARES: Final = (0.75, 0.125, 0.125)
"""Of patients; about EchoNet-Dynamic's own shares."""
_NAMING: Final = frozenset({"video_id", "path", "acquired_at"})


@dataclass(frozen=True, slots=True)
class ExportedCohort(Answer):
    """What was written: `file` with the `videos` of `members` in a new `folder`; `gone` videos are not in the index."""

    folder: str
    members: int
    videos: int
    gone: int
    file: str


@dataclass(frozen=True, slots=True)
class ExportedList(ExportedCohort):
    """An EchoNet list: also the number of videos of each split, and of those without an EF."""

    splits: dict[str, int]
    without_EF: int  # noqa: N815 - the name in the manifest


def export(
    cohort: Cohort,
    records: Mapping[int, VideoRecord],
    person_of: Mapping[int, int],
    folder: Path,
    form: Format = "csv",
    views: Sequence[str] = (),
    label: str | None = None,
    named: bool = True,
) -> ExportedCohort:
    """Write a new folder: members.csv, members.json or FileList.csv, and manifest.json; gives what was written.

    `records` have their study as it is keyed, and `person_of` says of each video whose it is (see `types.people`).
    A row (in JSON an entry of a member) for each video that is still in the index, of `views` if some are given. An
    EchoNet list has EF from `label`, an attribute, where one is given. Unless `named`, it is `nameless` and has no
    dates, ids and paths. BadOption for what cannot be, BackendError when it cannot be written; then nothing is left.
    """
    if form not in FORMATS:
        raise BadOption(f"a cohort is exported as {', '.join(FORMATS)}, not {form!r}")
    output = OutputFolder(folder, "the export")
    if not named:
        if form == "echonet":
            raise BadOption("an EchoNet list knows videos by the names of their files, so names cannot be left out")
        cohort = nameless(cohort)
    rows = [(member, record) for member in cohort.members for record in _videos(member, records, views)]
    if not rows:
        raise BadOption(
            f"cohort {cohort.name} has no video to export" + (f" of view {', '.join(views)}" if views else "")
        )
    gone = sum(video_id not in records for member in cohort.members for video_id in member.video_ids)
    manifest = manifest_of(cohort, with_ids=named) | {
        "export": {"format": form, "views": list(views), "videos": len(rows), "no_longer_in_the_index": gone}
    }
    left_out = frozenset() if named else _NAMING
    with output.writing() as partial:
        file = _write(cohort, rows, person_of, partial, form, label, manifest, left_out)
        _write_json(partial / "manifest.json", manifest)
    written = ExportedCohort(str(output.path), len(cohort.members), len(rows), gone, file)
    if form != "echonet":
        return written
    its = manifest["export"]
    return ExportedList(**asdict(written), splits=its["splits"], without_EF=its["without_EF"])


def _write(
    cohort: Cohort,
    rows: Sequence[tuple[Member, VideoRecord]],
    person_of: Mapping[int, int],
    folder: Path,
    form: Format,
    label: str | None,
    manifest: dict[str, Any],
    left_out: frozenset[str],
) -> str:
    """The name of the file that was written."""
    if form == "json":
        members = [_member(member, [r for m, r in rows if m is member], left_out) for member in cohort.members]
        _write_json(folder / "members.json", {"manifest": manifest, "members": members})
        return "members.json"
    if form == "csv":
        assumed = {"p_and_yes": "; ".join(cohort.assumptions)} if cohort.assumptions else {}
        listed = [_row(member, record, left_out) | assumed for member, record in rows]
        _write_csv(folder / "members.csv", [*listed[0]], listed)
        return "members.csv"
    people = _people(rows, person_of)
    splits = split_patients(people, cohort.definition.seed)
    values = [None if label is None else record.attributes.get(label) for _, record in rows]
    if any(isinstance(value, str) for value in values):
        raise BadOption(f"EF is a number, and attribute {label} holds text")
    manifest["export"] |= {
        "splits": {name: sum(splits[person] == name for person in people) for name in SPLITS},
        "patients": len(set(people)),
        "split_shares_of_patients": dict(zip(SPLITS, _SHARES, strict=True)),
        "EF": label,
        "without_EF": values.count(None),
    }
    columns = ["FileName", "EF", "FrameHeight", "FrameWidth", "FPS", "NumberOfFrames", "Split"]
    listed = [
        _echonet(record, value, splits[person]) for (_, record), value, person in zip(rows, values, people, strict=True)
    ]
    counts = Counter(row["FileName"] for row in listed)
    if twice := next((name for name, count in counts.items() if count > 1), None):
        raise BadOption(
            f"two videos are called {twice!r}, and an EchoNet list knows files by their name; export as csv"
        )
    _write_csv(folder / "FileList.csv", columns, listed)
    return "FileList.csv"


def split_patients(patients: Sequence[str], seed: int) -> dict[str, str]:
    """Patient -> TRAIN, VAL or TEST, drawn by the seed; all videos of a patient go the same way."""
    names = sorted(set(patients))
    order = np.random.default_rng([seed, 17]).permutation(len(names))
    ends = np.floor(np.cumsum(_SHARES) * len(names) + 0.5)
    return {names[place]: SPLITS[int(np.searchsorted(ends, rank, side="right"))] for rank, place in enumerate(order)}


def _videos(member: Member, records: Mapping[int, VideoRecord], views: Sequence[str]) -> list[VideoRecord]:
    found = [records[video_id] for video_id in member.video_ids if video_id in records]
    shown = shows(views, [record.seen_view for record in found])
    return [record for record, is_shown in zip(found, shown, strict=True) if is_shown == YES]


def _people(rows: Sequence[tuple[Member, VideoRecord]], person_of: Mapping[int, int]) -> list[str]:
    """For each video a name for its person: of today, and of whom it was by patient and study when the cohort was made.

    A study of then is today's where it is called the same, whether or not it is keyed by its patient now.
    """
    belongings = []
    for member, record in rows:
        same = member.study is None or f"/{record.study}".endswith(f"/{member.study}")
        then = (member.patient, None if same else member.study, record.video_id, None)
        belongings += [then, (record.patient, record.study, record.video_id, person_of[record.video_id])]
    codes = joined(list(zip(*belongings, strict=True)))[::2].tolist()
    names: dict[int, str] = {}
    for code, (patient, study, video_id, _) in zip(np.repeat(codes, 2).tolist(), belongings, strict=True):
        own = f"p {patient}" if patient is not None else f"s {study}" if study is not None else f"v {video_id}"
        names[code] = min(own, names.get(code, own))
    return [names[code] for code in codes]


def _row(member: Member, record: VideoRecord, left_out: frozenset[str]) -> dict[str, Any]:
    row = {
        "unit": member.unit,
        "patient": member.patient,
        "study": member.study,
        "acquired_at": record.acquired_at,
        "video_id": record.video_id,
        "path": record.path,
        "view": record.view,
        "view_predicted": record.view_predicted,
        "similarity": member.score,
    }
    return {name: value for name, value in row.items() if name not in left_out} | member.values


def _member(member: Member, records: Sequence[VideoRecord], left_out: frozenset[str]) -> dict[str, Any]:
    names = ("video_id", "path", "view", "view_predicted", "acquired_at")
    return {
        "unit": member.unit,
        "patient": member.patient,
        "study": member.study,
        "acquired_at": member.acquired_at,
        "similarity": member.score,
        "values": member.values,
        "videos": [{name: getattr(record, name) for name in names if name not in left_out} for record in records],
    }


def _echonet(record: VideoRecord, value: float | str | None, split: str) -> dict[str, Any]:
    return {
        "FileName": Path(record.path).stem,
        "EF": value,
        "FrameHeight": record.height,
        "FrameWidth": record.width,
        "FPS": record.fps,
        "NumberOfFrames": record.num_frames,
        "Split": split,
    }


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
        write_csv(stream, columns, rows)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n", "utf-8")
