"""Audits: samples, sheets there and back, precision by hand, against SciPy and by simulation, thresholds, labels."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.stats import binomtest, hypergeom

from echosearch.cohort.audit import (
    Audit,
    Judgement,
    PrecisionEstimate,
    Verdict,
    draw,
    exact_interval,
    labels,
    precision,
    wished_threshold,
)
from echosearch.cohort.cohort import Cohort, Definition, Level, Measure, Member
from echosearch.cohort.sheet import read_judgements, write_sheet
from echosearch.errors import BackendError, BadLabels, BadOption, DamagedIndex
from echosearch.learning.labels import read_labels
from echosearch.outputs import Output
from echosearch.tables import write_csv

EF = "task.ef.value"


def _measure(name: str = EF, task: str = "ef", **changes: Any) -> Measure:
    return replace(
        Measure(
            name, "value", "value", task, "0", "exact", "mean", (), (), {}, None, 35.0, True, "the filter", "%", "no"
        ),
        **changes,
    )


def _member(unit: str, margin: float | None = None, **values: float | str | None) -> Member:
    return Member(unit, f"P-{unit}", unit, "2019-05-31T00:00:00", (1, 12), {EF: 30.5} | values, margin=margin)


def _cohort(
    members: Sequence[Member], measures: Sequence[Measure] = (_measure(),), level: Level = "study", name: str = "low_ef"
) -> Cohort:
    return Cohort(
        name=name,
        definition=Definition(where=(f"{EF} < 35",), level=level),
        criteria=(f"{EF} < 35",),
        measures=tuple(measures),
        steps=(),
        members=tuple(members),
        table_one=(),
        distributions=(),
        index="/index",
        model="toy",
        domain="",
        recipe="0",
        frames_dtype="float16",
        generation=1,
        version="0",
        created_at="2026-01-01T00:00:00+00:00",
    )


def _named(*units: str) -> Cohort:
    return _cohort([_member(unit) for unit in units])


def _judged(*verdicts: Verdict | None, population: int | None = None, **changes: Any) -> Audit:
    """An audit of studies S0, S1 .., judged in this order; None: not judged."""
    units = tuple(f"S{number}" for number in range(len(verdicts)))
    judgements = {
        unit: Judgement(verdict) for unit, verdict in zip(units, verdicts, strict=True) if verdict is not None
    }
    judged_at = "2026-01-03" if judgements else None
    audit = Audit(1, "low_ef", "random", 0, units, population or len(units), "2026-01-02", judgements, judged_at)
    return replace(audit, **changes)


def _audit(cohort: Cohort, **changes: Any) -> Audit:
    """All members of a cohort, in their order, and nothing judged."""
    units = tuple(member.unit for member in cohort.members)
    return replace(Audit(1, cohort.name, "random", 0, units, len(units), "2026-01-02"), **changes)


# Who is drawn.


def test_a_random_sample_is_the_same_for_the_same_seed_whatever_the_order_of_members() -> None:
    units = [f"S{number}" for number in range(300)]
    drawn = draw(_named(*units), 50, "random", 7)
    assert len(set(drawn)) == len(drawn) == 50
    assert set(drawn) <= set(units)
    assert drawn == draw(_named(*reversed(units)), 50, "random", 7)
    assert drawn != draw(_named(*units), 50, "random", 8)
    assert drawn == draw(_named(*units), 80, "random", 7)[:50]
    assert sorted(draw(_named(*units), 1000, "random", 7)) == sorted(units)


def test_every_member_comes_equally_often_on_every_row() -> None:
    cohort = _named(*"ABCDE")
    samples = [draw(cohort, 2, "random", seed) for seed in range(2000)]
    for row in range(2):  # 400 expected with a standard deviation of 17.9
        assert all(abs(count - 400) < 4 * 17.9 for count in Counter(sample[row] for sample in samples).values())


def test_borderline_members_have_the_least_margin_and_ties_go_by_unit() -> None:
    cohort = _cohort(
        [_member("D", 0.5), _member("B", 0.1), _member("C"), _member("A", 0.5), _member("E", 0.0), _member("F", 3.0)]
    )
    assert draw(cohort, 4, "borderline", 0) == ("E", "B", "A", "D")
    assert draw(cohort, 99, "borderline", 1) == ("E", "B", "A", "D", "F")


@pytest.mark.parametrize(
    ("units", "arguments", "sentence"),
    [
        ("AB", (0, "random", 0), "an audit looks at one member or more, not 0"),
        ("AB", (1, "random", -1), "a seed is 0 to 9223372036854775807, not -1"),
        ("AB", (1, "middle", 0), "a sample is random or borderline, not 'middle'"),
        ("", (1, "random", 0), "cohort low_ef has no members, so there is nothing to audit"),
        ("AB", (1, "borderline", 0), "cohort low_ef has no member with a margin, .*; draw a random sample"),
    ],
)
def test_what_cannot_be_drawn(units: str, arguments: tuple[int, Any, int], sentence: str) -> None:
    with pytest.raises(BadOption, match=sentence):
        draw(_named(*units), *arguments)


# What is kept.


def test_audits_go_to_json_and_back() -> None:
    audit = _judged("yes", None, "unclear", population=9)
    audit = replace(audit, judgements=audit.judgements | {"S0": Judgement("yes", {"lead": "1"}, "seen")})
    told = audit.to_dict()
    assert json.loads(json.dumps(told)) == told
    assert Audit.from_json(json.dumps(told)) == audit
    assert told["judgements"]["S0"] == {"verdict": "yes", "findings": {"lead": "1"}, "note": "seen"}
    assert told["units"] == ["S0", "S1", "S2"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"audit_format": 2}, "it has a newer format"),
        ({"number": 0}, "an audit has a number from 1, not 0"),
        ({"strategy": "all"}, "strategy should be 'random' or 'borderline', not 'all'"),
        ({"units": []}, "one or more different units"),
        ({"units": ["S0", "S0"]}, "one or more different units"),
        ({"units": ["S0", " "]}, "every unit has a name"),
        ({"population": 1}, "one or more different units, at most 1"),
        ({"units": ["S0"]}, "'S1' is judged and not in the sample"),
        ({"judged_at": None}, "judgements and the time of judging go together"),
        ({"judgements": {}}, "judgements and the time of judging go together"),
        (
            {"judgements": {"S0": {"verdict": "maybe"}}},
            "judgements.S0.verdict should be 'yes', 'no' or 'unclear', not 'maybe'",
        ),
        ({"judgements": 3}, "judgements should be an object, not 3"),
        ({"more": 3}, "more: unexpected keyword argument"),
    ],
)
def test_what_is_no_audit_is_refused(change: dict[str, Any], sentence: str) -> None:
    told = _judged("yes", "no").to_dict() | change
    with pytest.raises(DamagedIndex, match=rf"an audit of this index cannot be read: .*{sentence}.*; restore it"):
        Audit.from_json(json.dumps(told))


# Sheets.


def test_a_sheet_by_hand(tmp_path: Path) -> None:
    measures = [_measure(), _measure("task.lead.yes", "lead", kind="yes", below=False), _measure("task.ef.p", kind="p")]
    flag: dict[str, float | str | None] = {"task.lead.yes": "no", "task.lead.yes (score)": -0.25, "task.ef.p": None}
    cohort = _cohort([_member("=B", other=5.0, **flag), replace(_member("A,1", **flag), acquired_at=None)], measures)
    audit = _audit(cohort, units=("A,1", "=B"), number=3)
    write_sheet(_to(tmp_path / "a.csv"), cohort, audit)
    assert (tmp_path / "a.csv").read_bytes().decode("utf-8") == (
        "\ufeffaudit,unit,study,patient,acquired_at,video_ids,task.ef.value,task.lead.yes,task.lead.yes (score),"
        "task.ef.p,verdict,note,finding.ef,finding.lead\n"
        'low_ef#3 2026-01-02,"A,1","A,1","P-A,1",,1 12,30.5,no,-0.25,,,,,\n'
        "low_ef#3 2026-01-02,'=B,'=B,P-=B,2019-05-31T00:00:00,1 12,30.5,no,-0.25,,,,,\n"
    )
    write_sheet(_to(tmp_path / "b.csv"), cohort, audit, with_patients=False)
    assert "patient" not in (tmp_path / "b.csv").read_text("utf-8")
    assert "P-" not in (tmp_path / "b.csv").read_text("utf-8")


def _to(path: Path) -> Output:
    return Output(path, "the sheet", ".csv", force=None)


def test_a_sheet_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("judged")
    with pytest.raises(BadOption, match=r"a\.csv exists already; give another name$"):
        write_sheet(_to(path), _named("A"), _audit(_named("A")))
    assert path.read_text() == "judged"


def test_what_sheets_cannot_be_written(tmp_path: Path) -> None:
    cohort, path = _named("A", "B"), tmp_path / "a.csv"
    with pytest.raises(BackendError, match=r"cannot write the sheet .*none/a\.csv: No such file or directory"):
        write_sheet(_to(tmp_path / "none/a.csv"), cohort, _audit(cohort))
    sentence = r"audit low_ef#1 is not of cohort low_ef as it is, with 2 members"
    for other in (_named("A", "C"), _named("A")):
        with pytest.raises(BadOption, match=sentence):
            write_sheet(_to(path), cohort, _audit(other))
    with pytest.raises(BadOption, match="audit high_ef#1 is not of cohort low_ef"):
        write_sheet(_to(path), cohort, replace(_audit(cohort), cohort="high_ef"))
    patients = _cohort([_member("P1")], level="patient")
    with pytest.raises(BadOption, match="units of cohort low_ef are patients, so its sheet cannot leave them out"):
        write_sheet(_to(path), patients, _audit(patients), with_patients=False)
    assert not path.exists()
    write_sheet(_to(path), patients, _audit(patients))


@pytest.mark.parametrize("pair", [("A", " A"), ("A B", "A\nB"), ("=1", "'=1"), ("A", "\tA"), ("A", "'A")])
def test_units_that_a_spreadsheet_makes_alike_are_refused(tmp_path: Path, pair: tuple[str, str]) -> None:
    with pytest.raises(
        BadOption, match=r"of audit low_ef#1 cannot be told apart in a spreadsheet; leave one of them out"
    ):
        write_sheet(_to(tmp_path / "a.csv"), _named(*pair), _audit(_named(*pair)))
    assert not (tmp_path / "a.csv").exists()


NASTY = (
    "=1+1",
    "+5",
    "-x",
    "@a",
    '"quoted"',
    "a,b;c\td",
    "ä€中",
    "two\nlines",
    "'=x",
    "  lead",
    "\ttab",
    "\r",
    "x",
    "''",
)


def _saved(
    path: Path, told: Mapping[str, Mapping[str, str]], delimiter: str = ",", strip: bool = False, turn: bool = False
) -> None:
    """Fill a sheet in and save it as a spreadsheet program may: apostrophes gone, rows and columns turned round."""
    header, *rows = list(csv.reader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline="")))
    for place, row in enumerate(rows):
        for name, text in told.get(str(place), {}).items():
            row[header.index(name)] = text
    table = [[cell.removeprefix("'") if strip else cell for cell in row] for row in rows]
    if turn:
        table, header = [row[::-1] for row in reversed(table)], header[::-1]
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter).writerows([header, *table])
    path.write_bytes(text.getvalue().encode("utf-8"))


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("strip", [False, True])
@pytest.mark.parametrize("turn", [False, True])
def test_nasty_units_come_back_from_any_program(tmp_path: Path, delimiter: str, strip: bool, turn: bool) -> None:
    units = [unit for unit in NASTY if unit.strip()]
    cohort = _named(*units)
    audit, path = _audit(cohort), tmp_path / "a.csv"
    write_sheet(_to(path), cohort, audit)
    told = {str(row): {"verdict": ("yes", "no", "unclear")[row % 3]} for row in range(1, len(units))}
    told["1"] |= {"note": "see, there", "finding.ef": "35"}
    _saved(path, told, delimiter, strip, turn)
    expected = {unit: Judgement(("yes", "no", "unclear")[row % 3]) for row, unit in enumerate(units)}  # type: ignore[arg-type]
    del expected[units[0]]
    expected[units[1]] = Judgement("no", {"ef": "35"}, "see, there")
    read = read_judgements(path, audit)
    assert read == expected
    assert list(read) == list(expected)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(NASTY) | st.text(max_size=6), st.sampled_from(["", "yes", "no", "unclear"]), st.booleans()
        ),
        min_size=1,
        max_size=6,
        unique_by=lambda row: row[0],
    ),
    st.sampled_from(",;\t"),
    st.booleans(),
    st.booleans(),
)
def test_what_was_judged_is_read_or_the_sheet_is_refused(
    rows: list[tuple[str, str, bool]], delimiter: str, strip: bool, turn: bool
) -> None:
    rows = [row for row in rows if row[0].strip()] or [("S", "yes", True)]
    cohort = _named(*(unit for unit, _, _ in rows))
    audit = _audit(cohort)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        try:
            write_sheet(_to(path), cohort, audit)
        except BadOption as error:
            assert "cannot be told apart" in str(error)  # noqa: PT017
            return
        _saved(
            path, {str(row): {"verdict": verdict} for row, (_, verdict, _) in enumerate(rows)}, delimiter, strip, turn
        )
        expected = {unit: Judgement(verdict) for unit, verdict, _ in rows if verdict}  # type: ignore[arg-type]
        if expected:
            assert read_judgements(path, audit) == expected
        else:
            with pytest.raises(BadLabels, match="has no judgement"):
                read_judgements(path, audit)


def _read(tmp_path: Path, text: str, *units: str) -> dict[str, Judgement]:
    path = tmp_path / "a.csv"
    path.write_text(text.replace("#1,", "#1 2026-01-02,"), "utf-8")
    return read_judgements(path, _audit(_named(*units)))


def test_verdicts_in_all_their_words(tmp_path: Path) -> None:
    words = ["yes", "YES", "y", "True", "1", "no", "N", "false", "0", "Unclear"]
    text = "audit,unit,verdict\n" + "".join(f"low_ef#1,S{row},{word}\n" for row, word in enumerate(words))
    read = _read(tmp_path, text, *(f"S{row}" for row in range(12)))
    assert [told.verdict for told in read.values()] == ["yes"] * 5 + ["no"] * 4 + ["unclear"]


def test_columns_are_found_in_any_case_and_findings_may_be_added(tmp_path: Path) -> None:
    read = _read(tmp_path, "Verdict,UNIT,Audit,finding.my own,Finding.x\ny,A,low_ef#1,-2,\n,B,low_ef#1,,\n", "A", "B")
    assert read == {"A": Judgement("yes", {"my own": "-2"})}


def test_numbers_that_a_spreadsheet_rewrote(tmp_path: Path) -> None:
    head = "audit,unit,verdict\n"
    assert list(_read(tmp_path, head + "low_ef#1,7,y\nlow_ef#1,12.1,y\n", "007", "12.10", "8")) == ["007", "12.10"]
    both = ("12.1", "12.10")
    read = _read(tmp_path, head + "low_ef#1,12.1,y\nlow_ef#1,12.10,n\n", *both)
    assert {unit: told.verdict for unit, told in read.items()} == {"12.1": "yes", "12.10": "no"}
    with pytest.raises(
        BadLabels, match=r"line 3: '12\.1' comes twice, and .* writes 12\.1 and 12\.10 alike, so it is not"
    ):
        _read(tmp_path, head + "low_ef#1,12.1,\nlow_ef#1,12.1,y\n", *both)
    with pytest.raises(
        BadLabels, match=r"line 2: '1\.23457E\+16' is not a unit of audit low_ef#1; a spreadsheet program"
    ):
        _read(tmp_path, head + "low_ef#1,1.23457E+16,y\n", "12345678901234567")


def test_a_unit_may_come_twice_if_it_is_judged_alike(tmp_path: Path) -> None:
    text = "audit,unit,verdict,note\nlow_ef#1,A,yes,first\nlow_ef#1,A,,\nlow_ef#1,A,1,again\n"
    assert _read(tmp_path, text, "A") == {"A": Judgement("yes", {}, "first")}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("unit,verdict\nA,yes\n", r"a\.csv has no column 'audit', so it is no sheet of an audit; it has unit, verdict"),
        ("audit,verdict\nlow_ef#1,yes\n", "has no column 'unit'"),
        ("audit,unit\nlow_ef#1,A\n", "has no column 'verdict'"),
        (
            "audit,unit,verdict\nlow_ef#1,A,yes\nlow_ef#2,B,yes\n",
            r"a\.csv, line 3: the row is of audit 'low_ef#2', and judgements of 'low_ef#1 2026-01-02' are read",
        ),
        (
            "audit,unit,verdict\nlow_ef#1 2025-12-31T00:00:00+00:00,A,yes\n",
            r"line 2: the row is of audit 'low_ef#1 2025-12-31T00:00:00\+00:00', and judgements of 'low_ef#1 2026-",
        ),
        ("audit,unit,verdict\nlow_ef#1,C,yes\n", "line 2: 'C' is not a unit of audit low_ef#1"),
        ("audit,unit,verdict\nlow_ef#1,,yes\n", "line 2: '' is not a unit of audit low_ef#1"),
        ("audit,unit,verdict\nlow_ef#1,A,maybe\n", "line 2: 'maybe' is no verdict, which is yes, no or unclear"),
        (
            "audit,unit,verdict\nlow_ef#1,A,yes\nlow_ef#1,A,no\n",
            "line 3: 'A' is judged twice, and differently: yes, and then no",
        ),
        (
            "audit,unit,verdict,finding.x\nlow_ef#1,A,yes,1\nlow_ef#1,A,yes,2\n",
            "line 3: 'A' is judged twice, and differently: yes x=1, and then yes x=2",
        ),
        (
            "audit,unit,verdict,finding.x\nlow_ef#1,A,,1\n",
            "line 2: 'A' has finding.x and no verdict; write yes, no or unclear",
        ),
        (
            "audit,unit,verdict\nlow_ef#1,A,\nlow_ef#1,B, \n",
            "has no judgement: no cell of its column 'verdict' is filled in",
        ),
        ("audit,unit,verdict\nlow_ef#1,A\n", "line 2: 2 cells, but the header has 3"),
        ("", r"a\.csv is empty; judgements are a CSV with a header line, such as audit,unit,verdict"),
    ],
)
def test_what_judgements_cannot_be_read(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(BadLabels, match=sentence):
        _read(tmp_path, text, "A", "B")


# Precision.


def test_an_exact_interval_by_hand() -> None:
    # 2 of 2 judged, of 4: with 2 right ones both are drawn in 1 of 6 audits, which is not rare; fewer than 2 cannot be.
    assert exact_interval(2, 2, 4) == (0.5, 1)
    # 9 of 10, of 100: with 58 right ones so many are drawn in more than 2.5 of 100 audits, with 57 in fewer.
    assert hypergeom.sf(8, 100, 58, 10) > 0.025 > hypergeom.sf(8, 100, 57, 10)
    assert hypergeom.cdf(9, 100, 99, 10) > 0.025
    assert exact_interval(9, 10, 100) == (0.58, 0.99)


@pytest.mark.parametrize(("yes", "judged"), [(0, 5), (5, 5), (45, 50), (1, 2), (480, 500)])
def test_of_very_many_members_it_is_clopper_and_pearsons(yes: int, judged: int) -> None:
    known = binomtest(yes, judged).proportion_ci(method="exact")
    assert exact_interval(yes, judged, 10**7) == pytest.approx((known.low, known.high), abs=1e-4)


def test_of_all_members_it_is_the_share_itself() -> None:
    assert exact_interval(7, 9, 9) == (7 / 9, 7 / 9)
    assert exact_interval(1, 1, 1) == (1.0, 1.0)


@settings(deadline=None)
@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n), st.integers(n, 900))))
def test_the_share_lies_in_its_interval(counts: tuple[int, int, int]) -> None:
    yes, judged, members = counts
    low, high = exact_interval(yes, judged, members)
    assert 0 <= low <= yes / judged <= high <= 1
    assert (low, high) == pytest.approx(_exact(yes, judged, members))
    assert (1 - high, 1 - low) == pytest.approx(exact_interval(judged - yes, judged, members))


@pytest.mark.parametrize("counts", [(3, 2, 5), (-1, 2, 5), (1, 6, 5), (0, 0, 5)])
def test_counts_that_cannot_be(counts: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="yes of"):
        exact_interval(*counts)


def test_a_precision_by_hand() -> None:
    told = precision(_judged(*["yes"] * 45, *["no"] * 5, population=100))  # type: ignore[arg-type]
    assert asdict(told) == asdict(PrecisionEstimate(0.9, *exact_interval(45, 50, 100), 45, 5, 0, 0.9, 0.9, 100))


def test_unclear_ones_count_neither_way_and_are_told() -> None:
    told = precision(_judged("yes", "unclear", "yes", "no", "unclear", population=40))
    assert (told.value, told.low, told.high) == (2 / 3, *exact_interval(2, 3, 40))
    assert (told.yes, told.no, told.unclear, told.if_unclear_no, told.if_unclear_yes) == (2, 1, 2, 0.4, 0.8)
    assert told.notes == ("2 of 5 judged are unclear and left out: 0.4 if all were no, 0.8 if yes",)


def test_a_sample_that_was_judged_in_part_says_so() -> None:
    first = precision(_judged("yes", "no", None, None))
    assert (first.value, first.low, first.high) == (0.5, *exact_interval(1, 2, 4))
    assert first.notes == ("2 of 4 were judged, the first of the sheet, which are a random sample as well",)
    some = precision(_judged("yes", None, "no", None))
    assert some.notes == (
        "2 of 4 were judged, not the first of the sheet: the figure holds only if they were not chosen by what they "
        "show",
    )


@pytest.mark.parametrize(
    ("audit", "sentence"),
    [
        (
            _judged("yes", strategy="borderline"),
            "took the borderline members, which are in more doubt than others, so no",
        ),
        (
            _judged("yes", "no", judgements={}, judged_at=None),
            "has no judgements yet; fill in its sheet and read it",
        ),
        (_judged("unclear", "unclear"), "all 2 judged units of audit low_ef#1 are unclear, so no precision follows"),
    ],
)
def test_what_has_no_precision(audit: Audit, sentence: str) -> None:
    with pytest.raises(BadOption, match=sentence):
        precision(audit)


Interval = Callable[[int, int, int], tuple[float, float]]


@cache
def _exact(yes: int, judged: int, members: int) -> tuple[float, float]:
    """The shares that a two-sided hypergeometric test at 2.5 % a side does not reject."""
    rightly = np.arange(yes, members - (judged - yes) + 1)
    above = hypergeom.sf(yes - 1, members, rightly, judged) > 0.025
    below = hypergeom.cdf(yes, members, rightly, judged) > 0.025
    kept = rightly[above & below]
    return float(kept.min() / members), float(kept.max() / members)


def _covers(interval: tuple[float, float], truth: float) -> bool:
    return interval[0] <= truth + 1e-12 and truth - 1e-12 <= interval[1]


SETTINGS = [(members, share) for members in (60, 100, 200, 400, 800) for share in (0.6, 0.7, 0.8, 0.9, 0.95, 0.98)]


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Coverage from the hypergeometric distribution itself; between settings it goes up and down by discreteness."""
    coverage = {}
    for members, share in SETTINGS:
        rightly = round(share * members)
        counts = np.arange(max(0, 50 - members + rightly), min(50, rightly) + 1)
        held = [_covers(exact_interval(int(yes), 50, members), rightly / members) for yes in counts]
        coverage[members, share] = float(hypergeom.pmf(counts, members, rightly, 50) @ held)
    assert min(coverage.values()) >= 0.95


def test_simulated_audits_are_covered() -> None:
    """2,000 audits drawn and judged; the bar is 95 %, less what chance explains in each of 30 settings."""
    random = np.random.default_rng(20)
    cohorts = {members: _named(*(f"S{number:03}" for number in range(members))) for members, _ in SETTINGS}
    found: dict[tuple[int, float], list[bool]] = {}
    for trial in range(2000):
        members, share = SETTINGS[trial % len(SETTINGS)]
        wrong = set(random.choice(members, members - round(share * members), replace=False).tolist())
        units = draw(cohorts[members], 50, "random", trial)
        judgements = {unit: Judgement("no" if int(unit[1:]) in wrong else "yes") for unit in units}
        told = precision(Audit(1, "low_ef", "random", trial, units, members, "", judgements, ""))
        truth = 1 - len(wrong) / members
        found.setdefault((members, share), []).append(_covers((told.low, told.high), truth))
    assert np.mean([held for rows in found.values() for held in rows]) >= 0.95
    assert min(map(np.mean, found.values())) >= 0.87  # of 66 or 67 audits each


# Thresholds.


def _valued(values: Sequence[float | None], **changes: Any) -> Cohort:
    members = [_member(f"S{number}", **{EF: value}) for number, value in enumerate(values)]
    return _cohort(members, [_measure(**changes)])


def test_a_threshold_by_hand() -> None:
    # Low values are in. Judged: 10 yes, 20 yes, 24 no, 26 yes, 34 no; 3 of 4 up to 26 are yes, so up to (26 + 34) / 2.
    cohort = _valued([34, 10, 24, 20, 26, 12, 29, 31, None, 30])
    audit = _judged("no", "yes", "no", "yes", "yes", None, None, None, None, None)
    told = wished_threshold(cohort, audit, EF, 0.75)
    assert (told.measure, told.threshold, told.below, told.wished) == (EF, 30.0, True, 0.75)
    assert (told.members_left, told.members, told.share_left) == (7, 10, 0.7)  # 10 12 20 24 26 29 and 30 itself
    kept = told.precision
    assert (kept.yes, kept.no, kept.members) == (3, 1, 7)
    assert (kept.low, kept.high) == exact_interval(3, 4, 7)
    assert kept.notes == (
        "5 of 10 were judged, the first of the sheet, which are a random sample as well",
        "the threshold was chosen on the same judgements, so its precision flatters itself",
        "1 members have no value of task.ef.value and would not be left",
    )
    assert wished_threshold(cohort, audit, EF, 0.76).threshold == 22.0


def test_where_the_cohort_reaches_it_the_loosest_value_is_told() -> None:
    told = wished_threshold(_valued([5, 9, 2, 7], below=False), _judged("yes", "yes", None, None), EF, 1.0)
    assert (told.threshold, told.members_left, told.below) == (2, 4, False)
    assert (told.precision.yes, told.precision.no) == (2, 0)


def test_a_flag_is_decided_by_its_score() -> None:
    measure = _measure("task.lead.yes", "lead", kind="yes", below=False)
    members = [
        _member(f"S{number}", **{"task.lead.yes": "yes", "task.lead.yes (score)": score})
        for number, score in enumerate([0.25, 0.75])
    ]
    told = wished_threshold(_cohort(members, [measure]), _judged("no", "yes"), "task.lead.yes", 0.9)
    assert (told.measure, told.threshold, told.members_left) == ("task.lead.yes (score)", 0.5, 1)


def test_neighbouring_floats_have_nothing_between_them() -> None:
    low, high = 1.0, float(np.nextafter(1.0, 2))
    told = wished_threshold(_valued([low, high], below=False), _judged("no", "yes"), EF, 1.0)
    assert (told.threshold, told.members_left) == (high, 1)


ROWS = st.tuples(st.none() | st.integers(-3, 3).map(float), st.none() | st.sampled_from(["yes", "no", "unclear"]))


@settings(deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=12), st.booleans(), st.sampled_from([0.3, 0.5, 2 / 3, 0.9, 1.0]))
def test_thresholds_against_all_there_are(
    rows: list[tuple[float | None, Verdict | None]], below: bool, wished: float
) -> None:
    cohort = _valued([value for value, _ in rows], below=below)
    audit = _judged(*(verdict for _, verdict in rows))
    if not audit.judgements:
        return
    known = [(value, verdict) for value, verdict in rows if value is not None and verdict in ("yes", "no")]

    def beyond(one: float, threshold: float) -> bool:
        return one <= threshold if below else one >= threshold

    def share(threshold: float) -> float:
        verdicts = [verdict for value, verdict in known if beyond(value, threshold)]
        return verdicts.count("yes") / len(verdicts)

    reaching = [value for value, _ in known if share(value) >= wished]
    if not reaching:
        with pytest.raises(BadOption, match="no threshold"):
            wished_threshold(cohort, audit, EF, wished)
        return
    told = wished_threshold(cohort, audit, EF, wished)
    loosest = max(reaching) if below else min(reaching)
    assert {row for row in known if beyond(row[0], told.threshold)} == {row for row in known if beyond(row[0], loosest)}
    assert told.precision.value == share(loosest) >= wished
    assert told.members_left == sum(value is not None and beyond(value, told.threshold) for value, _ in rows)
    unclear = [value for value, verdict in rows if value is not None and verdict == "unclear"]
    assert told.precision.unclear == sum(beyond(value, told.threshold) for value in unclear)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((EF, 0.0), "the precision to reach is above 0 and at most 1, not 0.0"),
        ((EF, 1.1), "the precision to reach is above 0 and at most 1, not 1.1"),
        ((EF, float("nan")), "the precision to reach is above 0 and at most 1, not nan"),
        (("task.ef.valu", 0.9), "cohort low_ef has no measure 'task.ef.valu'; did you mean task.ef.value"),
        (("zzz", 0.9), "cohort low_ef has no measure 'zzz'; there are task.ef.value, task.view.value, task.open.value"),
        (("task.view.value", 0.9), "task.view.value holds text, such as 'A4C', and text has no threshold"),
        (("task.open.value", 0.9), "has no threshold of task.open.value, so it is not known which values are in"),
        (
            (EF, 0.9),
            "no threshold of task.ef.value has a precision of 0.9 among 4 judged members; the best, 0.667, is .* at 30",
        ),
    ],
)
def test_what_has_no_threshold(arguments: tuple[str, float], sentence: str) -> None:
    measures = [_measure(), _measure("task.view.value", "view"), _measure("task.open.value", "open", threshold=None)]
    members = [
        _member(f"S{number}", **{EF: value, "task.view.value": "A4C"}) for number, value in enumerate([10, 20, 30, 40])
    ]
    with pytest.raises(BadOption, match=sentence):
        wished_threshold(_cohort(members, measures), _judged("no", "yes", "yes", "no"), *arguments)


def test_what_audits_have_no_threshold() -> None:
    cohort = _valued([1, 2])
    with pytest.raises(BadOption, match="took the borderline members"):
        wished_threshold(cohort, _judged("yes", "no", strategy="borderline"), EF, 0.5)
    with pytest.raises(BadOption, match="is not of cohort low_ef as it is, with 2 members"):
        wished_threshold(cohort, _judged("yes", "no", population=3), EF, 0.5)
    with pytest.raises(BadOption, match=r"no member that is judged yes or no has a value of task\.ef"):
        wished_threshold(_valued([1, None]), _judged("unclear", "yes"), EF, 0.5)
    with pytest.raises(BadOption, match="cohort low_ef has no measure 'x'; there are none"):
        wished_threshold(_cohort(cohort.members, []), _judged("yes", "no"), "x", 0.5)


# Labels.


def test_labels_of_verdicts_by_hand(tmp_path: Path) -> None:
    cohort = _named("S0", "S1", "S2", "S3", "S4")
    first = _judged("yes", "no", "unclear", "yes", population=5)
    second = Audit(
        2,
        "low_ef",
        "borderline",
        0,
        ("S4", "S1", "S3"),
        5,
        "",
        {"S1": Judgement("yes"), "S3": Judgement("unclear")},
        "2026-02",
    )
    for audits in ([first, second], [second, first]):
        told = labels(audits, cohort)
        assert (told.key_column, told.unclear, told.conflicts) == ("study", 2, 2)
        assert told.rows == (("S0", 1), ("S1", 1))
        assert told.notes == (
            "2 units are unclear and left out",
            "of 2 units audits say different things; what was judged later counts",
            "borderline members are among them, so the labels are no random sample of the cohort",
        )
    write_csv(Output(tmp_path / "l.csv", "the labels", ".csv"), (told.key_column, "label"), told.table())
    read = read_labels(tmp_path / "l.csv")
    assert (read.kind, [(row.key, row.value) for row in read.rows]) == ("study", [("S0", 1.0), ("S1", 1.0)])
    assert labels([replace(second, judged_at="2026-01-01"), first], cohort).rows == (("S1", 0), ("S3", 1), ("S0", 1))
    assert labels([replace(second, judged_at="2026-01-03"), first], cohort).rows == (("S0", 1), ("S1", 1))


def test_labels_of_a_finding_stand_as_they_are() -> None:
    audit = _judged("yes", "no", "yes", "yes")
    findings = [{"lead": "Yes"}, {"lead": "0.5", "other": "1"}, {}, {"lead": "unclear"}]
    judged = {unit: Judgement("yes", told) for unit, told in zip(audit.units, findings, strict=True)}
    told = labels([replace(audit, judgements=judged)], _named(*audit.units), "lead")
    assert (told.rows, told.unclear, told.conflicts) == ((("S0", "Yes"), ("S1", "0.5")), 1, 0)
    again = replace(audit, number=2, judgements={"S0": Judgement("no", {"lead": "yes"}), "S1": Judgement("no")})
    told = labels([replace(audit, judgements=judged), again], _named(*audit.units), "lead")
    assert (told.rows, told.conflicts) == (
        (("S0", "yes"), ("S1", "0.5")),
        0,
    )  # a case is no conflict, nor an empty cell


@pytest.mark.parametrize(("level", "column"), [("video", "video_id"), ("study", "study"), ("patient", "patient")])
def test_keys_are_of_the_cohorts_level(level: Level, column: str) -> None:
    told = labels([_judged("no")], _cohort([_member("S0")], level=level))
    assert told.table() == [{column: "S0", "label": 0}]
    assert told.notes == (
        ("a patient's label goes to all videos of the patient, and judged was one study only",)
        if level == "patient"
        else ()
    )


def test_what_has_no_labels() -> None:
    cohort, audit = _named("S0", "S1"), _judged("unclear", None)
    with pytest.raises(BadLabels, match="no audit of cohort low_ef judges a unit yes or no, so there are no labels"):
        labels([audit], cohort)
    with pytest.raises(BadLabels, match=r"no audit of cohort low_ef says what finding\.ef is, so there are no labels"):
        labels([audit], cohort, "ef")
    with pytest.raises(BadOption, match=r"no sheet of cohort low_ef has a column finding\.eff; did you mean ef\?"):
        labels([audit], cohort, "eff")
    with pytest.raises(BadOption, match="audit low_ef#1 is not of cohort low_ef as it is, with 1 members"):
        labels([audit], _named("S0"))
