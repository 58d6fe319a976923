"""A cohort as one HTML file, for the supplement of a paper. Knows values and videos, no index.

The file needs no network and no script. Ids of patients, studies and videos and paths stand in it only if asked for;
what the user wrote (name, criteria, notes) stands there as it was written.
"""

from __future__ import annotations

import base64
import importlib.resources
import json
import math
import re
import textwrap
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from io import BytesIO
from itertools import pairwise
from pathlib import Path, PureWindowsPath
from typing import Any, Final

import jinja2
import numpy as np
from PIL import Image

from echosearch.cohort.cohort import Cohort, Definition, Distribution, Level, Measure, Member, Step, Summary, TableRow
from echosearch.errors import BadOption, DamagedIndex, EchoSearchError
from echosearch.files import Output
from echosearch.video import open_media

_LEFT_OUT: Final = "(left out)"

_PICTURE: Final = (224, 224)
_JPEG: Final = "data:image/jpeg;base64,"

_ABSOLUTE: Final = re.compile(r"(?:^|(?<=[:/]))(?:/|[A-Za-z]:[\\/]).*", re.DOTALL)
"""The path in the name of a model, as in `local-dir:/models/a` or `open_clip:ViT-B-32//models/a.pt`."""
_IDENTIFIES: Final = re.compile(r'(?<![\w."])("?video"?\s*\.\s*)?"?(study|patient|video_id)(?!\w)', re.IGNORECASE)
_LITERAL: Final = re.compile(r"'(?:[^']|'')*'")


@dataclass(frozen=True, slots=True)
class Picture:
    """A frame of a member's first video: `image` as the data URI of a JPEG, or None and the `reason`.

    `number` is the member's place in the cohort, from 1; by it a member is called where ids are left out.
    """

    number: int
    member: Member
    video_id: int | None
    path: str | None
    view: str | None
    image: str | None
    reason: str = ""

    def __post_init__(self) -> None:
        if (self.image is None) != bool(self.reason):
            raise ValueError("a picture has an image, or a reason why it has none")
        if self.image is not None and not self.image.startswith(_JPEG):
            raise ValueError(f"an image is the data URI of a JPEG, not {self.image[:40]!r}")


@dataclass(frozen=True, slots=True)
class Pictures:
    """Members to look at: some at random, in the cohort's order; and those nearest to being left out, nearest first."""

    random: tuple[Picture, ...] = ()
    borderline: tuple[Picture, ...] = ()


def pictures(
    cohort: Cohort, paths: Mapping[int, str], count: int, seed: int, views: Mapping[int, str | None] | None = None
) -> Pictures:
    """The middle frame of the first video of `count` random members, and of the `count` with the least margin.

    `paths` and `views` are by video id. Equal input draws equal members. Of a video that cannot be read there is a
    picture without image. BadOption for a count or seed below 0.
    """
    if count < 0 or seed < 0:
        raise BadOption(f"the count of pictures and their seed are 0 or more, not {count} and {seed}")
    by_unit = sorted(range(len(cohort.members)), key=lambda place: cohort.members[place].unit)
    random = sorted(by_unit[drawn] for drawn in np.random.default_rng(seed).permutation(len(by_unit))[:count])
    margins = sorted(
        (member.margin, member.unit, place) for place, member in enumerate(cohort.members) if member.margin is not None
    )
    borderline = [place for _, _, place in margins[:count]]
    drawn = {place: _picture(place + 1, cohort.members[place], paths, views or {}) for place in {*random, *borderline}}
    return Pictures(tuple(drawn[place] for place in random), tuple(drawn[place] for place in borderline))


def _picture(number: int, member: Member, paths: Mapping[int, str], views: Mapping[int, str | None]) -> Picture:
    if not member.video_ids:
        return Picture(number, member, None, None, None, None, "the member has no video")
    video_id = member.video_ids[0]
    path, view = paths.get(video_id), views.get(video_id)
    if path is None:
        return Picture(number, member, video_id, None, view, None, "no file is known for its first video")
    try:
        return Picture(number, member, video_id, path, view, _middle_frame(Path(path)))
    except (EchoSearchError, OSError) as error:
        return Picture(number, member, video_id, path, view, None, str(error))


def _middle_frame(path: Path) -> str:
    """Frame number n // 2 of n as a small JPEG, as a data URI."""
    media = open_media(path)
    frame = Image.fromarray(next(iter(media.frames([media.num_frames // 2]))))
    frame.thumbnail(_PICTURE)
    stream = BytesIO()
    frame.save(stream, "JPEG", quality=80)
    return _JPEG + base64.b64encode(stream.getvalue()).decode()


def write_report(output: Output, html: str) -> None:
    """Write a report as it is given."""
    with output.writing() as file:
        file.write(html.encode("utf-8", "backslashreplace"))


def render_report(
    cohort: Cohort,
    pictures: Pictures,
    with_ids: bool = False,
    with_paths: bool = False,
    audit_lines: Sequence[str] = (),
) -> str:
    """The report as HTML; equal input gives equal text. `audit_lines` say what audits of the cohort have found.

    `with_ids` shows ids of patients, studies and videos, `with_paths` where index, model and videos lie. DamagedIndex
    where the cohort's numbers do not add up.
    """
    _check(cohort)
    shown = _redacted(cohort, with_ids, with_paths)
    html = _template().render(
        cohort=shown,
        words=_in_words(cohort, with_ids),
        names_ids=not with_ids and _names_ids(cohort),
        attrition=_attrition(shown),
        table=[_table_lines(row) for row in cohort.table_one],
        sizes=_sizes(cohort.table_one),
        scores=[_score_figure(each) for each in cohort.distributions],
        measures=[_told_measure(each) for each in shown.measures],
        sheets=[
            ("Random members", _captions(pictures.random, with_ids, with_paths)),
            ("Borderline members", _captions(pictures.borderline, with_ids, with_paths)),
        ],
        has_images=any(each.image for each in (*pictures.random, *pictures.borderline)),
        has_margins=any(member.margin is not None for member in cohort.members),
        columns=sorted({name for member in cohort.members for name in member.values}),
        manifest=_manifest(shown, with_ids),
        audit_lines=audit_lines,
        with_ids=with_ids,
        with_paths=with_paths,
    )
    return html.encode("utf-8", "backslashreplace").decode()  # names that are not UTF-8 hold half characters


@cache
def _template() -> jinja2.Template:
    text = importlib.resources.files(__package__).joinpath("report.html.j2").read_text("utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": _number, "grouped": "{:,}".format, "counted": _counted}
    return environment.from_string(text)


def _check(cohort: Cohort) -> None:
    """DamagedIndex unless each step follows from the one before it, the last one is the cohort, and each bin counts."""
    steps = cohort.steps
    if steps and (steps[0].no or (steps[0].unknown and cohort.definition.level == "video")):
        raise DamagedIndex(
            f"cohort {cohort.name}: its first step is to be all units, and {steps[0].name!r} leaves some out; "
            "make the cohort again"
        )
    for before, step in pairwise(steps):
        if step.kept + step.no + step.unknown != before.kept:
            raise DamagedIndex(
                f"cohort {cohort.name}: at {step.name!r} {step.kept} units are kept, {step.no} are left out as no and "
                f"{step.unknown} as unknown, of {before.kept}; that does not add up, so make the cohort again"
            )
    if steps and steps[-1].kept != len(cohort.members):
        raise DamagedIndex(
            f"cohort {cohort.name}: {steps[-1].kept} units are left in the end, and there are {len(cohort.members)} "
            "members; make the cohort again"
        )
    if steps and steps[-1].videos != cohort.videos:
        raise DamagedIndex(
            f"cohort {cohort.name}: {steps[-1].videos} videos are left in the end, and its members have "
            f"{cohort.videos}; make the cohort again"
        )
    for each in cohort.distributions:
        bins = len(each.edges) - 1
        if each.edges and (len(each.included), len(each.excluded)) != (bins, bins):
            raise DamagedIndex(
                f"cohort {cohort.name}: the scores {each.measure} have {bins} bins and {len(each.included)} and "
                f"{len(each.excluded)} counts; make the cohort again"
            )


def _redacted(cohort: Cohort, with_ids: bool, with_paths: bool) -> Cohort:
    """The cohort without what was not asked for, in all but its members and the id of an example."""
    measures = tuple(
        replace(
            each,
            task=_without(each.task, with_ids, with_paths),
            calibration=None if each.calibration is None else _without(each.calibration, with_ids, with_paths),
        )
        for each in cohort.measures
    )
    cohort = replace(cohort, measures=measures)
    if not with_paths:
        cohort = replace(cohort, index=_LEFT_OUT, model=_without_path(cohort.model))
    if not with_ids and (like := cohort.definition.like) is not None:
        example = re.compile(rf"\b((?:video|example|like|id)\s+)#?{like}\b")
        steps = tuple(replace(step, name=example.sub(rf"\1{_LEFT_OUT}", step.name)) for step in cohort.steps)
        cohort = replace(cohort, steps=steps)
    return cohort


def _without(told: Mapping[str, Any], with_ids: bool, with_paths: bool) -> dict[str, Any]:
    """A task or calibration without the content hashes of videos, and with no folder before a file or model."""
    kept: dict[str, Any] = {}
    for key, value in told.items():
        if isinstance(value, Mapping):
            kept[key] = _without(value, with_ids, with_paths)
        elif key == "contents" and not with_ids:
            kept[key] = _LEFT_OUT
        elif key == "labels" and isinstance(value, str) and not with_paths:
            kept[key] = PureWindowsPath(value).name  # which knows the other kind of path as well
        elif key == "model" and isinstance(value, str) and not with_paths:
            kept[key] = _without_path(value)
        else:
            kept[key] = value
    return kept


def _without_path(model: str) -> str:
    return _ABSOLUTE.sub(_LEFT_OUT, model)


def _names_ids(cohort: Cohort) -> bool:
    """Whether a criterion names a study, a patient or a video, so that ids may stand in its text."""
    return any(_IDENTIFIES.search(_LITERAL.sub("''", text)) for text in (*cohort.definition.where, *cohort.criteria))


def _manifest(cohort: Cohort, with_ids: bool) -> str:
    """The manifest as JSON, its lists of numbers on one line each."""
    told = cohort.manifest()
    if not with_ids and told["definition"]["like"] is not None:
        told["definition"]["like"] = _LEFT_OUT
    text = json.dumps(told, indent=2, sort_keys=True, ensure_ascii=False)
    return re.sub(r"\[\n[-+\d.eE,\s]*\]", lambda numbers: " ".join(numbers[0].split()), text)


_PICKED: Final = {
    "first": "the first by date (those without a date come last)",
    "latest": "the latest by date (those without a date come last)",
    "best": "the most similar one",
}


def _in_words(cohort: Cohort, with_ids: bool) -> list[str]:
    """What was asked for, in sentences and in the order in which it is applied; the criteria stand beside them."""
    definition = cohort.definition
    picked = _PICKED[definition.pick]
    words = [f"A unit of this cohort is a {definition.level}."]
    if definition.level == "patient":
        words = [f"A unit of this cohort is a patient with one index study: of the studies that are left, {picked}."]
    if cohort.criteria:
        words.append(
            f"{'All criteria have' if len(cohort.criteria) > 1 else 'The criterion has'} to hold. A unit of which that "
            "cannot be decided, since a value is missing, is left out and counted as unknown."
        )
    if cohort.criteria and definition.level != "video":
        words.append(
            "One and the same video of a study has to meet all criteria; only such videos are counted as its videos."
            if definition.same_video
            else "A comparison holds for a study where it holds for any of its videos; a task has one score a study."
        )
    if definition.one_per is not None and definition.level != "patient":
        words.append(f"Of each {definition.one_per} one {definition.level} is kept: {picked}.")
    if definition.is_ranked:
        words.append(f"Of those left, the {definition.top:,} most similar to {_like(definition, with_ids)} are kept.")
    if definition.is_ranked and definition.level != "video":
        words.append("A study is as similar as the most similar one of its videos.")
    if definition.aggregates:
        rules = ", ".join(f"{task} by {rule}" for task, rule in definition.aggregates)
        words.append(f"How the videos of a study become one score was chosen by hand for: {rules}.")
    words.append(f"The seed {definition.seed} decides splits and samples, and not who is a member.")
    return words


def _like(definition: Definition, with_ids: bool) -> str:
    if definition.near:
        phrases = ", ".join(f"\u201c{phrase}\u201d" for phrase in definition.near)
        return f"the phrase {phrases}" if len(definition.near) == 1 else f"the phrases {phrases}"
    return f"the example video {definition.like}" if with_ids else "an example video, whose id is left out"


_GAP: Final = 34
_LINE: Final = 17
_SIDE_HEIGHT: Final = 78
_CODE_COLUMNS: Final = 54
_TEXT_COLUMNS: Final = 48
"""So many characters fit into a box, in a font of fixed width and in another."""


@dataclass(frozen=True, slots=True)
class _Box:
    """One box of the attrition diagram as it is drawn, with what is left out before it; lengths in SVG units."""

    top: int
    bottom: int
    height: int
    title: tuple[str, ...]
    is_code: bool
    is_last: bool
    kept: str
    holds: str
    besides: str
    left_out: str
    no: int
    unknown: int


def _attrition(cohort: Cohort) -> list[_Box]:
    """The boxes from all units to the cohort."""
    steps, level = cohort.steps, cohort.definition.level
    boxes = []
    for place, step in enumerate(steps):
        is_code = step.name in cohort.criteria
        title = _wrapped(step.name, _CODE_COLUMNS if is_code else _TEXT_COLUMNS)
        noun = _noun(step, level)
        left_out, besides = "", ""
        if place:
            left_out = _counted(step.no + step.unknown, _noun(steps[place - 1], level))
        elif step.unknown:
            besides = f"besides, {_counted(step.unknown, 'video')} of no known study"
        top = _GAP if place else 1
        bottom = top + _LINE * (len(title) + 2 + bool(besides))
        boxes.append(
            _Box(
                top=top,
                bottom=bottom,
                height=max(bottom + 1, _SIDE_HEIGHT) if place else bottom + 1,
                title=title,
                is_code=is_code,
                is_last=place == len(steps) - 1,
                kept=_counted(step.kept, noun),
                holds=_holds(step, noun),
                besides=besides,
                left_out=left_out,
                no=step.no,
                unknown=step.unknown,
            )
        )
    return boxes


def _noun(step: Step, level: Level) -> str:
    """What the units of a step are: at level patient studies, until there is one of each patient."""
    count_of = {"video": step.videos, "study": step.studies, "patient": step.patients}
    nouns = ("patient", "study") if level == "patient" else (level,)
    return next((noun for noun in nouns if count_of[noun] == step.kept), "unit")


def _holds(step: Step, noun: str) -> str:
    """What the kept units hold, other than themselves."""
    counts = {"study": step.studies, "patient": step.patients, "video": step.videos}
    return ", ".join(_counted(count, each) for each, count in counts.items() if each != noun)


def _wrapped(text: str, columns: int) -> tuple[str, ...]:
    """Lines of at most so many columns; characters that are two columns wide count as such."""
    is_wide = any(unicodedata.east_asian_width(character) in "WF" for character in text)
    return tuple(textwrap.wrap(text, columns // 2 if is_wide else columns)) or ("",)


_NOUNS: Final = {"study": "studies"}


def _counted(count: int, noun: str) -> str:
    """As in `1 study` or `2,000 videos`."""
    return f"{count:,} {noun if count == 1 else _NOUNS.get(noun, noun + 's')}"


def _number(value: float | str | None) -> str:
    """A score or threshold as it is shown."""
    if value is None:
        return "\u2013"
    return value if isinstance(value, str) else f"{value:.6g}"


@dataclass(frozen=True, slots=True)
class _TableLines:
    """An attribute of table one: lines of what, included, excluded; `note` says what is special about its values."""

    attribute: str
    known: tuple[str, str]
    lines: tuple[tuple[str, str, str], ...]
    note: str


def _table_lines(row: TableRow) -> _TableLines:
    both = (row.included, row.excluded)
    lines = []
    if any(each.mean is not None for each in both):
        lines.append(("mean (SD)", _mean(row.included), _mean(row.excluded)))
    counts = {value: max(each.counts.get(value, 0) for each in both) for each in both for value in each.counts}
    order = sorted(counts, key=lambda value: (-row.included.counts.get(value, 0), -counts[value], value))
    lines += [(value, _share(row.included, value), _share(row.excluded, value)) for value in order]
    return _TableLines(
        attribute=row.attribute,
        known=(_known(row.included), _known(row.excluded)),
        lines=tuple(lines),
        note=_note(both, bool(lines)),
    )


def _note(both: Sequence[Summary], has_lines: bool) -> str:
    if not has_lines:
        return "Its values are not listed: there are many different ones."
    if any(_is_cut(each) for each in both):
        return "Only frequent values are shown; a dash: not among the frequent ones."
    if any(sum(each.counts.values()) > each.known for each in both):
        return "A unit may have several of these, so percentages may add up to more than 100."
    return ""


def _sizes(rows: Sequence[TableRow]) -> tuple[int, int] | None:
    """How many units are included and excluded, if all rows of table one are of as many."""
    sizes = {(row.included.known + row.included.missing, row.excluded.known + row.excluded.missing) for row in rows}
    return sizes.pop() if len(sizes) == 1 else None


def _known(summary: Summary) -> str:
    return f"{summary.known:,} known, {summary.missing:,} missing"


def _mean(summary: Summary) -> str:
    """Mean and standard deviation, both to the decimals of three digits of the latter."""
    if summary.mean is None:
        return "\u2013"
    if summary.sd is None:
        return f"{summary.mean:.4g} (\u2013)"
    scale = summary.sd or abs(summary.mean) or 1.0
    decimals = min(max(2 - math.floor(math.log10(scale)), 0), 9)
    return f"{summary.mean:.{decimals}f} ({summary.sd:.{decimals}f})"


def _is_cut(summary: Summary) -> bool:
    return bool(summary.counts) and sum(summary.counts.values()) < summary.known


def _share(summary: Summary, value: str) -> str:
    """Count of a value and its percentage of those known; a dash where rare values were not counted one by one."""
    if value not in summary.counts and (_is_cut(summary) or (not summary.counts and summary.known)):
        return "\u2013"
    count = summary.counts.get(value, 0)
    return f"{count:,} ({_percent(count, summary.known)})"


def _percent(count: int, total: int) -> str:
    """One decimal, and never 0 or 100 for what is not."""
    if not total:
        return "\u2013"
    percent = 100 * count / total
    if 0 < percent < 0.1:
        return "< 0.1 %"
    return "> 99.9 %" if 99.9 < percent < 100 else f"{percent:.1f} %"


_PLOT_LEFT: Final = 46
_PLOT_RIGHT: Final = 346
_PANEL: Final = 66
_TOPS: Final = (40, 130)
"""Where the panels of included and excluded units begin."""


@dataclass(frozen=True, slots=True)
class _Panel:
    """Bars (x, y, width, height) of included or excluded units, each panel with its own scale of counts."""

    name: str
    total: int
    most: int
    top: float
    bottom: float
    bars: tuple[tuple[float, float, float, float], ...]


@dataclass(frozen=True, slots=True)
class _ScoreFigure:
    """A distribution as it is drawn; `ticks` are x and text, `line` is where the threshold stands.

    `anchor` puts the threshold's name at its line, `is_right` the panels' names away from it.
    """

    told: Distribution
    panels: tuple[_Panel, ...]
    ticks: tuple[tuple[float, str], ...]
    line: float | None
    anchor: str
    is_right: bool


def _score_figure(told: Distribution) -> _ScoreFigure:
    if not told.edges:
        return _ScoreFigure(told, (), (), None, "middle", False)
    ends = [told.edges[0], told.edges[-1], *([] if told.threshold is None else [told.threshold])]
    low, high = min(ends), max(ends)
    if low == high:
        low, high = low - 0.5, high + 0.5

    def at(value: float) -> float:
        return round(_PLOT_LEFT + (value - low) / (high - low) * (_PLOT_RIGHT - _PLOT_LEFT), 2)

    lefts = [at(edge) for edge in told.edges]
    line = None if told.threshold is None else at(told.threshold)
    return _ScoreFigure(
        told=told,
        panels=tuple(
            _panel(name, counts, lefts, top)
            for name, counts, top in zip(("included", "excluded"), (told.included, told.excluded), _TOPS, strict=True)
        ),
        ticks=tuple((at(value), f"{value:.6g}") for value in _ticks(low, high)),
        line=line,
        anchor=_anchor(line),
        is_right=line is not None and line < (_PLOT_LEFT + _PLOT_RIGHT) / 2,
    )


def _panel(name: str, counts: Sequence[int], lefts: Sequence[float], top: float) -> _Panel:
    most = max(counts, default=0)
    heights = [round(_PANEL * count / most, 2) if count else 0.0 for count in counts]
    bars = tuple(
        (left, round(top + _PANEL - height, 2), round(max(right - left, 1.5), 2), height)
        for (left, right), height in zip(pairwise(lefts), heights, strict=True)
        if height
    )
    return _Panel(name, sum(counts), most, top, top + _PANEL, bars)


def _anchor(line: float | None) -> str:
    """How the threshold's name stands to its line, so that it stays in the picture."""
    if line is None or _PLOT_LEFT + 70 < line < _PLOT_RIGHT - 70:
        return "middle"
    return "start" if line <= _PLOT_LEFT + 70 else "end"


def _ticks(low: float, high: float) -> list[float]:
    """At most six round numbers from low to high."""
    rough = (high - low) / 5
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(number * step, 12) + 0.0 for number in range(first, last + 1)]


@dataclass(frozen=True, slots=True)
class _ToldMeasure:
    """A measure with what is said of it line by line."""

    told: Measure
    lines: tuple[tuple[str, str], ...]


_KINDS: Final = {
    "value": "the value that the task gives",
    "p": "the probability by the calibration",
    "yes": "yes or no, decided by a threshold on the score",
}


def _told_measure(measure: Measure) -> _ToldMeasure:
    lines = [
        ("Task", f"{measure.task_name} ({measure.form} form), content {measure.content_id[:16]}"),
        ("Used as", _KINDS[measure.kind] + (f"; column {measure.column}" if measure.column else "")),
        ("Validation", measure.validated or "none: the wording has been tried on no patients"),
        ("Views", ", ".join(measure.views) or "all"),
        ("Videos to one score", measure.aggregate),
        ("Threshold", _threshold(measure)),
        ("Calibration", _calibration(measure.calibration)),
    ]
    return _ToldMeasure(measure, tuple(lines))


def _threshold(measure: Measure) -> str:
    if measure.threshold is None:
        return measure.origin or "none"
    side = "low scores are in" if measure.below else "high scores are in"
    value = f"{repr(measure.threshold).removesuffix('.0')} {measure.unit}".rstrip()
    return f"{value}; {side}; origin: {measure.origin or 'not told'}"


def _calibration(told: Mapping[str, Any] | None) -> str:
    """Of what a calibration was made and how good it was, as far as it says."""
    if told is None:
        return "none: the score stands as the model gives it"
    parts = [str(told.get("name", "")), f"of the score: {told['scale']}" if told.get("scale") else ""]
    if "labels" in told:
        parts.append(f"labels {told['labels']}" + (f", split {told['split']}" if told.get("split") else ""))
    counts = [f"{told[key]:,} {key}" for key in ("videos", "positives", "patients") if told.get(key) is not None]
    parts.append(", ".join(counts))
    figures = [f"{key} {told[key]:.3g}" for key in ("sensitivity", "specificity") if told.get(key) is not None]
    parts.append(", ".join(figures) + (" on patients left out" if figures else ""))
    return "; ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class _Caption:
    """What stands below a picture: the member's name, then further lines."""

    image: str | None
    reason: str
    name: str
    lines: tuple[str, ...]


def _captions(chosen: Sequence[Picture], with_ids: bool, with_paths: bool) -> list[_Caption]:
    return [_caption(each, with_ids, with_paths) for each in chosen]


def _caption(picture: Picture, with_ids: bool, with_paths: bool) -> _Caption:
    member = picture.member
    lines = [picture.view or "view not known"]
    lines.append("no margin" if member.margin is None else f"margin {member.margin:.3g} SD")
    if with_ids:
        told = {"unit": member.unit, "study": member.study, "patient": member.patient, "video": picture.video_id}
        lines += [f"{key} {value}" for key, value in told.items() if value is not None]
    if with_paths and picture.path is not None:
        lines.append(picture.path)
    reason = picture.reason if with_paths or not _tells_path(picture) else "its video cannot be read"
    return _Caption(picture.image, reason, f"member {picture.number}", tuple(lines))


def _tells_path(picture: Picture) -> bool:
    """Whether a decoder's sentence may name the file or a part of its path."""
    if "/" in picture.reason or "\\" in picture.reason:
        return True
    name = "" if picture.path is None else re.escape(Path(picture.path).stem)
    return bool(name) and re.search(rf"(?<!\w){name}(?!\w)", picture.reason) is not None
