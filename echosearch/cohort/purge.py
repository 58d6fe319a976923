"""How a kept cohort and its audits let go of a person. Knows their JSON, and no index."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from echosearch.cohort.audit import Audit
from echosearch.cohort.cohort import Cohort
from echosearch.index import Person

_FEW: Final = 10
"""Of fewer units, means and counts would tell of the one that went."""


def purged_cohort(content: str, person: Person) -> tuple[str, list[str]]:
    """A cohort without the members that hold a video of a person, and the units that these were.

    Texts that name the person are struck out, in criteria too, so that what is left cannot be made again.
    """
    cohort = Cohort.from_json(content).to_dict()
    definition = cohort["definition"]
    asked = [json.dumps(definition), *cohort["criteria"]]
    units = [member["unit"] for member in cohort["members"] if person.ids & set(member["video_ids"])]
    left_out = cohort["steps"][0]["kept"] - cohort["steps"][-1]["kept"]  # where the person is, unless it is a member
    if (len(cohort["members"]) if units else left_out) < _FEW:
        cohort["table_one"], cohort["distributions"] = [], []
    cohort["members"] = [member for member in cohort["members"] if member["unit"] not in units]
    cohort["about"] = person.struck(cohort["about"])
    cohort["question"] = cohort["question"] and person.struck(cohort["question"])
    for texts in (cohort["notes"], cohort["criteria"], definition["where"], definition["near"], definition["without"]):
        texts[:] = [_struck_term(text, person) for text in texts]
    for each, name in [
        *((step, "name") for step in cohort["steps"]),
        *((measure, name) for measure in cohort["measures"] for name in ("origin", "validated")),
        *((figure, name) for figure in cohort["distributions"] for name in ("origin", "title")),
    ]:
        each[name] = person.struck(each[name])
    for row in cohort["table_one"]:
        for summary in (row["included"], row["excluded"]):
            summary["counts"] = _struck(summary["counts"], person)
    cohort["measures"] = person.without_learned(cohort["measures"])
    is_struck = asked != [json.dumps(definition), *cohort["criteria"]]
    examples = {each["video"] if isinstance(each, dict) else each for each in definition["like"] + definition["unlike"]}
    if units or is_struck or examples & person.ids:
        earlier = cohort.get("purged", 0)
        cohort["purged"] = earlier + len(units)
        cohort["notes"] = [note for note in cohort["notes"] if note != _note(earlier)] + [_note(cohort["purged"])]
    return Cohort.from_json(json.dumps(cohort)).to_json(), units  # what cannot be read is not kept


def _struck_term(text: str | dict[str, Any], person: Person) -> str | dict[str, Any]:
    """A text, or a phrase with its weight."""
    return person.struck(text) if isinstance(text, str) else text | {"text": person.struck(text["text"])}


def _struck(counts: dict[str, int], person: Person) -> dict[str, int]:
    tally: Counter[str] = Counter()
    for value, count in counts.items():
        tally[person.struck(value)] += count
    return dict(tally)


def _note(members: int) -> str:
    return f"{members} members purged: their data was removed from the index, so this cohort cannot be rerun"


def purged_audit(content: str, units: Sequence[str], person: Person) -> str | None:
    """An audit without these units, and without what was judged of them; None where nothing is left of it."""
    audit: dict[str, Any] = json.loads(content)
    audit["units"] = [unit for unit in audit["units"] if unit not in units]
    audit["judgements"] = {unit: each for unit, each in audit["judgements"].items() if unit not in units}
    if not audit["units"]:
        return None
    if not audit["judgements"]:
        audit["judged_at"] = None
    for each in audit["judgements"].values():
        each["note"] = person.struck(each["note"])
        each["findings"] = {name: person.struck(cell) for name, cell in each["findings"].items()}
    now = json.dumps(audit)
    Audit.from_json(now)
    return now
