"""What is learnt from labels, as an index keeps it by name: calibrations and probes. Learns nothing itself."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from echosearch.errors import BadOption, CalibrationMismatch
from echosearch.index import Fitted, FittedKind, IndexDescription, Snapshot, Store
from echosearch.learning.calibration import Calibration
from echosearch.learning.probe import Probe, check_label


def read(kind: FittedKind, text: str, source: str) -> Calibration | Probe:
    """What an export holds. BadOption on anything else."""
    return Probe.from_json(text, source) if kind == "probe" else Calibration.from_json(text, source)


def calibrations(snapshot: Snapshot) -> list[Calibration]:
    """All that one moment of the index has, oldest first."""
    kept = [Calibration.from_json(item.content, item.name) for item in snapshot.catalog.fitted.all("calibration")]
    return sorted(kept, key=lambda calibration: calibration.created_at)


def probes(snapshot: Snapshot) -> list[Probe]:
    """All that one moment of the index has, by name."""
    return [Probe.from_json(item.content) for item in snapshot.catalog.fitted.all("probe")]


def named(known: Sequence[Calibration], name: str) -> Calibration:
    """The calibration of that name. BadOption where there is none."""
    for calibration in known:
        if calibration.name == name:
            return calibration
    names = ", ".join(calibration.name for calibration in known) or "none"
    raise BadOption(f"there is no calibration {name!r} in this index; there are {names}")


def check_free(snapshot: Snapshot, kind: FittedKind, name: str, replace: bool) -> None:
    """BadOption where something of that kind has the name already and shall not be replaced, or cannot have it."""
    if kind == "probe":
        check_label(name, () if replace else [probe.label for probe in probes(snapshot)])
    elif not replace and (taken := [each for each in calibrations(snapshot) if each.name == name]):
        raise BadOption(
            f"there is a calibration {name} of {taken[0].task} already; give another name (--name), or --replace"
        )


def check_made_for(description: IndexDescription, made: Calibration | Probe) -> None:
    """CalibrationMismatch unless it was made by the recipe of this index, with embeddings of as many dimensions."""
    if made.recipe != description.recipe.id:
        which, what = f"{made.name} was trained", "weights mean"
        if isinstance(made, Calibration):
            which, what = f"calibration {made.name} was made with {made.model}", "threshold means"
        raise CalibrationMismatch(
            f"{which} by another recipe ({made.recipe[:12]}...) than this index's ({description.recipe.id[:12]}...), "
            f"so its {what} nothing here"
        )
    if isinstance(made, Probe) and made.dim != description.dim:
        raise CalibrationMismatch(
            f"{made.name} is for {made.dim} dimensions, and the embeddings here have {description.dim}"
        )


def keep(store: Store, made: Calibration | Probe, wait_seconds: float, replace: bool) -> None:
    """Keep what was learnt; the name is looked at again under the lock. BadOption as `check_free`."""
    kind, name = made.kept_as
    with store.writer(wait_seconds) as writer:
        with writer.snapshot() as snapshot:
            check_free(snapshot, kind, name, replace)
        with writer.transaction() as transaction:
            transaction.fitted.put(Fitted(kind, name, made.recipe, made.to_json(), now()))


def forget(store: Store, kind: FittedKind, name: str, wait_seconds: float) -> None:
    """Delete a calibration or probe. BadOption where there is none."""
    with store.writer(wait_seconds) as writer, writer.transaction() as transaction:
        if not transaction.fitted.drop(kind, name):
            raise BadOption(f"there is no {kind} {name!r} in this index")


def now() -> str:
    """The time of day, in UTC."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
