"""Markdown as cards and reports have it: tables, and text in lines of at most ``LINE`` characters."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Final

LINE: Final = 120
_UNIT: Final = re.compile(r"(?<=\d) (?=(?:%|mm|ml|px)(?!\w))")


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, ["---"] * len(header), *rows))


def wrapped(text: str) -> str:
    """Text whose lines are paragraphs, items or rows, all but the rows wrapped; a number stays with its unit."""
    return "\n".join(line if line.startswith("|") else _filled(line) for line in text.split("\n"))


def _filled(line: str) -> str:
    indent = "  " if line.startswith("- ") else ""
    joined = _UNIT.sub("\u00a0", line)
    filled = textwrap.fill(joined, LINE, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return filled.replace("\u00a0", " ")
