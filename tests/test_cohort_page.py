"""The report shows the cohort's numbers and names no one unasked: its text and drawings are read back."""

from __future__ import annotations

import base64
import io
import json
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import plain_frames, write_video
from hypothesis import given, strategies as st
from PIL import Image

from echosearch.cohort.cohort import Cohort, Definition, Distribution, Measure, Member, Step, Summary, TableRow
from echosearch.cohort.identifying import without_path
from echosearch.errors import BackendError, BadOption, DamagedIndex
from echosearch.filters.conditions import parse_filter
from echosearch.outputs import Output
from echosearch.pictures.cohort_page import (
    Picture,
    Pictures,
    _mean,
    _percent,
    draw_scores,
    pictures,
    render_page,
    write_page,
)

CRITERIA = ("view = 'A4C'", "task.pacemaker.yes")
PAPER = "a paper of 2024"

CALIBRATION = {
    "name": "leads", "scale": "similarity", "labels": "/MARKPATH/labels/leads.csv", "split": "train",
    "model": "local-dir:/MARKPATH/model", "videos": 1640, "positives": 122, "patients": 301,
    "sensitivity": 0.9, "specificity": 1.0, "contents": ["MARKCONTENT1", "MARKCONTENT2"], "rule": "youden",
    "left_out": {"clusters": list(range(15)), "labels": [1] * 10 + [0] * 5, "predicted": [1] * 9 + [0] * 6},
}  # fmt: skip

MEASURE = Measure(
    name="task.pacemaker.yes", kind="yes", column="", task_name="pacemaker", content_id="0123456789abcdef" * 4,
    form="exact", aggregate="max", views=("A4C", "PLAX"), prompts=('A "LEAD" IS SEEN. ', "NO LEAD <3."),
    task={"training": {"labels": "C:\\MARKPATH\\b.csv", "contents": ["MARKCONTENT3"]}, "weights": [0.5, -1.25]},
    calibration=CALIBRATION, threshold=0.123456789012, below=False, origin="calibration leads", unit="",
    validated="not validated on patients",
)  # fmt: skip


def _member(number: int, margin: float | None) -> Member:
    """Three videos each; the id of a video is no other number of the page."""
    return Member(
        f"MARKUNIT{number}", f"MARKPATIENT{number}", f"MARKSTUDY{number}", f"20{number:02}-07-09T00:00:00",
        (77000 + 10 * number, 77001 + 10 * number, 77002 + 10 * number),
        {"task.pacemaker.yes": "yes", "video.study": f"MARKSTUDY{number}"}, None, margin,
    )  # fmt: skip


MEMBERS = tuple(_member(number, margin) for number, margin in ((1, 0.75), (2, 0.03125), (3, None), (4, 2.5)))

COHORT = Cohort(
    name="leads",
    definition=Definition(where=(" AND ".join(CRITERIA),), one_per="patient", seed=7),
    criteria=CRITERIA,
    measures=(MEASURE,),
    steps=(
        Step("all studies of the index", 1200, 0, 3, 5000, 1200, 900),
        Step("view = 'A4C'", 700, 450, 50, 3000, 700, 600),
        Step("task.pacemaker.yes", 5, 695, 0, 16, 5, 4),
        Step("one study per patient (first)", 4, 1, 0, 12, 4, 4),
    ),
    members=MEMBERS,
    table_one=(
        TableRow("attr.age", Summary(3, 1, 61.234, 12.06, {}), Summary(1000, 196, 58.91, 15.2, {})),
        TableRow("view", Summary(4, 0, None, None, {"A4C": 4, "PLAX": 3}), Summary(1196, 0, None, None, {"A4C": 1196})),
    ),
    distributions=(
        Distribution("task.pacemaker.yes", "pacemaker: similarity", (0.0, 0.1, 0.2), (1, 3), (0, 8), 0.15, PAPER),
    ),
    index="/MARKPATH/index",
    model="local-dir:/MARKPATH/model",
    domain="phantoms",
    recipe="feed" * 16,
    frames_dtype="float16",
    generation=42,
    version="9.8.7",
    created_at="2025-11-22T20:39:00+00:00",
    notes=("echo-mini knows synthetic phantoms only.",),
    about="For the registry.",
)

MARKS = re.compile(r"MARKPATIENT|MARKUNIT|MARKSTUDY|MARKCONTENT|\b770\d\d\b")
PATHS = re.compile("MARKPATH|MARKFILE")


SVG = "data:image/svg+xml;base64,"


class _Reader(HTMLParser):
    """Text and tags of a page, as a browser sees them; the boxes of the diagram each, and charts as they are."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        self.text = " ".join(" ".join(self.words).split())
        self.steps = [_words(step) for step in re.findall(r'<div class="step">.*?</div>\n</div>', html, re.DOTALL)]
        self.charts = [
            ElementTree.fromstring(base64.b64decode(told["src"].removeprefix(SVG)))
            for tag, told in self.tags
            if tag == "img" and told["src"] is not None and told["src"].startswith(SVG)
        ]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def _picture(number: int = 1, **changes: Any) -> Picture:
    member = MEMBERS[number - 1]
    told = {"video_id": member.video_ids[0], "path": f"/MARKPATH/MARKFILE{number}.avi", "view": "A4C"}
    return Picture(**{"number": number, "member": member, "image": "data:image/jpeg;base64,QQ==", **told, **changes})


def _words(html: str) -> list[str]:
    """The text of a box, by its tags and lines."""
    lines = re.sub(r"</(?:span|b|div|code)>", "\n", html).split("\n")
    told = [" ".join(unescape(re.sub("<[^>]*>", "", line)).split()) for line in lines]
    return [line for line in told if line]


# What it names.


def test_nobody_and_no_file_is_named_unless_asked() -> None:
    shown = Pictures(
        (_picture(1), _picture(4)), (_picture(2, image=None, reason="cannot read /MARKPATH/MARKFILE2.avi"),)
    )
    html = render_page(COHORT, shown)
    assert not MARKS.search(html)
    assert not PATHS.search(html)
    text = _Reader(html).text
    assert "member 1 A4C margin 0.75 SD" in text
    assert "no picture: its video cannot be read member 2 A4C margin 0.0312 SD" in text
    assert "Model local-dir:(left out)" in text
    assert "labels leads.csv, split train" in text


def test_ids_are_shown_on_demand_and_paths_are_not() -> None:
    html = render_page(COHORT, Pictures((_picture(1),)), with_ids=True)
    assert not PATHS.search(html)
    found = set(MARKS.findall(html))
    assert found >= {"MARKPATIENT", "MARKUNIT", "MARKSTUDY", "MARKCONTENT", "77010", "77042"}
    text = _Reader(html).text
    assert "unit MARKUNIT1 study MARKSTUDY1 patient MARKPATIENT1 video 77010" in text
    for number in (1, 2, 3, 4):
        assert f"{number} MARKUNIT{number} MARKSTUDY{number} MARKPATIENT{number}" in text
    assert "This page shows ids of patients, studies and videos; keep it" in text


def test_paths_are_shown_on_demand_and_ids_are_not() -> None:
    shown = Pictures((_picture(1),), (_picture(2, image=None, reason="cannot read /MARKPATH/MARKFILE2.avi"),))
    html = render_page(COHORT, shown, with_paths=True)
    assert not MARKS.search(html)
    text = _Reader(html).text
    assert "Index /MARKPATH/index" in text
    assert "local-dir:/MARKPATH/model" in text
    assert "/MARKPATH/MARKFILE1.avi" in text
    assert "no picture: cannot read /MARKPATH/MARKFILE2.avi" in text
    assert "labels /MARKPATH/labels/leads.csv" in text
    assert "This page shows where files lie; keep it" in text


@pytest.mark.parametrize("reason", ["the file MARKFILE2 is short", "\\\\MARKPATH\\a", "Error opening /dev/fd/3"])
def test_a_decoders_sentence_that_may_name_the_file_is_not_shown(reason: str) -> None:
    html = render_page(COHORT, Pictures((_picture(2, image=None, reason=reason),)))
    assert "its video cannot be read" in html
    assert reason not in html


def test_a_sentence_that_names_no_file_is_shown() -> None:
    shown = _picture(2, image=None, reason="the file does not exist", path="/a/x.avi")
    assert "no picture: the file does not exist" in render_page(COHORT, Pictures((shown,)))


def test_the_id_of_an_example_is_left_out_everywhere() -> None:
    liked = replace(
        COHORT,
        definition=Definition(like=77123, top=4),
        steps=(*COHORT.steps[:3], Step("the 4 most similar to 'video 77123'", 4, 1, 0, 12, 4, 4)),
    )
    html = render_page(liked, Pictures())
    assert "77123" not in html
    text = _Reader(html).text
    assert "the 4 most similar to an example video, whose id is left out are kept." in text
    assert "the 4 most similar to 'video (left out)'" in text
    assert (
        "the 4 most similar to the example video 77123 are kept." in _Reader(render_page(liked, Pictures(), True)).text
    )


@pytest.mark.parametrize(
    ("model", "shown"),
    [
        ("echo-mini", "echo-mini"),
        ("hf-hub:mkaichristensen/echo-clip", "hf-hub:mkaichristensen/echo-clip"),
        ("open_clip:ViT-B-32/laion2b", "open_clip:ViT-B-32/laion2b"),
        ("local-dir:/home/ann/m", "local-dir:(left out)"),
        ("local-dir:C:\\ann\\m", "local-dir:(left out)"),
        ("open_clip:ViT-B-32//home/ann/m.pt", "open_clip:ViT-B-32/(left out)"),
        ("/home/ann/m", "(left out)"),
    ],
)
def test_the_path_of_a_model_is_left_out_and_its_name_is_not(model: str, shown: str) -> None:
    assert without_path(model) == shown


@pytest.mark.parametrize(
    ("criterion", "masked"),
    [
        ("study = 'S1'", "study = '...'"),
        ("video.patient IN ('a', 'b')", "video.patient IN ('...')"),
        ("video.video_id > 3", "video.video_id > '...'"),
        ("attr.PatientName LIKE 'Do%'", "attr.PatientName LIKE '...'"),
        ("attr.mrn BETWEEN 1 AND 2", "attr.mrn BETWEEN '...' AND '...'"),
        (
            "attr.ef < 35 AND NOT (attr.dob = '1950' OR view = 'A4C')",
            "attr.ef < 35 AND NOT (attr.dob = '...' OR view = 'A4C')",
        ),
        ("Patient IS NULL", "Patient IS NULL"),
        ("attr.site = 'study'", "attr.site = 'study'"),
        ("attr.site = 'it''s a patient'", "attr.site = 'it''s a patient'"),
    ],
)
def test_criteria_on_people_are_masked(criterion: str, masked: str) -> None:
    steps = (*COHORT.steps[:1], replace(COHORT.steps[1], name=f"{criterion} (of one video with the above)"))
    named = replace(
        COHORT, criteria=(criterion,), definition=Definition(where=(criterion,)), steps=(*steps, *COHORT.steps[2:])
    )
    page = unescape(render_page(named, Pictures()))
    assert page.count(masked) >= 3
    assert masked == criterion or criterion not in page


PLANTED = {
    "MRN4417": "mrn", "Doe^Jane": "name", "1950-03-04": "born", "jd@clinic.example": "note",
    "ACC99": "Accession Number", "J.D.": "initials", "/data/Doe": "file_path", "20771234": "code",
}  # fmt: skip


def _with_planted() -> Cohort:
    """Each of these in a column of few values, in a criterion, in a step, in a note and in the members' values."""
    rows = tuple(
        TableRow(f"attr.{name}", Summary(4, 0, None, None, {value: 4}), Summary(9, 0, None, None, {value: 9}))
        for value, name in PLANTED.items()
    )
    criteria = tuple(f"attr.\"{name}\" = '{value}'" for value, name in PLANTED.items())
    criteria = tuple(str(parse_filter(text)) for text in criteria)
    steps = tuple(Step(text, 4, 0, 0, 12, 4, 4) for text in criteria)
    members = tuple(
        replace(member, values=member.values | {f"attr.{name}": value for value, name in PLANTED.items()})
        for member in MEMBERS
    )
    notes = tuple(f"no video has {value!r} in attr.{name}" for value, name in PLANTED.items())
    return replace(
        COHORT, criteria=criteria, definition=Definition(where=criteria), steps=(*COHORT.steps, *steps),
        table_one=(*COHORT.table_one, *rows), members=members, notes=notes,
    )  # fmt: skip


@pytest.mark.parametrize("with_ids", [False, True])
def test_planted_identities_are_nowhere(with_ids: bool) -> None:
    page = unescape(render_page(_with_planted(), Pictures(), with_ids=with_ids))
    assert not [value for value in PLANTED if value in page]


def test_a_column_is_shown_when_asked_for() -> None:
    page = unescape(render_page(_with_planted(), Pictures(), show=["attr.initials", "code"]))
    assert {value for value in PLANTED if value in page} == {"J.D.", "20771234"}
    with pytest.raises(BadOption, match=r"has no column 'shoe' to show; it has .*initials"):
        render_page(_with_planted(), Pictures(), show=["shoe"])


def test_text_with_nearly_as_many_values_as_units_is_left_out_and_a_site_is_not() -> None:
    many = TableRow(
        "attr.tag", Summary(4, 0, None, None, {"ann": 1, "bob": 1, "cy": 2}), Summary(1, 0, None, None, {"dan": 1})
    )
    site = TableRow(
        "attr.site", Summary(4, 0, None, None, {"north": 3, "south": 1}), Summary(9, 0, None, None, {"north": 9})
    )
    page = render_page(replace(COHORT, table_one=(many, site)), Pictures())
    assert not re.search(r"\b(ann|bob|dan)\b", page)
    assert "north" in page
    assert "south" in page


# What it says.


def test_the_diagram_counts_every_step() -> None:
    reader = _Reader(render_page(COHORT, Pictures()))
    assert reader.steps == [
        [
            "all studies of the index", "1,200 studies", "900 patients, 5,000 videos",
            "besides, 3 videos that have no study",
        ],
        [
            "left out: 500 studies", "no: 450", "unknown (a value is missing): 50",
            "view = 'A4C'", "700 studies", "600 patients, 3,000 videos",
        ],
        [
            "left out: 695 studies", "no: 695", "unknown (a value is missing): 0",
            "task.pacemaker.yes", "5 studies", "4 patients, 16 videos",
        ],
        [
            "left out: 1 study", "no: 1", "unknown (a value is missing): 0",
            "one study per patient (first)", "4 studies", "4 patients, 12 videos",
        ],
    ]  # fmt: skip
    boxes = [told["class"] for tag, told in reader.tags if tag == "div" and str(told.get("class")).startswith("box")]
    assert boxes == ["box", "box", "box", "box cohort"]


def test_index_studies_are_called_patients_once_there_is_one_of_each() -> None:
    patients = replace(COHORT, definition=Definition(where=("a = 1",), level="patient"))
    reader = _Reader(render_page(patients, Pictures()))
    assert "5 studies" in reader.text
    assert "left out: 1 study" in reader.text
    assert "4 patients 4 studies, 12 videos" in reader.text
    assert "Members 4 patients, with 12 videos" in reader.text


@given(st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=300))
def test_a_criterion_of_any_length_stands_in_its_box_whole(criterion: str) -> None:
    steps = (COHORT.steps[0], replace(COHORT.steps[1], name=criterion), *COHORT.steps[2:])
    long = replace(COHORT, steps=steps, criteria=(criterion, CRITERIA[1]), distributions=())
    html = render_page(long, Pictures())
    [code] = re.findall(r'<div class="box"><code>(.*)</code>\n<b>700 studies</b>', html)
    assert unescape(code) == criterion


def test_table_one_tells_known_and_missing_means_and_shares() -> None:
    text = _Reader(render_page(COHORT, Pictures())).text
    assert "Attribute Included (n = 4) Excluded (n = 1,196)" in text
    assert "attr.age 3 known, 1 missing 1,000 known, 196 missing mean (SD) 61.2 (12.1) 58.9 (15.2)" in text
    assert (
        "view 4 known, 0 missing 1,196 known, 0 missing A4C 4 (100.0 %) 1,196 (100.0 %) PLAX 3 (75.0 %) 0 (0.0 %)"
        in text
    )
    assert "percentages may add up to more than 100" in text
    assert "which are all other studies of the index, also further ones of the same patients." in text


def test_rare_values_that_were_not_counted_are_no_zeros() -> None:
    device = TableRow("device", Summary(4, 0, None, None, {"iE33": 4}), Summary(900, 296, None, None, {"E95": 500}))
    names = TableRow("operator", Summary(4, 0, None, None, {}), Summary(900, 296, None, None, {}))
    none = TableRow("site", Summary(0, 4, None, None, {}), Summary(1000, 196, None, None, {"Bern": 999, "Basel": 1}))
    text = _Reader(render_page(replace(COHORT, table_one=(device, names, none)), Pictures())).text
    assert "iE33 4 (100.0 %) – E95 0 (0.0 %) 500 (55.6 %) Only frequent values are shown" in text
    assert "operator 4 known, 0 missing 900 known, 296 missing Its values are not listed" in text
    assert "Bern 0 (–) 999 (99.9 %) Basel 0 (–) 1 (0.1 %)" in text


def test_sizes_are_not_told_where_rows_are_of_different_ones() -> None:
    other = replace(COHORT.table_one[0], excluded=Summary(7, 0, 1.0, 1.0, {}))
    text = _Reader(render_page(replace(COHORT, table_one=(*COHORT.table_one, other)), Pictures())).text
    assert "Attribute Included Excluded attr.age" in text


@pytest.mark.parametrize(
    ("mean", "sd", "shown"),
    [
        (61.234, 12.06, "61.2 (12.1)"),
        (1.8712, 0.2134, "1.871 (0.213)"),
        (2017.26, 2.449, "2017.26 (2.45)"),
        (1e6, 23456.7, "1000000 (23457)"),
        (35.0, 0.0, "35.0 (0.0)"),
        (0.0, 0.0, "0.00 (0.00)"),
        (-0.25, 0.0, "-0.250 (0.000)"),
        (12.5, None, "12.5 (–)"),
        (None, None, "–"),
    ],
)
def test_means_have_the_digits_of_their_spread(mean: float | None, sd: float | None, shown: str) -> None:
    assert _mean(Summary(3, 0, mean, sd, {})) == shown


@pytest.mark.parametrize(
    ("count", "total", "shown"),
    [
        (0, 5, "0.0 %"), (5, 5, "100.0 %"), (1, 3, "33.3 %"), (1, 5000, "< 0.1 %"), (4999, 5000, "> 99.9 %"),
        (0, 0, "–"), (1, 1000, "0.1 %"), (999, 1000, "99.9 %"),
    ],
)  # fmt: skip
def test_no_share_is_rounded_to_none_or_all(count: int, total: int, shown: str) -> None:
    assert _percent(count, total) == shown


def _drawn(scores: Distribution) -> list[Any]:
    """The panels of included and excluded units."""
    return draw_scores(scores).get_axes()


def test_score_bars_stand_where_the_bins_are() -> None:
    included, excluded = _drawn(COHORT.distributions[0])
    for axes, counts in ((included, [1, 3]), (excluded, [0, 8])):
        [bars] = axes.patches
        values, edges, baseline = bars.get_data()
        assert (list(values), list(edges), baseline) == (counts, [0.0, 0.1, 0.2], 0)
        [line] = axes.get_lines()
        assert list(line.get_xdata()) == [0.15, 0.15]
        assert list(axes.get_yticks()) == [0, max(counts)]
    assert [each.get_title("left") for each in (included, excluded)] == [
        "included, 4 with a score",
        "excluded, 8 with a score",
    ]
    assert included.get_title("right") == "threshold 0.15"
    reader = _Reader(render_page(COHORT, Pictures()))
    assert (
        "pacemaker: similarity ( task.pacemaker.yes ): included, 4 with a score; excluded, 8 with a score. "
        f"Threshold 0.15, origin: {PAPER}." in reader.text
    )
    [chart] = reader.charts
    assert chart.tag == "{http://www.w3.org/2000/svg}svg"


def test_a_chart_says_nothing_of_who_drew_it_and_when() -> None:
    html = render_page(COHORT, Pictures())
    [chart] = re.findall(f'{re.escape(SVG)}([^"]*)', html)
    drawn = base64.b64decode(chart).decode()
    assert "<dc:date>" not in drawn
    assert "atplotlib v" not in drawn
    assert not PATHS.search(drawn)


@pytest.mark.parametrize("threshold", [-5.0, 0.0, 0.1, 9.0])
def test_a_threshold_is_in_the_picture_wherever_it_lies(threshold: float) -> None:
    for axes in _drawn(replace(COHORT.distributions[0], threshold=threshold)):
        [line] = axes.get_lines()
        low, high = axes.get_xlim()
        assert low <= line.get_xdata()[0] <= high
        assert low <= 0.0 < 0.2 <= high


def test_a_score_without_threshold_or_units_has_a_chart_and_no_line() -> None:
    scores = replace(COHORT.distributions[0], threshold=None, included=(0, 0))
    included, excluded = _drawn(scores)
    assert not included.get_lines()
    assert not excluded.get_lines()
    assert included.get_title("right") == ""
    assert list(included.get_yticks()) == [0]
    text = _Reader(render_page(replace(COHORT, distributions=(scores,)), Pictures())).text
    assert "included, 0 with a score; excluded, 8 with a score." in text
    none = replace(scores, edges=(), included=(), excluded=())
    reader = _Reader(render_page(replace(COHORT, distributions=(none,)), Pictures()))
    assert "No unit has this score." in reader.text
    assert not reader.charts


def test_each_measure_is_told_whole() -> None:
    text = _Reader(render_page(COHORT, Pictures())).text
    assert "Task pacemaker (exact form), content 0123456789abcdef" in text
    assert "Validation not validated on patients" in text
    assert "Views A4C, PLAX" in text
    assert "Videos to one score max" in text
    assert "Threshold 0.123456789012; high scores are in; origin: calibration leads" in text
    assert (
        "leads; of the score: similarity; labels leads.csv, split train; 1,640 videos, 122 positives, 301 patients; "
        "on patients left out sensitivity 0.900 (0.555 to 0.997; 9 of 10, 10 patients), specificity not given (5 of 5, "
        "5 patients: no share below 10 patients), f1 0.947 (0.714 to 0.999; 10 patients); p by calibration leads is "
        "not adjusted: it is right where the finding is as common as among its labels (122 of 1640 videos)" in text
    )
    assert '2 phrases A "LEAD" IS SEEN. NO LEAD <3.' in text


def test_a_measure_without_calibration_or_threshold() -> None:
    bare = replace(
        MEASURE,
        kind="value",
        column="value",
        calibration=None,
        threshold=35.0,
        below=True,
        unit="%",
        origin="the filter",
    )
    text = _Reader(render_page(replace(COHORT, measures=(bare,)), Pictures())).text
    assert "Used as the value that the task gives; column value" in text
    assert "Threshold 35 %; low scores are in; origin: the filter" in text
    assert "Calibration none: the score stands as the model gives it" in text
    bare = replace(bare, threshold=None, origin="none: it is not compared with a number")
    text = _Reader(render_page(replace(COHORT, measures=(bare,)), Pictures())).text
    assert "Threshold none: it is not compared with a number Calibration" in text


@pytest.mark.parametrize(
    ("definition", "sentence"),
    [
        (Definition(where=("a = 1",), level="video"), "A unit of this cohort is a video."),
        (
            Definition(where=("a = 1",), level="patient", pick="latest"),
            "with one index study: of the studies that are left, the latest by date (those without a date come last).",
        ),
        (Definition(where=("a = 1",), same_video=True), "One and the same video of a study has to meet all criteria;"),
        (Definition(where=("a = 1",)), "A comparison holds for a study where it holds for any of its videos;"),
        (
            Definition(near=("a lead", "two leads"), top=1500),
            "Of those left, the 1,500 most similar to the phrases “a lead”, “two leads” are kept.",
        ),
        (
            Definition(near=("x",), top=5, level="video", one_per="study", pick="best"),
            "Of each study one video is kept: the most similar one.",
        ),
        (
            Definition(where=("a",), aggregates=(("ef", "max"), ("lead", "mean"))),
            "by hand for: ef by max, lead by mean.",
        ),
        (Definition(where=("a",), seed=11), "The seed 11 decides splits and samples, and not who is a member."),
    ],
)
def test_the_definition_in_words(definition: Definition, sentence: str) -> None:
    steps = tuple(replace(step, unknown=0) if step is COHORT.steps[0] else step for step in COHORT.steps)
    assert sentence in _Reader(render_page(replace(COHORT, definition=definition, steps=steps), Pictures())).text


def test_limits_and_audits() -> None:
    text = _Reader(render_page(COHORT, Pictures())).text
    assert "The model is made for: phantoms. echo-mini knows synthetic phantoms only. Scores are similarities" in text
    assert "they are not measurements, even where they have a unit. Nothing here diagnoses." in text
    assert "is unknown until it is audited" in text
    text = _Reader(render_page(COHORT, Pictures(), audit_lines=("leads#1: precision 0.87",))).text
    assert "Audit: leads#1: precision 0.87" in text
    assert "is unknown until it is audited" not in text


def _manifest(html: str) -> Any:
    found = re.search(r"<pre>(.*?)</pre>", html, re.DOTALL)
    assert found is not None
    return json.loads("".join(_Reader(found[1]).words))


def test_the_manifest_is_whole_where_all_is_shown() -> None:
    html = render_page(COHORT, Pictures(), with_ids=True, with_paths=True)
    assert _manifest(html) == json.loads(json.dumps(COHORT.manifest().to_dict()))
    assert '"weights": [ 0.5, -1.25 ]' in _Reader(html).text


def test_the_manifest_without_ids_and_paths() -> None:
    told = _manifest(render_page(COHORT, Pictures()))
    expected = json.loads(json.dumps(COHORT.manifest().to_dict()))
    expected["index"] = "(left out)"
    expected["model"] = expected["measures"][0]["calibration"]["model"] = "local-dir:(left out)"
    expected["measures"][0]["calibration"] |= {"labels": "leads.csv", "contents": "(left out)"}
    expected["measures"][0]["task"]["training"] = {"labels": "b.csv", "contents": "(left out)"}
    assert told == expected


def test_nothing_that_was_written_becomes_markup() -> None:
    evil = """<script>alert(1)</script>"'><img src=x onerror=alert(1)>&lt;"""
    steps = (COHORT.steps[0], replace(COHORT.steps[1], name=evil), *COHORT.steps[2:])
    measure = replace(MEASURE, name=evil, task_name=evil, prompts=(evil,), origin=evil, validated=evil, views=(evil,))
    row = TableRow(evil, Summary(4, 0, None, None, {evil: 4}), Summary(9, 0, None, None, {evil: 9}))
    scores = replace(COHORT.distributions[0], title=evil, measure=evil, origin=evil)
    cohort = replace(
        COHORT, name=evil, about=evil, criteria=(evil,), steps=steps, measures=(measure,), table_one=(row,),
        distributions=(scores,), notes=(evil,), domain=evil, recipe=evil, frames_dtype=evil, version=evil,
        created_at=evil, definition=Definition(near=(evil,), top=4), index=evil, model=evil,
        members=tuple(replace(each, unit=evil, study=evil, values={evil: evil}) for each in MEMBERS),
    )  # fmt: skip
    shown = Pictures(
        (_picture(1, view=evil, path=evil, member=cohort.members[0]),), (_picture(2, image=None, reason=evil),)
    )
    plain = _Reader(render_page(COHORT, Pictures((_picture(1),), (_picture(2, image=None, reason="x"),)), True, True))
    reader = _Reader(render_page(cohort, shown, True, True, audit_lines=(evil,)))
    assert {tag for tag, _ in reader.tags} <= {tag for tag, _ in plain.tags}
    assert {key for _, attributes in reader.tags for key in attributes} <= {
        key for _, told in plain.tags for key in told
    }
    sources = [str(told["src"]) for tag, told in reader.tags if tag == "img"]
    assert [src for src in sources if not src.startswith(SVG)] == ["data:image/jpeg;base64,QQ=="]
    assert len(reader.charts) == 1
    assert reader.text.count("<script>alert(1)</script>") > 20


def test_the_page_needs_no_network_and_no_script() -> None:
    html = render_page(COHORT, Pictures((_picture(1),)))
    reader = _Reader(html)
    assert not {"script", "link", "iframe", "object", "base", "form"} & {tag for tag, _ in reader.tags}
    assert "http:" not in html
    assert "https:" not in html
    assert "url(" not in html
    assert "@import" not in html
    [policy] = [told["content"] for tag, told in reader.tags if told.get("http-equiv") == "Content-Security-Policy"]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_equal_cohorts_give_equal_pages() -> None:
    shown = Pictures((_picture(1),), (_picture(2),))
    again = Cohort.from_json(COHORT.to_json())
    assert again == COHORT
    for with_ids in (False, True):
        assert render_page(COHORT, shown, with_ids) == render_page(again, shown, with_ids)


def test_an_empty_cohort_without_scores() -> None:
    steps = (replace(COHORT.steps[0], unknown=0), Step("a = 1", 0, 1200, 0, 0, 0, 0))
    empty = replace(COHORT, steps=steps, members=(), measures=(), distributions=(), table_one=(), notes=())
    text = _Reader(render_page(empty, pictures(empty, {}, 5, 0), True)).text
    for sentence in (
        "0 studies 0 patients, 0 videos", "No attributes were compared.", "No criterion uses a score.",
        "No criterion uses a finding", "The cohort has no members.",
    ):  # fmt: skip
        assert sentence in text


def test_a_page_without_pictures_says_so() -> None:
    text = _Reader(render_page(COHORT, Pictures())).text
    assert "No pictures were asked for." in text
    assert "Look at each before this file is passed on." not in text
    text = _Reader(render_page(COHORT, Pictures((_picture(1),)))).text
    assert "Look at each before this file is passed on." in text


def test_a_name_that_is_not_utf8_is_written_out() -> None:
    html = render_page(COHORT, Pictures((_picture(1, path="/a/\udcff.avi"),)), with_paths=True)
    assert "/a/\\udcff.avi" in html
    html.encode()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"steps": (COHORT.steps[0], replace(COHORT.steps[1], no=449), *COHORT.steps[2:])},
            "at \"view = 'A4C'\" 700 units are kept, 449 are left out as no and 50 as unknown, of 1200; that does not",
        ),
        ({"members": MEMBERS[:3]}, "4 units are left in the end, and there are 3 members; make the cohort again"),
        (
            {"members": (*MEMBERS[:3], replace(MEMBERS[3], video_ids=(1,)))},
            "12 videos are left in the end, and its members have 10; make the cohort again",
        ),
        (
            {"steps": (replace(COHORT.steps[0], no=1), *COHORT.steps[1:])},
            "its first step is to be all units, and 'all studies of the index' leaves some out",
        ),
        (
            {"distributions": (replace(COHORT.distributions[0], included=(1,)),)},
            "the scores task.pacemaker.yes have 2 bins and 1 and 2 counts",
        ),
    ],
)
def test_numbers_that_do_not_add_up_are_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DamagedIndex, match=re.escape(sentence)):
        render_page(replace(COHORT, **changes), Pictures())


# Pictures.


def _pixels(picture: Picture) -> Image.Image:
    assert picture.image is not None
    return Image.open(io.BytesIO(base64.b64decode(picture.image.removeprefix("data:image/jpeg;base64,"))))


def _video(path: Path, middle: tuple[int, int, int], height: int = 240, width: int = 480) -> str:
    """Seven frames, of which only number 3 is of the colour `middle`; the others are white."""
    frames = np.full((7, height, width, 3), 255, np.uint8)
    frames[3] = middle
    return str(write_video(path, frames))


def test_the_middle_frame_of_the_first_video(tmp_path: Path) -> None:
    cohort = replace(COHORT, members=(MEMBERS[0],))
    paths = {77010: _video(tmp_path / "a.avi", (200, 30, 30)), 77011: _video(tmp_path / "b.avi", (0, 0, 0))}
    [picture] = pictures(cohort, paths, 3, 0, {77010: "A4C", 77011: "PLAX"}).random
    frame = _pixels(picture)
    assert (frame.format, frame.size, picture.view, picture.number) == ("JPEG", (224, 112), "A4C", 1)
    red, green, blue = (int(value) for value in np.asarray(frame)[56, 112])
    assert abs(red - 200) < 12
    assert abs(green - 30) < 12
    assert abs(blue - 30) < 12


def test_a_small_video_is_not_enlarged(tmp_path: Path) -> None:
    paths = {77010: str(write_video(tmp_path / "a.avi", plain_frames(1, (9, 9, 9))))}
    [picture] = pictures(replace(COHORT, members=(MEMBERS[0],)), paths, 1, 0).random
    assert _pixels(picture).size == (64, 64)
    assert picture.view is None


def test_borderline_members_are_those_with_the_least_margin() -> None:
    shown = pictures(COHORT, {}, 2, 0)
    assert [each.number for each in shown.borderline] == [2, 1]
    assert [each.number for each in pictures(COHORT, {}, 9, 0).borderline] == [2, 1, 4]
    same = replace(COHORT, members=tuple(replace(each, margin=0.5) for each in reversed(MEMBERS)))
    assert [each.member.unit for each in pictures(same, {}, 2, 0).borderline] == ["MARKUNIT1", "MARKUNIT2"]
    bare = replace(COHORT, members=tuple(replace(each, margin=None) for each in MEMBERS))
    shown = pictures(bare, {}, 2, 0)
    assert shown.borderline == ()
    assert "None: no member has a margin, as no criterion decides by a score." in _Reader(render_page(bare, shown)).text


def test_random_members_depend_on_seed_and_units_alone() -> None:
    many = replace(COHORT, members=tuple(_member(number, None) for number in range(1, 61)))
    drawn = [[each.member.unit for each in pictures(many, {}, 10, seed).random] for seed in range(30)]
    assert all(len(set(units)) == 10 for units in drawn)
    assert drawn[3] == [each.member.unit for each in pictures(many, {}, 10, 3).random]
    assert len({tuple(units) for units in drawn}) == 30
    assert len({unit for units in drawn for unit in units}) > 55  # of 60, in 300 draws
    turned = replace(many, members=many.members[::-1])
    assert {each.member.unit for each in pictures(turned, {}, 10, 3).random} == set(drawn[3])
    shown = pictures(many, {}, 10, 3).random
    assert [each.number for each in shown] == sorted(each.number for each in shown)
    assert [each.number for each in pictures(many, {}, 99, 0).random] == list(range(1, 61))


def test_pictures_that_cannot_be_made_say_why(tmp_path: Path) -> None:
    (tmp_path / "empty.avi").touch()
    (tmp_path / "bad.png").write_text("nothing")
    members = (*MEMBERS, replace(MEMBERS[0], unit="MARKUNIT5", video_ids=()))
    paths = {77010: str(tmp_path / "empty.avi"), 77020: str(tmp_path / "gone.avi"), 77030: str(tmp_path / "bad.png")}
    shown = pictures(replace(COHORT, members=members), paths, 5, 0).random
    assert [each.image for each in shown] == [None] * 5
    assert [each.reason for each in shown] == [
        "the file is empty",
        "the file does not exist",
        "it is not a picture in a supported format, whatever its name says",
        "no file is known for its first video",
        "the member has no video",
    ]


def test_a_path_that_the_system_refuses_gives_no_picture() -> None:
    [shown] = pictures(replace(COHORT, members=(MEMBERS[0],)), {77010: "/" + "a" * 5000 + ".avi"}, 1, 0).random
    assert shown.image is None
    assert shown.reason


@pytest.mark.parametrize(("count", "seed"), [(-1, 0), (1, -1)])
def test_counts_and_seeds_below_nothing_are_refused(count: int, seed: int) -> None:
    with pytest.raises(BadOption, match=f"are 0 or more, not {count} and {seed}"):
        pictures(COHORT, {}, count, seed)


@pytest.mark.parametrize("image", ["https://example.org/a.jpg", "data:text/html,x"])
def test_a_picture_is_nothing_but_a_jpeg_in_the_page(image: str) -> None:
    with pytest.raises(ValueError, match="an image is the data URI of a JPEG"):
        _picture(image=image)
    with pytest.raises(ValueError, match="a picture has an image, or a reason"):
        _picture(image=None)


# The file.


def test_the_report_is_written_whole_and_replaces_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    write_page(Output(path, "the page", ".html"), "<p>ä</p>\n")
    assert path.read_bytes() == "<p>ä</p>\n".encode()
    with pytest.raises(BadOption, match=r"a\.html exists already; give another name"):
        write_page(Output(path, "the page", ".html"), "x")
    assert path.read_bytes() == "<p>ä</p>\n".encode()
    assert [each.name for each in tmp_path.iterdir()] == ["a.html"]


def test_a_report_is_called_html(tmp_path: Path) -> None:
    with pytest.raises(BadOption, match=r"^the name of the page ends in \.html, not 'a\.pdf'$"):
        write_page(Output(tmp_path / "a.pdf", "the page", ".html"), "x")


def test_a_link_to_nowhere_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.html").symlink_to(tmp_path / "none")
    with pytest.raises(BadOption, match="exists already"):
        write_page(Output(tmp_path / "a.html", "the page", ".html"), "x")


def test_a_report_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"cannot write the page .*a\.html: No such file"):
        write_page(Output(tmp_path / "none" / "a.html", "the page", ".html"), "x")


def test_half_a_report_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(BackendError, match="No space left on device"):
        write_page(Output(tmp_path / "a.html", "the page", ".html"), "x")
    assert list(tmp_path.iterdir()) == []
