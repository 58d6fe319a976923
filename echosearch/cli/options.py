"""Options that several commands share, with one wording each, and how the index that they name is opened.

Imports the rest late, so that `--help` is quick.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from echosearch.errors import BadOption, BadQuery, shown
from echosearch.search import Example, Phrase
from echosearch.types import LARGEST, FrameSampling, finite, whole

if TYPE_CHECKING:
    from echosearch.api import Index
    from echosearch.types import Device, Precision, ProgressListener

Command = TypeVar("Command", bound=Callable[..., Any])

_WEIGHED: Final = re.compile(r"(.*\S)\^(\d+\.?\d*|\.\d+)", re.DOTALL)
_ENDS_IN_A_LETTER: Final = re.compile(r".*\D\^[^^]*", re.DOTALL)
"""Before the caret: 10^3 is a number of the phrase itself."""

_NO_WEIGHT: Final = re.compile(r".*[^\d\s]\s*\^\s*([-+]\s*[\d.]+|[\d.]+\s+|)\s*", re.DOTALL)
_MOMENT: Final = re.compile(r"(.+)@(\d+\.?\d*|\.\d+)s", re.DOTALL)


class Finite(click.ParamType):  # type: ignore[type-arg]  # click below 8.4 has no [...] here
    """A number from `low` to `high` that is neither nan nor infinite."""

    name = "number"
    _read: Callable[[Any], Any] = float
    _check: Callable[..., Any] = staticmethod(finite)

    def __init__(self, low: float = -math.inf, high: float = math.inf) -> None:
        self._low, self._high = low, high

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number, or a usage error."""
        try:
            return self._check("it", self._read(value), self._low, self._high)
        except ValueError:  # no number, or one of thousands of digits
            self.fail(f"{str(value)[:40]!r} is not a {self._check.__name__} number", param, ctx)
        except BadOption as error:
            self.fail(str(error), param, ctx)


class Prevalence(Finite):
    """A share from 0 to 1, or the word estimate."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The share or the word, or a usage error."""
        return value if value == "estimate" else super().convert(value, param, ctx)


class Whole(Finite):
    """A whole number from `low` to `high`: an id, a count, a seed."""

    _read = int
    _check = staticmethod(whole)

    def __init__(self, low: int = -LARGEST, high: int = LARGEST) -> None:
        super().__init__(low, high)
        self.name = "integer" if high == LARGEST else f"{low}..{high}"


class FilePath(click.Path):
    """A path of any bytes. An empty one, as an unset variable leaves it, is refused: it would be the current folder."""

    def __init__(self, **what: bool) -> None:
        super().__init__(path_type=Path, **what)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path, or a usage error."""
        if not value:
            self.fail("the path is empty", param, ctx)
        return super().convert(value, param, ctx)


class IdOrFile(click.ParamType):  # type: ignore[type-arg]
    """The id of a video (digits only), or a path."""

    name = "id|file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | Path:
        """The id or the path, or a usage error."""
        kind: click.ParamType = Whole(1) if str(value).isdecimal() else FilePath()  # type: ignore[type-arg]
        return kind.convert(value, param, ctx)  # type: ignore[no-any-return]


class PhraseType(click.ParamType):  # type: ignore[type-arg]
    """A phrase, or PHRASE^WEIGHT."""

    name = "phrase"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Phrase:
        """The phrase with its weight. BadQuery for one that is empty."""
        if isinstance(value, Phrase):
            return value
        text, weight = _and_weight(value) if _ENDS_IN_A_LETTER.fullmatch(value) else (value, 1.0)
        if weight == 1 and _NO_WEIGHT.fullmatch(value):
            raise BadQuery(f"a weight is a number above 0 at the end, as in 'PACER LEAD^2'; {shown(value)} has none")
        return Phrase(text, weight)


class ExampleType(click.ParamType):  # type: ignore[type-arg]
    """Digits are the id of a video, all else is a path; either with @SECONDSs for a moment, and ^WEIGHT."""

    name = "example"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Example:
        """The example, or a usage error."""
        if isinstance(value, Example):
            return value
        is_id = value[:1].isdecimal() and re.fullmatch(r"\d+(@.*|\^.*)?", value) is not None
        text, weight = (value, 1.0) if Path(value).exists() and not is_id else _and_weight(value)
        moment = None if Path(text).exists() and not is_id else _MOMENT.fullmatch(text)
        video, second = (text, None) if moment is None else (moment[1], float(moment[2]))
        return Example(IdOrFile().convert(video, param, ctx), second, weight)


def _and_weight(text: str) -> tuple[str, float]:
    weighed = _WEIGHED.fullmatch(text)
    return (text, 1.0) if weighed is None else (weighed[1], float(weighed[2]))


class SamplingType(click.ParamType):  # type: ignore[type-arg]
    """A frame sampling: all, even:N or START:STOP:STRIDE."""

    name = "sampling"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> FrameSampling:
        """The sampling, or a usage error."""
        try:
            return value if isinstance(value, FrameSampling) else FrameSampling.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class MappingType(click.ParamType):  # type: ignore[type-arg]
    """COLUMN=FIELD."""

    name = "column=field"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """The two parts, or a usage error."""
        column, separator, field = str(value).rpartition("=")
        if not separator or not column or not field:
            self.fail(f"{value!r} is not COLUMN=FIELD", param, ctx)
        return column, field


def options(*each: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several options as one, in the order of `--help`."""

    def decorate(command: Command) -> Command:
        for option in reversed(each):
            command = option(command)
        return command

    return decorate


index_option = click.option(
    "--index",
    "index",
    metavar="PATH",
    help="The index folder. Default: $ECHOSEARCH_INDEX, else indexes/default.",
)
wait_option = click.option(
    "--wait",
    type=Finite(0, 1e6),
    default=0.0,
    metavar="SECONDS",
    help="Wait this long while another process writes to the index.  [default: not at all]",
)
force_option = click.option(
    "--force",
    is_flag=True,
    help="Replace an existing file; files of the index and of its source folders are never replaced.",
)

_OUTPUTS: Final = {
    "json": "Print JSON.",
    "csv": "Print CSV with a header line.",
    "paths": "Print only paths, one per line.",
}


def output_option(*kinds: str) -> Callable[[Command], Command]:
    """`--json`, `--csv`, `--paths`: how to print; a table otherwise."""
    return options(*(click.option(f"--{kind}", "output", flag_value=kind, help=_OUTPUTS[kind]) for kind in kinds))


def map_option(which: str) -> Callable[[Command], Command]:
    """`--map`; `which` begins its help."""
    return click.option(
        "--map",
        "column_map",
        multiple=True,
        type=MappingType(),
        metavar="COLUMN=FIELD",
        help=f"{which} is path, study, patient, view or acquired_at. May be repeated.",
    )


model_option = click.option(
    "--model",
    metavar="WHERE",
    help="Where the weights of the index's model lie now, such as local-dir:PATH. Default: where they lay at ingest.",
)
model_runtime_options = options(
    click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "cuda"]),
        default="auto",
        show_default=True,
        help="Where the model runs; auto uses cuda if there is one.",
    ),
    click.option(
        "--precision",
        type=click.Choice(["fp32", "bf16", "fp16"]),
        default="fp32",
        show_default=True,
        help="Arithmetic of the model. Scores are float32 in any case.",
    ),
)
unwanted_options = options(
    click.option(
        "--not",
        "without",
        multiple=True,
        type=PhraseType(),
        metavar="PHRASE",
        help="Rank videos that match this phrase lower. May be repeated.",
    ),
    click.option(
        "--unlike",
        multiple=True,
        type=ExampleType(),
        metavar="EXAMPLE",
        help="Rank videos that look like this one lower. May be repeated.",
    ),
)
"""What ranks away from something: the same wherever there is a ranking."""

ranking_options = options(
    click.option(
        "--near",
        multiple=True,
        type=PhraseType(),
        metavar="PHRASE",
        help="Rank by similarity to report phrases (with --top). PHRASE^2 has twice the weight.",
    ),
    click.option(
        "--like",
        multiple=True,
        type=ExampleType(),
        metavar="EXAMPLE",
        help="Rank by similarity to videos of the index, such as 17, or 17@1.2s for a moment (with --top).",
    ),
    unwanted_options,
)
"""By what a cohort's units are ranked."""

question_options = options(
    unwanted_options,
    click.option(
        "--exclude",
        multiple=True,
        type=click.Choice(["study", "patient", "content"]),
        help="Leave out videos of an example's study or patient, or with its bytes. May be repeated.",
    ),
    click.option(
        "--level",
        type=click.Choice(["video", "study", "patient"]),
        default="video",
        show_default=True,
        help="What is one hit. For a study or patient its best video stands, and --where is asked of studies.",
    ),
    click.option(
        "--per", type=click.Choice(["study", "patient"]), help="Keep only the best hit of each study or patient."
    ),
    click.option("-k", type=Whole(1), default=10, show_default=True, help="Number of hits."),
    click.option("--offset", type=Whole(), default=0, metavar="N", help="Leave out the N best hits."),
    click.option("--min-score", type=Finite(), metavar="S", help="Leave out hits that score less."),
)
sheet_options = options(
    click.option(
        "--contact-sheet",
        type=FilePath(dir_okay=False),
        metavar="PNG",
        help="Also write a picture with the best-matching frame of each hit.",
    ),
    force_option,
)
_ALL_VIEWS: Final = "all_views"
where_option = options(
    click.option(
        "--where",
        multiple=True,
        metavar="CONDITION",
        help="Only videos for which this is true, such as \"view = 'A4C' AND attr.age >= 18\". Repeated, all must be "
        "true. A missing value makes a condition unknown, and unknown is out (see README, Filters).",
    ),
    click.option(
        "--all-views",
        is_flag=True,
        expose_value=False,
        callback=lambda context, _, value: context.meta.update({_ALL_VIEWS: value}),
        help="Also use videos whose view is not known. By default, tasks that are seen only in some views have no "
        "value for them. A sweep then also reports on videos of other views.",
    ),
)
"""`--where`, and `--all-views`, which `open_index` looks up."""

sweep_missing_option = click.option(
    "--sweep-missing", is_flag=True, help="First sweep the tasks that --where names, for videos without a score."
)


def column_fields(column_map: Sequence[tuple[str, str]]) -> dict[str, str]:
    """`--map` as a dict. BadOption when a column is given two fields."""
    fields = dict(column_map)
    for column, field in column_map:
        if fields[column] != field:
            raise BadOption(f"--map gives {column} twice: {field} and {fields[column]}")
    return fields


def open_index(
    index: str | None, model: str | None = None, device: Device = "auto", precision: Precision = "fp32"
) -> Index:
    """The index at --index, else the default one, as `echosearch.api.open_index` opens it."""
    from echosearch.api import open_index as opened

    return opened(index, model, device, precision, click.get_current_context().meta.get(_ALL_VIEWS, False))


def sweep_named(opened: Index, where: Sequence[str], wanted: bool, wait: float = 0.0) -> None:
    """With --sweep-missing: first score what the conditions need."""
    if not wanted:
        return
    if not where:
        raise BadOption("--sweep-missing goes with --where")
    print_swept(lambda listener: opened.cohorts.sweep_missing(where, wait, listener))


def print_swept(run: Callable[[ProgressListener], Sequence[str]]) -> None:
    """Sweep with a progress bar, then print which tasks were swept."""
    from echosearch.cli.render import progress

    with progress() as listener:
        swept = run(listener)
    click.echo(f"swept now: {', '.join(swept) or 'nothing was missing'}", err=True)
