"""The command line: the one place that turns errors into exit codes, and answers into print."""

from echosearch.cli.app import main

__all__ = ["main"]
