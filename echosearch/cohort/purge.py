"""How a kept cohort and its audits let go of a person. Knows their JSON, and no index."""

from __future__ import annotations

import json
from collections.abc import Sequence

from echosearch.catalog import Person, scrubbed
from echosearch.cohort.audit import Audit
from echosearch.cohort.cohort import Cohort


def purged_cohort(content: str, person: Person) -> tuple[str, list[str]]:
    """A cohort without the members that hold a video of a person, and the units that these were.

    Other texts that name the person are struck out, in criteria too, so that what is left cannot be made again.
    """
    told = json.loads(content)
    units = [member["unit"] for member in told["members"] if person.ids & set(member["video_ids"])]
    told["members"] = [member for member in told["members"] if member["unit"] not in units]
    now = scrubbed(told, person)
    changed = now["definition"] != told["definition"] or now["criteria"] != told["criteria"]
    if changed or units or told["definition"]["like"] in person.ids:
        earlier = told.get("purged", 0)
        now["purged"] = earlier + len(units)
        now["notes"] = [note for note in now["notes"] if note != _note(earlier)] + [_note(now["purged"])]
    text = json.dumps(now, sort_keys=True, allow_nan=False)
    Cohort.from_json(text)  # what cannot be read is not kept
    return text, units


def _note(members: int) -> str:
    return f"{members} members purged: their data was removed from the index, so this cohort cannot be rerun"


def purged_audit(content: str, units: Sequence[str], person: Person) -> str | None:
    """An audit without these units, and without what was judged of them; None where nothing is left of it."""
    told = json.loads(content)
    told["units"] = [unit for unit in told["units"] if unit not in units]
    told["judgements"] = {unit: each for unit, each in told["judgements"].items() if unit not in units}
    if not told["units"]:
        return None
    if not told["judgements"]:
        told["judged_at"] = None
    now = json.dumps(scrubbed(told, person))
    Audit.from_dict(json.loads(now))
    return now
