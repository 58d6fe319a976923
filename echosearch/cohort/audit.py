"""A sample of a cohort's members that a person judges, and the precision that follows. Knows no index.

What is estimated is the share of a cohort's own members that are rightly in it; it says nothing about those left out,
nor about other archives. Only a random sample tells it: borderline members are looked at to learn, not to count.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

import numpy as np

from echosearch.cohort.cohort import Cohort, Measure, Member
from echosearch.errors import BadLabels, BadOption, DamagedIndex, nearest
from echosearch.learning import assumption
from echosearch.search import Level
from echosearch.typed import from_json
from echosearch.types import BESIDE, Answer

Strategy = Literal["random", "borderline"]
Verdict = Literal["yes", "no", "unclear"]

STRATEGIES: Final[tuple[Strategy, ...]] = get_args(Strategy)
VERDICTS: Final[tuple[Verdict, ...]] = get_args(Verdict)

_SAMPLING: Final = 0x617564
"""Keeps an audit's draw apart from what else is drawn with the same seed."""
FINDING: Final = "finding."
"""What the columns of findings begin with, in the sheet of an audit."""
_TAIL: Final = 0.025
_KEY_COLUMNS: Final[dict[Level, str]] = {"video": "video_id", "study": "study", "patient": "patient"}


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a person said of one unit; `findings` are the cells of the columns `finding.NAME` that are not empty."""

    verdict: Verdict
    findings: dict[str, str] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, slots=True)
class Audit(Answer):
    """A sample of a cohort, and what was judged of it. ValueError where the parts do not go together.

    `number` is 1 for the cohort's first audit, `units` stand in the order of the sheet, and `population` is how many
    members there were to draw from. Units without a judgement were not judged; `judged_at` is None while none is.
    """

    audit_format: Literal[1] = field(default=1, kw_only=True)
    number: int
    cohort: str
    strategy: Strategy
    seed: int
    units: tuple[str, ...]
    population: int
    created_at: str
    judgements: dict[str, Judgement] = field(default_factory=dict)
    judged_at: str | None = None

    def __post_init__(self) -> None:
        if self.number < 1:
            raise ValueError(f"an audit has a number from 1, not {self.number}")
        if not 0 < len(self.units) <= self.population or len(set(self.units)) != len(self.units):
            raise ValueError(f"an audit has one or more different units, at most {self.population}")
        if not all(unit.strip() for unit in self.units):
            raise ValueError("every unit has a name")
        if unknown := sorted(self.judgements.keys() - set(self.units)):
            raise ValueError(f"{unknown[0]!r} is judged and not in the sample")
        if bool(self.judgements) != (self.judged_at is not None):
            raise ValueError("judgements and the time of judging go together")

    @property
    def label(self) -> str:
        """How it is called: `NAME#1`."""
        return f"{self.cohort}#{self.number}"

    @property
    def stamp(self) -> str:
        """How each row of its sheet names it: a cohort that is deleted and made again has other audits."""
        return f"{self.label} {self.created_at}"

    def to_json(self) -> str:
        """As it is kept; `from_json` reads it."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, text: str) -> Audit:
        """The audit that `to_json` wrote. DamagedIndex on anything else."""
        try:
            return from_json(cls, text)
        except ValueError as error:
            raise DamagedIndex(f"an audit of this index cannot be read: {error}; restore it from a copy") from error


def draw(cohort: Cohort, count: int, strategy: Strategy, seed: int) -> tuple[str, ...]:
    """Units to judge, at most `count`: any, or those nearest to being left out (least margin first, ties by unit).

    Random ones come in random order, so that whoever judges only the first rows of a sheet has judged a random sample;
    more of them with the same seed begin with the same. BadOption where there is nothing to draw.
    """
    if strategy not in STRATEGIES:
        raise BadOption(f"a sample is {' or '.join(STRATEGIES)}, not {strategy!r}")
    if count < 1:
        raise BadOption(f"an audit looks at one member or more, not {count}")
    if not 0 <= seed < 2**63:
        raise BadOption(f"a seed is 0 to {2**63 - 1}, not {seed}")
    if not cohort.members:
        raise BadOption(f"cohort {cohort.name} has no members, so there is nothing to audit")
    if strategy == "borderline":
        return _borderline(cohort)[:count]
    units = sorted(member.unit for member in cohort.members)
    order = np.random.default_rng([seed, _SAMPLING]).permutation(len(units))
    return tuple(units[place] for place in order[:count])


def _borderline(cohort: Cohort) -> tuple[str, ...]:
    margins = sorted((member.margin, member.unit) for member in cohort.members if member.margin is not None)
    if not margins:
        raise BadOption(
            f"cohort {cohort.name} has no member with a margin, since no condition compares a task's score; "
            "draw a random sample"
        )
    return tuple(unit for _, unit in margins)


@dataclass(frozen=True, slots=True)
class PrecisionEstimate:
    """The share of `members` that are rightly in, from those judged yes or no, with the ends of its 95 % interval.

    `unclear` ones count neither way: `if_unclear_no` and `if_unclear_yes` are the shares if all were no, or all yes.
    `notes` say what is to be known beside the figure.
    """

    value: float
    low: float
    high: float
    yes: int
    no: int
    unclear: int
    if_unclear_no: float
    if_unclear_yes: float
    members: int
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.value <= self.high <= 1:  # NaN fails this as well
            raise ValueError(f"a precision lies in its interval, and that between 0 and 1, not {self}")


def precision(audit: Audit) -> PrecisionEstimate:
    """The share of a cohort's members that are rightly in it, from a random audit, with its `exact_interval`.

    It holds for these members, however many share a patient, since they were drawn as they are. BadOption for an audit
    that is not random, or has no yes or no.
    """
    _check_random(audit)
    verdicts = [judgement.verdict for judgement in audit.judgements.values()]
    return _estimate(audit, verdicts, audit.population, _partly_judged(audit))


def _check_random(audit: Audit) -> None:
    if audit.strategy != "random":
        raise BadOption(
            f"audit {audit.label} took the {audit.strategy} members, which are in more doubt than others, so no "
            "precision of the cohort follows from it; draw a random sample"
        )
    if not audit.judgements:
        raise BadOption(f"audit {audit.label} has no judgements yet; fill in its sheet and read it back")


def _estimate(audit: Audit, verdicts: Sequence[Verdict], members: int, notes: Sequence[str]) -> PrecisionEstimate:
    yes, no, unclear = (verdicts.count(verdict) for verdict in VERDICTS)
    if not yes + no:
        raise BadOption(
            f"all {unclear} judged units of audit {audit.label} are unclear, so no precision follows from it"
        )
    least, most = yes / len(verdicts), (yes + unclear) / len(verdicts)
    doubt = (
        f"{unclear} of {len(verdicts)} judged are unclear and left out: {least:.3g} if all were no, {most:.3g} if yes"
    )
    low, high = exact_interval(yes, yes + no, members)
    return PrecisionEstimate(
        yes / (yes + no), low, high, yes, no, unclear, least, most, members, (*notes, *([doubt] if unclear else []))
    )


def _partly_judged(audit: Audit) -> list[str]:
    """What is to be said where only a part was judged: the first rows of a sheet are a random sample themselves."""
    judged, drawn = len(audit.judgements), len(audit.units)
    if judged == drawn:
        return []
    if set(audit.units[:judged]) == audit.judgements.keys():
        return [f"{judged} of {drawn} were judged, the first of the sheet, which are a random sample as well"]
    return [
        f"{judged} of {drawn} were judged, not the first of the sheet: the figure holds only if they were not "
        "chosen by what they show"
    ]


def exact_interval(yes: int, judged: int, members: int) -> tuple[float, float]:
    """The 95 % interval of the share of yes among `members`, of whom `judged` were drawn without replacement.

    Clopper & Pearson's for a finite number: all shares by which neither so many nor so few yes would be drawn in fewer
    than 2.5 of 100 audits, by the hypergeometric distribution. It holds the truth in 95 of 100 audits or more; Wilson's
    with the finite population correction in 83 at worst. Where all are judged it is the share itself.
    """
    from scipy.stats import hypergeom

    if not 0 <= yes <= judged <= members or not judged:
        raise ValueError(f"{yes} yes of {judged} judged of {members} members")
    possible = range(yes, members - judged + yes + 1)
    low = bisect_right(possible, _TAIL, key=lambda each: hypergeom.sf(yes - 1, members, each, judged))
    high = bisect_left(possible, -_TAIL, key=lambda each: -hypergeom.cdf(yes, members, each, judged)) - 1
    share = yes / judged
    return min(share, possible[low] / members), max(share, possible[high] / members)


@dataclass(frozen=True, slots=True)
class ThresholdSuggestion:
    """A threshold at or beyond which judged members reach the `wished` precision; `below` says that low values are in.

    `precision` is that of the judged members beyond it; `members_left` of the cohort's `members` would be left.
    """

    measure: str
    threshold: float
    below: bool
    wished: float
    precision: PrecisionEstimate
    members_left: int
    members: int

    @property
    def share_left(self) -> float:
        """The share of the cohort's members that would be left."""
        return self.members_left / self.members


def wished_threshold(cohort: Cohort, audit: Audit, measure: str, wished: float) -> ThresholdSuggestion:
    """The loosest threshold on a measure at which judged members reach the `wished` precision, from a random audit.

    Of a flag it is one on the score that decides it. It lies midway between judged values; where all judged members
    together reach the precision, at the loosest value of any member. It is chosen on the judgements that its precision
    is counted on, so it flatters itself: a new audit of the stricter cohort tells. Members without a value are beyond
    no threshold. BadOption where none reaches it, no measure with a threshold has the name, or the audit does not do
    (as `precision`).
    """
    _check_random(audit)
    if not 0 < wished <= 1:
        raise BadOption(f"the precision to reach is above 0 and at most 1, not {wished}")
    found = _measure(cohort, measure)
    name, below = score_name(found), found.below
    scores = {
        unit: -value if below else value
        for unit, member in audited_members(cohort, audit).items()
        if (value := _value(member, name)) is not None
    }
    judged = {unit: judgement.verdict for unit, judgement in audit.judgements.items() if unit in scores}
    lowest = _loosest(name, below, wished, [(scores[unit], verdict) for unit, verdict in judged.items()])
    threshold = min(scores.values()) if lowest is None else lowest
    left = sum(score >= threshold for score in scores.values())
    beyond = [verdict for unit, verdict in judged.items() if scores[unit] >= threshold]
    notes = [
        *_partly_judged(audit),
        "the threshold was chosen on the same judgements, so its precision flatters itself",
    ]
    if missing := len(cohort.members) - len(scores):
        notes.append(f"{missing} members have no value of {name} and would not be left")
    return ThresholdSuggestion(
        measure=name,
        threshold=-threshold if below else threshold,
        below=below,
        wished=wished,
        precision=_estimate(audit, beyond, left, notes),
        members_left=left,
        members=len(cohort.members),
    )


def score_name(measure: Measure) -> str:
    """Where members have the number of a measure; a flag is text, and the score that decides it stands beside it."""
    return f"{measure.name} (score)" if measure.kind == "yes" else measure.name


@dataclass(frozen=True, slots=True)
class SuggestedThreshold(Answer):
    """The threshold of a measure that would reach a wished precision, in a sentence; None and why there is none."""

    measure: str
    threshold: float | None
    sentence: str


def suggestions(
    cohort: Cohort, audit: Audit, wished: float, measure: str | None = None
) -> tuple[SuggestedThreshold, ...]:
    """For a measure (each that has a number, if none is named) the threshold that would reach a precision."""
    if measure is not None:
        return (_suggested(wished_threshold(cohort, audit, measure, wished), cohort),)
    found = []
    for each in cohort.measures:
        try:
            found.append(_suggested(wished_threshold(cohort, audit, each.name, wished), cohort))
        except BadOption as error:
            found.append(SuggestedThreshold(each.name, None, str(error)))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class JudgedAudit(Answer):
    """An audit after its sheet was read: the precision (None unless the sample is random), and suggested thresholds."""

    audit: Audit = field(metadata=BESIDE)
    precision: PrecisionEstimate | None
    thresholds: tuple[SuggestedThreshold, ...]


@dataclass(frozen=True, slots=True)
class AuditedCohort(Answer):
    """A cohort as it is kept, with its audits, oldest first."""

    cohort: Cohort = field(metadata=BESIDE)
    audits: tuple[Audit, ...]


def judged_audit(audit: Audit, thresholds: tuple[SuggestedThreshold, ...]) -> JudgedAudit:
    """What follows from an audit. BadOption where a random one has no precision."""
    return JudgedAudit(audit, precision(audit) if audit.strategy == "random" else None, thresholds)


def _suggested(found: ThresholdSuggestion, cohort: Cohort) -> SuggestedThreshold:
    """With a sentence that says what the threshold would reach, and by which calibrations."""
    beyond, reached = "or below" if found.below else "or above", found.precision
    used = [each.calibration for each in cohort.measures if each.name == found.measure.removesuffix(" (score)")]
    sentence = (
        f"{found.measure} at {found.threshold:.6g} {beyond} would reach a precision of {found.wished:g}: {reached.yes} "
        f"of {reached.yes + reached.no} judged there are yes, and {found.members_left} of {found.members} members are "
        "left"
    )
    sentences = [sentence, *reached.notes, *(assumption(each) for each in used if each is not None)]
    return SuggestedThreshold(found.measure, found.threshold, "; ".join(sentences))


def _measure(cohort: Cohort, name: str) -> Measure:
    """BadOption where the cohort has no such measure, or none of its criteria says which values are in."""
    measures = {measure.name: measure for measure in cohort.measures}
    if name not in measures:
        raise BadOption(f"cohort {cohort.name} has no measure {name!r}; {nearest(name, measures)}")
    if measures[name].threshold is None:
        raise BadOption(f"cohort {cohort.name} has no threshold of {name}, so it is not known which values are in")
    return measures[name]


def _value(member: Member, measure: str) -> float | None:
    value = member.values.get(measure)
    if isinstance(value, str):
        raise BadOption(f"{measure} holds text, such as {value!r}, and text has no threshold")
    return value


def _loosest(measure: str, below: bool, wished: float, judged: Sequence[tuple[float, Verdict]]) -> float | None:
    """The lowest score down to which the precision is reached, midway to the next; None where that is all of them."""
    decided = [(score, verdict) for score, verdict in judged if verdict != "unclear"]
    if not decided:
        raise BadOption(f"no member that is judged yes or no has a value of {measure}, so no threshold follows")
    steps, place = np.unique([-score for score, _ in decided], return_inverse=True)
    right = np.cumsum(np.bincount(place, weights=[verdict == "yes" for _, verdict in decided]))
    share = right / np.cumsum(np.bincount(place))
    reaching = np.flatnonzero(share >= wished)
    if not len(reaching):
        best = int(np.flatnonzero(share == share.max())[-1])
        at = float(steps[best]) if below else -float(steps[best])
        raise BadOption(
            f"no threshold of {measure} has a precision of {wished:g} among {len(decided)} judged members; the best, "
            f"{share[best]:.3g}, is had at {at:.4g}"
        )
    last = int(reaching[-1])
    if last + 1 == len(steps):
        return None
    high, low = -float(steps[last]), -float(steps[last + 1])
    middle = high - (high - low) / 2
    return middle if middle > low else high  # floats next to each other have nothing between them


@dataclass(frozen=True, slots=True)
class AuditLabels:
    """Judgements as labels: (unit, label) rows, with the column that units stand in, as `calibrate` reads a CSV.

    Labels of verdicts are 1 and 0, those of a finding the text as it stands. `unclear` units are left out; for
    `conflicts` units audits disagreed, and the one that was judged later won.
    """

    key_column: str
    rows: tuple[tuple[str, int | str], ...]
    unclear: int
    conflicts: int
    notes: tuple[str, ...]

    def table(self) -> list[dict[str, object]]:
        """The rows by column: the key's and `label`."""
        return [{self.key_column: unit, "label": label} for unit, label in self.rows]


def labels(audits: Sequence[Audit], cohort: Cohort, column: str | None = None) -> AuditLabels:
    """What audits of a cohort judged, as labels of its units: the verdicts, or what `finding.COLUMN` says.

    Judgements of all audits count, borderline ones too. Of several of one unit the last counts, by the time of judging
    and then by the audit's number. BadOption where an audit is of another cohort or nobody has such a column,
    BadLabels where no label is left.
    """
    if column is not None:
        _check_column(audits, cohort, column)
    texts_of: dict[str, list[str]] = {}
    for audit in sorted(audits, key=lambda audit: (audit.judged_at or "", audit.number)):
        audited_members(cohort, audit)
        for unit, judgement in audit.judgements.items():
            text = judgement.verdict if column is None else judgement.findings.get(column)
            if text is not None:
                texts_of.setdefault(unit, []).append(text)
    last = {unit: texts[-1] for unit, texts in texts_of.items()}
    clear = {unit: text for unit, text in last.items() if text.casefold() != "unclear"}
    if not clear:
        what = "judges a unit yes or no" if column is None else f"says what {FINDING}{column} is"
        raise BadLabels(f"no audit of cohort {cohort.name} {what}, so there are no labels")
    conflicts = sum(len({text.casefold() for text in texts}) > 1 for texts in texts_of.values())
    return AuditLabels(
        key_column=_KEY_COLUMNS[cohort.definition.level],
        rows=tuple((unit, text if column is not None else int(text == "yes")) for unit, text in clear.items()),
        unclear=len(last) - len(clear),
        conflicts=conflicts,
        notes=tuple(_label_notes(audits, cohort, len(last) - len(clear), conflicts)),
    )


def _check_column(audits: Sequence[Audit], cohort: Cohort, column: str) -> None:
    filled = {name for audit in audits for judgement in audit.judgements.values() for name in judgement.findings}
    names = list(dict.fromkeys([*(measure.task_name for measure in cohort.measures), *sorted(filled)]))
    if column not in names:
        there = nearest(column, names)
        raise BadOption(f"no sheet of cohort {cohort.name} has a column {FINDING}{column}; {there}")


def _label_notes(audits: Sequence[Audit], cohort: Cohort, unclear: int, conflicts: int) -> Iterable[str]:
    if unclear:
        yield f"{unclear} units are unclear and left out"
    if conflicts:
        yield f"of {conflicts} units audits say different things; what was judged later counts"
    if any(audit.strategy == "borderline" and audit.judgements for audit in audits):
        yield "borderline members are among them, so the labels are no random sample of the cohort"
    if cohort.definition.level == "patient":
        yield "a patient's label goes to all videos of the patient, and judged was one study only"


def audited_members(cohort: Cohort, audit: Audit) -> dict[str, Member]:
    """The cohort's members by unit. BadOption where the audit is not of this cohort."""
    members = {member.unit: member for member in cohort.members}
    if audit.cohort != cohort.name or audit.population != len(members) or not members.keys() >= set(audit.units):
        raise BadOption(f"audit {audit.label} is not of cohort {cohort.name} as it is, with {len(members)} members")
    return members
