"""The commands of training, called as a user calls them."""

from __future__ import annotations

import re
from pathlib import Path

from typer.testing import CliRunner

from training import cli


def call(*arguments: str | Path) -> tuple[int, str]:
    """Exit code and output, without frames and line breaks; an error that the command does not tell is raised."""
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    return result.exit_code, re.sub(r"[│\s]+", " ", result.output)
