"""Keep the README's command reference equal to what `--help` prints.

python scripts/write_docs.py           write it
python scripts/write_docs.py --check   fail when it is out of step
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from echosearch.cli.app import app

README = Path(__file__).resolve().parent.parent / "README.md"
BEGIN, END = "<!-- commands: written by scripts/write_docs.py -->", "<!-- end of commands -->"


def reference() -> str:
    """The help text of the program and of each command, as Markdown."""
    context = click.Context(app, info_name="echosearch", max_content_width=100, terminal_width=100)
    return "\n".join([_block("echosearch", app.get_help(context)), *_commands(app, context)])


def _commands(group: click.Group, context: click.Context) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        inner = click.Context(command, context, info_name=name, max_content_width=100, terminal_width=100)
        yield _block(inner.command_path, command.get_help(inner))
        if isinstance(command, click.Group):
            yield from _commands(command, inner)


def _block(title: str, text: str) -> str:
    return f"### `{title}`\n\n```text\n{text.rstrip()}\n```\n"


def main() -> None:
    """See the module."""
    text = README.read_text("utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    wanted = f"{before}{BEGIN}\n\n{reference()}\n{END}{after}"
    if "--check" in sys.argv[1:]:
        if wanted != text:
            sys.exit("README.md is out of step with --help; run: make docs")
        print("README.md is in step with --help")
    else:
        README.write_text(wanted, "utf-8")


if __name__ == "__main__":
    main()
