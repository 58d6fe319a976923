"""A cohort as one HTML file, for the supplement of a paper. Knows values and videos, no index.

The file needs no network and no script. Ids of patients, studies and videos and paths stand in it only if asked for;
so do columns that may identify somebody (`identifying`); what the user wrote about it stands there as it was written.
"""

from __future__ import annotations

import base64
import importlib.resources
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import jinja2
import numpy as np
from PIL import Image

from echosearch.cohort import (
    IDS,
    Cohort,
    Definition,
    Distribution,
    Measure,
    Member,
    Summary,
    TableRow,
    identifying,
    manifest_of,
    redacted,
    without_identifiers,
)
from echosearch.errors import BadOption, DamagedIndex, EchoSearchError
from echosearch.learning import assumption, figures
from echosearch.outputs import Output
from echosearch.pictures.plots import COLOURS, as_svg, new_figure
from echosearch.search import Example, Level, Phrase, Step
from echosearch.video import open_media

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PICTURE: Final = (224, 224)
_JPEG: Final = "data:image/jpeg;base64,"
_SVG: Final = "data:image/svg+xml;base64,"


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


def write_page(output: Output, html: str) -> None:
    """Write a page as it is given."""
    with output.writing() as file:
        file.write(html.encode("utf-8", "backslashreplace"))


def render_page(
    cohort: Cohort,
    pictures: Pictures,
    with_ids: bool = False,
    with_paths: bool = False,
    audit_lines: Sequence[str] = (),
    show: Sequence[str] = (),
) -> str:
    """The page as HTML; equal input gives equal text. `audit_lines` say what audits of the cohort have found.

    `with_ids` shows ids of patients, studies and videos, `with_paths` where index, model and videos lie, `show` columns
    that may identify somebody. DamagedIndex where the cohort's numbers do not add up, BadOption for a column to show
    that the cohort does not have.
    """
    _check(cohort)
    hidden = {name for name in identifying(cohort, show) if not with_ids or name.lower() not in IDS}
    shown = redacted(without_identifiers(cohort, hidden), with_ids, with_paths)
    html = _template().render(
        cohort=shown,
        sizes=_sizes(cohort.table_one),
        scores=[(each, _chart(each) if each.edges else None) for each in cohort.distributions],
        pictures=pictures,
        has_images=any(each.image for each in (*pictures.random, *pictures.borderline)),
        has_margins=any(member.margin is not None for member in cohort.members),
        columns=sorted({name for member in shown.members for name in member.values}),
        manifest=_manifest(shown, with_ids),
        audit_lines=audit_lines,
        hidden=sorted(hidden),
        with_ids=with_ids,
        with_paths=with_paths,
    )
    return html.encode("utf-8", "backslashreplace").decode()  # names that are not UTF-8 hold half characters


def _similar(definition: Definition, with_ids: bool) -> str:
    """To what members are similar, and to what they are not."""
    wanted = " and ".join(_phrases(definition.near) + _examples(definition.like, with_ids))
    unwanted = " and ".join(_phrases(definition.without) + _examples(definition.unlike, with_ids))
    return f"{wanted}, away from {unwanted}" if unwanted else wanted


def _phrases(phrases: Sequence[str | Phrase]) -> list[str]:
    texts = [f"“{each}”" if isinstance(each, str) else f"“{each.text}” (weight {each.weight:g})" for each in phrases]
    return [f"the phrase{'s' if len(texts) > 1 else ''} {', '.join(texts)}"] if texts else []


def _examples(examples: Sequence[int | Example], with_ids: bool) -> list[str]:
    several = len(examples) > 1
    if not with_ids:
        hidden = "example videos, whose ids are left out" if several else "an example video, whose id is left out"
        return [hidden] if examples else []
    texts = [str(each if isinstance(each, int) else each.name) for each in examples]
    return [f"the example video{'s' if several else ''} {', '.join(texts)}"] if texts else []


@cache
def _template() -> jinja2.Template:
    text = importlib.resources.files(__package__).joinpath("cohort_page.html.j2").read_text("utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "number": _number, "grouped": "{:,}".format, "counted": _counted, "units": _noun, "holds": _holds,
        "similar": _similar, "lines": _lines, "note": _note, "threshold": _threshold, "calibration": _calibration,
        "reason": _reason,
    }  # fmt: skip
    return environment.from_string(text)


def _check(cohort: Cohort) -> None:
    """DamagedIndex unless each step follows from the one before it, the last one is the cohort, and each bin counts."""
    for problem in _problems(cohort):
        raise DamagedIndex(f"cohort {cohort.name}: {problem} make the cohort again")


def _problems(cohort: Cohort) -> Iterator[str]:
    steps = cohort.steps
    if steps and (steps[0].no or (steps[0].unknown and cohort.definition.level == "video")):
        yield f"its first step is to be all units, and {steps[0].name!r} leaves some out;"
    for before, step in pairwise(steps):
        if step.kept + step.no + step.unknown != before.kept:
            yield (
                f"at {step.name!r} {step.kept} units are kept, {step.no} are left out as no and {step.unknown} as "
                f"unknown, of {before.kept}; that does not add up, so"
            )
    if steps and steps[-1].kept != len(cohort.members):
        yield f"{steps[-1].kept} units are left in the end, and there are {len(cohort.members)} members;"
    if steps and steps[-1].videos != cohort.videos:
        yield f"{steps[-1].videos} videos are left in the end, and its members have {cohort.videos};"
    for each in cohort.distributions:
        bins, counts = len(each.edges) - 1, (len(each.included), len(each.excluded))
        if each.edges and counts != (bins, bins):
            yield f"the scores {each.measure} have {bins} bins and {counts[0]} and {counts[1]} counts;"


def _manifest(cohort: Cohort, with_ids: bool) -> str:
    """The manifest as JSON, its lists of numbers on one line each."""
    text = json.dumps(manifest_of(cohort, with_ids), indent=2, sort_keys=True, ensure_ascii=False)
    return re.sub(r"\[\n[-+\d.eE,\s]*\]", lambda numbers: " ".join(numbers[0].split()), text)


def _noun(step: Step, level: Level) -> str:
    """What the units of a step are: at level patient studies, until there is one of each patient."""
    count_of = {"video": step.videos, "study": step.studies, "patient": step.patients}
    nouns = ("patient", "study") if level == "patient" else (level,)
    return next((noun for noun in nouns if count_of[noun] == step.kept), "unit")


def _holds(step: Step, level: Level) -> str:
    """What the kept units hold, other than themselves."""
    noun = _noun(step, level)
    counts = {"study": step.studies, "patient": step.patients, "video": step.videos}
    return ", ".join(_counted(count, each) for each, count in counts.items() if each != noun)


_NOUNS: Final = {"study": "studies"}


def _counted(count: int, noun: str) -> str:
    """As in `1 study` or `2,000 videos`."""
    return f"{count:,} {noun if count == 1 else _NOUNS.get(noun, noun + 's')}"


def _number(value: float | str | None) -> str:
    """A score or threshold as it is shown."""
    if value is None:
        return "\u2013"
    return value if isinstance(value, str) else f"{value:.6g}"


def _lines(row: TableRow) -> list[tuple[str, str, str]]:
    """Of an attribute of table one: what, of the included, of the excluded."""
    both = (row.included, row.excluded)
    lines = []
    if any(each.mean is not None for each in both):
        lines.append(("mean (SD)", _mean(row.included), _mean(row.excluded)))
    counts = {value: max(each.counts.get(value, 0) for each in both) for each in both for value in each.counts}
    order = sorted(counts, key=lambda value: (-row.included.counts.get(value, 0), -counts[value], value))
    return lines + [(value, _share(row.included, value), _share(row.excluded, value)) for value in order]


def _note(row: TableRow) -> str:
    """What is special about the values of an attribute."""
    both = (row.included, row.excluded)
    if not any(each.counts or each.mean is not None for each in both):
        return "Its values are not listed: there are many different ones, or they may say who somebody is."
    if any(_is_cut(each) for each in both):
        return "Only frequent values are shown; a dash: not among the frequent ones."
    if any(sum(each.counts.values()) > each.known for each in both):
        return "A unit may have several of these, so percentages may add up to more than 100."
    return ""


def _sizes(rows: Sequence[TableRow]) -> tuple[int, int] | None:
    """How many units are included and excluded, if all rows of table one are of as many."""
    sizes = {(row.included.known + row.included.missing, row.excluded.known + row.excluded.missing) for row in rows}
    return sizes.pop() if len(sizes) == 1 else None


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


def _chart(scores: Distribution) -> str:
    return _SVG + base64.b64encode(as_svg(draw_scores(scores))).decode()


def draw_scores(scores: Distribution) -> Figure:
    """Bars of the included units above those of the excluded ones, each with a scale of counts of its own."""
    figure = new_figure(4.3, 2.7)
    panels = figure.subplots(2, 1, sharex=True)
    shown = (("included", scores.included, COLOURS[0]), ("excluded", scores.excluded, "#a3adb5"))
    for axes, (name, counts, colour) in zip(panels, shown, strict=True):
        axes.stairs(counts, scores.edges, fill=True, facecolor=colour, edgecolor=colour, linewidth=0.5)
        axes.set_title(f"{name}, {sum(counts):,} with a score", loc="left", fontsize=9)
        axes.set_ylim(0, max(counts) or 1)
        axes.set_yticks(sorted({0, max(counts)}))
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.ticklabel_format(axis="x", useOffset=False)
        axes.tick_params(labelsize=8.5)
        axes.spines[["top", "right"]].set_visible(False)
        if scores.threshold is not None:
            axes.axvline(scores.threshold, color=COLOURS[1], linestyle="--", linewidth=1.2)
    if scores.threshold is not None:
        panels[0].set_title(f"threshold {_number(scores.threshold)}", loc="right", fontsize=9, color=COLOURS[1])
    return figure


def _threshold(measure: Measure) -> str:
    if measure.threshold is None:
        return measure.origin or "none"
    side = "low scores are in" if measure.below else "high scores are in"
    value = f"{repr(measure.threshold).removesuffix('.0')} {measure.unit}".rstrip()
    return f"{value}; {side}; origin: {measure.origin or 'not recorded'}"


def _calibration(made: Mapping[str, Any] | None) -> str:
    """Of what a calibration was made and how good it was, as far as it says."""
    if made is None:
        return "none: the score stands as the model gives it"
    parts = [str(made.get("name", "")), f"of the score: {made['scale']}" if made.get("scale") else ""]
    if "labels" in made:
        parts.append(f"labels {made['labels']}" + (f", split {made['split']}" if made.get("split") else ""))
    counts = [f"{made[key]:,} {key}" for key in ("videos", "positives", "patients") if made.get(key) is not None]
    parts.append(", ".join(counts))
    if "left_out" in made:
        judged = (f"{name} {each.sentence}" for name, each in figures(made["left_out"]).items())
        parts.append(f"on patients left out {', '.join(judged)}")
    return "; ".join(part for part in (*parts, assumption(made)) if part)


def _reason(picture: Picture, with_paths: bool) -> str:
    """Why there is no picture, in a sentence that names no path unasked."""
    return picture.reason if with_paths or not _tells_path(picture) else "its video cannot be read"


def _tells_path(picture: Picture) -> bool:
    """Whether a decoder's sentence may name the file or a part of its path."""
    if "/" in picture.reason or "\\" in picture.reason:
        return True
    name = "" if picture.path is None else re.escape(Path(picture.path).stem)
    return bool(name) and re.search(rf"(?<!\w){name}(?!\w)", picture.reason) is not None
