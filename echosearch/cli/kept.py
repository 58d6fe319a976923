"""`list`, `show`, `export`, `import` and `delete` of what is learnt from labels and kept in an index.

Knows how such things are printed and carried from index to index, and not what they are: that each kind says itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar, cast

import click

from echosearch.cli import render
from echosearch.cli.options import Command, FilePath, force_option, index_option, open_index, output_option, wait_option
from echosearch.errors import BadOption
from echosearch.files import refuse_device

if TYPE_CHECKING:
    from echosearch.api.zeroshot import ZeroShot
    from echosearch.index import FittedKind
    from echosearch.learning import Calibration, Probe

Made = TypeVar("Made", bound="Calibration | Probe")


@dataclass(frozen=True, slots=True)
class Kept(Generic[Made]):
    """A kind of thing that is learnt and kept: its words, and what is done with it.

    `helps` are sentences by command, `example` a name and `file` that of an export in them; `hint` says what makes a
    first one; `called` is how sentences call one; `row` has a value for each of the `columns`; `lines` are all that is
    said of one, with a word before each; `key` makes the name under which one is kept of the name that was typed.
    """

    noun: FittedKind
    hint: str
    example: str
    file: str
    helps: Mapping[str, str]
    columns: Sequence[str]
    right: Sequence[str]
    all: Callable[[ZeroShot], Sequence[Made]]
    find: Callable[[ZeroShot, str], Made]
    add: Callable[[ZeroShot, Made, bool, float], None]
    called: Callable[[Made], str]
    row: Callable[[Made], Sequence[object]]
    lines: Callable[[Made], dict[str, str]]
    key: Callable[[str], str] = str

    def print_new(self, made: Made, warnings: Sequence[str], output: str | None) -> None:
        """One that was learnt just now."""
        notes = (f"note: {warning}" for warning in warnings)
        render.answer(output, made.new(warnings), [*notes, *render.fact_lines(self.lines(made))])


def replace_option(noun: str) -> Callable[[Command], Command]:
    """`--replace`: whether one of the same name makes way."""
    return click.option("--replace", is_flag=True, help=f"Replace a {noun} of the same name.")


def add_commands(group: click.Group, kept: Kept[Made]) -> None:
    """Give a group the five commands."""

    def command(name: str, *rest: str) -> Callable[[Callable[..., None]], click.Command]:
        example = " ".join(("echosearch", str(group.name), name, *rest))
        return group.command(name, help=f"{kept.helps[name]}\n\n\b\nExample:\n  {example}")

    @command("list")
    @index_option
    @output_option("json")
    def _list(index: str | None, output: str | None) -> None:
        found = kept.all(open_index(index).zeroshot)
        listed = render.table(kept.columns, [kept.row(made) for made in found], right=kept.right)
        text = [listed] if found else [f"no {kept.noun}s; make one: {kept.hint}"]
        render.answer(output, [made.shown() for made in found], text)

    @command("show", kept.example)
    @click.argument("name")
    @index_option
    @output_option("json")
    def _show(name: str, index: str | None, output: str | None) -> None:
        made = kept.find(open_index(index).zeroshot, name)
        render.answer(output, made.shown(), render.fact_lines(kept.lines(made)))

    @command("export", kept.example, kept.file)
    @click.argument("name")
    @click.argument("file", type=FilePath(dir_okay=False), metavar="OUT.json")
    @force_option
    @index_option
    def _export(name: str, file: Path, force: bool, index: str | None) -> None:
        opened = open_index(index)
        made = kept.find(opened.zeroshot, name)
        output = opened.output(file, f"the {kept.noun}", ".json", force)
        with output.writing() as stream:
            stream.write(json.dumps(made.to_dict(), indent=1).encode() + b"\n")
        click.echo(f"{kept.called(made)} written to {render.printable(str(output.path))}")

    @command("import", kept.file)
    @click.argument("file", type=FilePath(dir_okay=False), metavar="IN.json")
    @replace_option(kept.noun)
    @index_option
    @wait_option
    def _import(file: Path, replace: bool, index: str | None, wait: float) -> None:
        from echosearch.learning import read

        made = cast(Made, read(kept.noun, _text(file), str(file)))
        kept.add(open_index(index).zeroshot, made, replace, wait)
        click.echo(f"{kept.called(made)} kept")

    @command("delete", kept.example)
    @click.argument("name")
    @index_option
    @wait_option
    def _delete(name: str, index: str | None, wait: float) -> None:
        open_index(index).zeroshot.forget(kept.noun, kept.key(name), wait)
        click.echo(f"{kept.noun} {render.printable(name)} deleted")


def _text(file: Path) -> str:
    try:
        refuse_device(file)
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadOption(f"cannot read {file}: {error}") from error
