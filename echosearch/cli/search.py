"""`echosearch search` and `echosearch similar`: one question, asked by phrases or by examples first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from echosearch.cli import render
from echosearch.cli.options import (
    ExampleType,
    PhraseType,
    index_option,
    model_option,
    model_runtime_options,
    open_index,
    options,
    output_option,
    question_options,
    sheet_options,
    sweep_missing_option,
    sweep_named,
    where_option,
)
from echosearch.errors import BadOption
from echosearch.search import Example, Question, Term

if TYPE_CHECKING:
    from echosearch.api import Index
    from echosearch.outputs import Output

_OF_THE_QUESTION = (
    *("phrases", "like", "without", "unlike", "score", "exclude", "where", "level", "per", "k", "offset", "min_score"),
)


_CALLED: Final = {"phrases": "PHRASE", "without": "--not", "k": "-k"}
_question = options(
    question_options,
    where_option,
    sweep_missing_option,
    index_option,
    sheet_options,
    model_option,
    model_runtime_options,
    output_option("json", "csv", "paths"),
)


@click.command()
@click.argument("phrases", nargs=-1, metavar="PHRASE...", type=PhraseType())
@click.option(
    "--like", multiple=True, type=ExampleType(), metavar="EXAMPLE", help="Rank videos that look like this one higher."
)
@click.option(
    "--score",
    type=click.Choice(["cosine", "mean"]),
    default="cosine",
    show_default=True,
    help="mean: the inner product with the mean frame embedding as it is (EchoCLIP-R's published form).",
)
@click.option(
    "--question", metavar="TEXT", help="A whole question as answers write it (query.text in --json). It goes alone."
)
@_question
@click.pass_context
def search(context: click.Context, /, question: str | None, phrases: tuple[Term, ...], **given: Any) -> None:
    """Find videos by report phrases; several phrases are averaged, and examples count like phrases.

    Scores of different questions are not comparable: the percentile says what share of all videos scores no
    higher for this one. The frame is the 0-based one of the file that matches best.

    EXAMPLE is the id of a video, a file, or a moment of either: 17, new.avi, 17@1.2s. A weight follows ^, as in
    "PACER LEAD^2" and 17^0.5. The score is called `mixed` where an example stands beside other terms.

    \b
    Example:
      echosearch search "SEVERE LV DILATION" -k 5
      echosearch search "PACER LEAD IN THE RIGHT VENTRICLE" --not "MITRAL CLIP" --json
      echosearch search "MITRAL CLIP" --like 17 --unlike 51 --level study --per patient
    """  # fmt: skip
    if question is None:
        if not (phrases or given["like"]):
            raise click.MissingParameter(ctx=context, param=context.command.params[0])
        _answer((*phrases, *given.pop("like")), given)
        return
    for name in _OF_THE_QUESTION:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            called = _CALLED.get(name, f"--{name.replace('_', '-')}")
            raise BadOption(f"--question says all that is asked; leave {called} out, or write it into the question")
    _answer_question(Question.parse(question), given)


@click.command()
@click.argument("examples", nargs=-1, required=True, metavar="EXAMPLE...", type=ExampleType())
@_question
def similar(examples: tuple[Example, ...], **given: Any) -> None:
    """Find videos that look like examples: videos of the index by id, any video files, or moments of them.

    EXAMPLE is the id of a video, a file, or a moment of either: 17, new.avi, 17@1.2s. A weight follows ^, as in
    17^0.5. Several are averaged. A video asked for by id is left out of the hits; copies of it are not (--exclude
    content).

    \b
    Example:
      echosearch similar 17 --exclude patient
      echosearch similar 17 23 --unlike 51 --not "MITRAL CLIP"
      echosearch similar new.avi -k 5 --contact-sheet alike.png
    """  # fmt: skip
    _answer(examples, given | {"score": "cosine"})


def _answer(wanted: tuple[Term, ...], given: dict[str, Any]) -> None:
    question = Question(
        wanted=wanted,
        unwanted=(*given["without"], *given["unlike"]),
        **{name: given[name] for name in ("where", "exclude", "level", "per", "k", "offset", "min_score", "score")},
    )
    _answer_question(question, given)


def _answer_question(question: Question, given: dict[str, Any]) -> None:
    opened = open_index(given["index"], given["model"], given["device"], given["precision"])
    sheet = _sheet(opened, given["contact_sheet"], given["force"], question)
    sweep_named(opened, question.where, given["sweep_missing"])
    result, output = opened.ask(question), given["output"]
    render.print_result(result, output)
    if sheet is None:
        return
    from echosearch.pictures import write_contact_sheet

    for warning in write_contact_sheet(sheet, question.ranking, result.hits, result.warnings):
        click.echo(f"note: {render.printable(warning)}", err=True)
    click.echo(f"contact sheet {render.printable(str(sheet.path))}", err=output is not None)


def _sheet(opened: Index, path: Path | None, force: bool, question: Question) -> Output | None:
    if path is None and force:
        raise BadOption("--force goes with --contact-sheet PNG")
    inputs = [example.video for example in question.examples if isinstance(example.video, Path)]
    return None if path is None else opened.output(path, "the contact sheet", ".png", force, inputs)
