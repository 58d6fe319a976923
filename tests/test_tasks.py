"""A task is what it says: phrases in their order, an id of what decides scores, a sentence for what cannot be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from echosearch.errors import BadTask
from echosearch.tasks.task import PublishedFigure, Task, TaskClass, ValueRange
from echosearch.tasks.task_text import builtin_tasks

LEAD = Task("lead", "binary", ("LEAD SEEN. ", "PACER LEAD. "))
EF = Task("ef", "regression", ("EF IS <#>%. ", "<#> PERCENT, <#>"), range=ValueRange(0, 100, 50, "%"))
SIZE = Task("size", "categorical", classes=(TaskClass("Mild", ("A. ",)), TaskClass("Severe", ("B. ", "C. "))))


def test_the_published_pacemaker_prompts_stand_letter_by_letter() -> None:
    task = builtin_tasks()["pacemaker"]
    assert task.groups == (
        (
            "ECHO DENSITY IN RIGHT VENTRICLE SUGGESTIVE OF CATHETER, PACER LEAD, OR ICD LEAD. ",
            "ECHO DENSITY IN RIGHT ATRIUM SUGGESTIVE OF CATHETER, PACER LEAD, OR ICD LEAD. ",
        ),
    )
    assert (task.mode, task.views, task.aggregate) == ("binary", ("A4C", "SUBCOSTAL"), "max")
    assert [figure.value for figure in task.published] == [0.298, 0.84]
    assert all("2308.15670" in figure.source for figure in task.published)
    assert task.validated is not None
    assert "EchoCLIP" in task.validated


def test_the_published_ejection_fraction_has_202_prompts_template_by_template() -> None:
    task = builtin_tasks()["ejection_fraction"]
    [group] = task.groups
    assert len(group) == len(task.values) == 202
    assert group[0] == "THE LEFT VENTRICULAR EJECTION FRACTION IS ESTIMATED TO BE 0% "
    assert group[1] == "THE LEFT VENTRICULAR EJECTION FRACTION IS ESTIMATED TO BE 1% "
    assert group[100] == "THE LEFT VENTRICULAR EJECTION FRACTION IS ESTIMATED TO BE 100% "
    assert group[101] == "LV EJECTION FRACTION IS 0%. "
    assert group[201] == "LV EJECTION FRACTION IS 100%. "
    assert task.values[:3] == (0, 1, 2)
    assert task.values[100:103] == (100, 0, 1)
    assert task.range is not None
    assert task.range.unit == "%"
    assert [figure.value for figure in task.published] == [8.35, 7.1]


def test_which_tasks_are_built_in_and_what_is_said_of_them() -> None:
    tasks = builtin_tasks()
    severities = ("normal", "mild", "moderate", "severe")
    views = ("A4C", "A2C", "PLAX", "PSAX", "SUBCOSTAL")
    assert {name: task.columns for name, task in tasks.items()} == {
        "ejection_fraction": ("value", "spread"),
        "image_mode": ("b_mode", "doppler", "still"),
        "la_dilation": severities,
        "lv_dilation": severities,
        "lv_hypertrophy": severities,
        "lv_systolic_function": ("normal", "mildly reduced", "moderately reduced", "severely reduced"),
        "mitral_clip": ("present", "absent"),
        "pa_pressure": ("value", "spread"),
        "pacemaker": ("value",),
        "pericardial_effusion": ("none", "small", "moderate", "large"),
        "ra_dilation": severities,
        "ra_pressure": ("value", "spread"),
        "rv_dilation": severities,
        "stent_valve": ("present", "absent"),
        "support_device": ("present", "absent"),
        "view": views,
    }
    published = {"pacemaker", "ejection_fraction"}
    assert {name for name, task in tasks.items() if task.validated} == published
    assert {name for name, task in tasks.items() if task.published} == published
    for name, task in tasks.items():
        assert task.about.endswith(".")
        assert task.source.startswith("EchoCLIP's" if name in published else "echosearch's own wording")
        assert set(task.views) <= set(views)
        for each in task.classes:
            assert 2 <= len(each.prompts) <= 4
        if name not in published:
            for phrase in (phrase for group in task.groups for phrase in group):
                assert phrase == phrase.strip()
                assert phrase.endswith(".")


def test_no_phrase_of_a_built_in_task_speaks_for_two_classes() -> None:
    for task in builtin_tasks().values():
        phrases = [phrase for group in task.groups for phrase in group]
        assert len(set(phrases)) == len(phrases)


def test_groups_columns_and_values() -> None:
    assert LEAD.groups == (("LEAD SEEN. ", "PACER LEAD. "),)
    assert LEAD.columns == ("value",)
    assert LEAD.values == ()
    assert EF.groups == (
        ("EF IS 0%. ", "EF IS 50%. ", "EF IS 100%. ", "0 PERCENT, 0", "50 PERCENT, 50", "100 PERCENT, 100"),
    )
    assert EF.values == (0, 50, 100, 0, 50, 100)
    assert EF.columns == ("value", "spread")
    assert SIZE.groups == (("A. ",), ("B. ", "C. "))
    assert SIZE.columns == ("Mild", "Severe")


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "other"},
        {"about": "other"},
        {"views": ("A4C",)},
        {"aggregate": "max"},
        {"source": "s", "validated": "v"},
        {"published": (PublishedFigure("AUROC", 0.5, "s"),)},
    ],
)
def test_what_leaves_the_scores_as_they_are_leaves_the_id(changed: dict[str, Any]) -> None:
    assert replace(LEAD, **changed).id == LEAD.id


def test_what_changes_scores_changes_the_id() -> None:
    others = [
        replace(LEAD, prompts=("LEAD SEEN.", "PACER LEAD. ")),
        replace(LEAD, prompts=LEAD.prompts[::-1]),
        replace(EF, range=ValueRange(0, 100, 25, "%")),
        replace(EF, prompts=EF.prompts[::-1]),
        replace(SIZE, mode="contrastive"),
        replace(SIZE, classes=(TaskClass("Small", ("A. ",)), *SIZE.classes[1:])),
    ]
    assert len({task.id for task in [LEAD, EF, SIZE, *others]}) == 9
    assert replace(EF, range=ValueRange(0, 100, 50, "per cent")).id == EF.id
    assert LEAD.content == '{"groups":[["LEAD SEEN. ","PACER LEAD. "]],"mode":"binary"}'


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (lambda: replace(LEAD, name="Lead"), r"^a task's name is lower-case letters, digits and _, .* not 'Lead'$"),
        (lambda: replace(LEAD, mode="yes"), r"mode is binary, regression, categorical, contrastive, not 'yes'"),
        (lambda: replace(LEAD, aggregate="min"), r"aggregate is mean, median, max, top2, top3, not 'min'"),
        (lambda: replace(LEAD, prompts=()), r"^task lead: mode binary needs prompts$"),
        (lambda: replace(LEAD, classes=SIZE.classes), r"^task lead: mode binary needs prompts$"),
        (lambda: replace(SIZE, classes=()), r"^task size: mode categorical needs classes, each with prompts$"),
        (lambda: replace(LEAD, prompts=(" ",)), r"a prompt is a phrase of a report, not ' '"),
        (lambda: replace(LEAD, prompts=("A", "A")), r"a prompt stands there twice"),
        (lambda: replace(LEAD, prompts=("EF <#>",)), r"the prompt 'EF <#>' has <#>, which regressions have"),
        (lambda: replace(EF, prompts=("EF",)), r"the prompt 'EF' has no <#>"),
        (lambda: replace(EF, range=None), r"a regression needs a range, such as \[0, 100\]"),
        (lambda: replace(EF, range=ValueRange(100, 0)), r"LOW to HIGH in whole steps, not 100 to 0 in steps of 1"),
        (lambda: replace(EF, range=ValueRange(0, 10, 0)), r"not 0 to 10 in steps of 0"),
        (lambda: replace(EF, range=ValueRange(0, 1)), r"4 prompts with their numbers; the rule needs 5 to 20000"),
        (lambda: replace(EF, range=ValueRange(0, 10_000)), r"20002 prompts with their numbers"),
        (lambda: replace(LEAD, range=ValueRange(0, 9)), r"a range goes with mode regression only"),
        (lambda: replace(LEAD, normal="x"), r"normal names a class of a categorical task, not 'x'"),
        (lambda: replace(SIZE, normal="x"), r"normal names a class of a categorical task, not 'x'"),
        (lambda: replace(SIZE, mode="contrastive", classes=SIZE.classes[:1]), r"weighs two classes or more"),
        (lambda: replace(SIZE, classes=SIZE.classes[:1] * 2), r"two classes are called 'Mild'"),
        (lambda: replace(SIZE, classes=(TaskClass("a,b", ("A",)),)), r"'a,b' cannot be the name of a class"),
        (lambda: replace(SIZE, classes=(TaskClass("Mild", ()),)), r"^task size, class Mild: there is no prompt$"),
    ],
)
def test_a_task_that_cannot_be_is_refused(changed: Any, sentence: str) -> None:
    with pytest.raises(BadTask, match=sentence):
        changed()


def test_five_prompts_are_enough_for_a_regression() -> None:
    assert replace(EF, prompts=EF.prompts[:1], range=ValueRange(1, 5)).values == (1, 2, 3, 4, 5)
