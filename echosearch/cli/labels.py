"""The options that say what labels are and how they are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from echosearch.cli.options import FilePath

if TYPE_CHECKING:
    from echosearch.learning import LabelFile

Command = TypeVar("Command", bound=Callable[..., Any])


def label_options(command: Command) -> Command:
    """`--labels` and how to read them; the command gets them as `label_file`, `key`, `label_column`, ..."""
    for option in (
        click.option("--split", metavar="NAME", help="Only rows whose column split says so, such as TEST."),
        click.option(
            "--positive",
            metavar="VALUES",
            help="Values of the label that mean yes, separated by commas, such as moderate,severe. All others mean no.",
        ),
        click.option("--label-column", metavar="COLUMN", help="The column with the label. Default: the only one left."),
        click.option(
            "--key",
            metavar="KIND",
            help="What a row is about: video_id, video, study or patient, a column with such a name, or COLUMN=KIND. "
            "Default: the first of these that the file has.",
        ),
        click.option(
            "--labels",
            "label_file",
            type=FilePath(dir_okay=False),
            metavar="FILE",
            help="A CSV with a header line, a key column and a label column; also EchoNet's FileList.csv.",
        ),
    ):
        command = option(command)
    return command


def labels_of(
    label_file: Path | None, key: str | None, label_column: str | None, positive: str | None, split: str | None
) -> LabelFile:
    """The labels that the options name. BadOption without --labels."""
    from echosearch.errors import BadOption
    from echosearch.learning import read_labels

    if label_file is None:
        raise BadOption("labels are needed: --labels FILE, a CSV with a key column and a label column")
    return read_labels(label_file, key, label_column, split, positive)


class_option = click.option(
    "--class",
    "classes",
    multiple=True,
    metavar="CLASS",
    help="Which class of the task counts as yes. May be repeated. Default for two classes: the first.",
)
