"""What CONTRIBUTING.md asks of prose: lines that fit a screen, and decisions that are short and can be found."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.tracked import ROOT, tracked

LONGEST_LINE = 120
ADR = ROOT / "docs" / "adr"
LONGEST_ADR = 60
DECISIONS = sorted(ADR.glob("[0-9]*.md"))
HEADINGS = ("## Context", "## Decision", "## Consequences", "## Status")

FENCE = re.compile(r"\s*(```|~~~)")
LIST_ITEM = re.compile(r"\s*([-*+]|\d+\.)\s+")
LINK = re.compile(r"!?\[[^\]]*\]\([^)]*\)")


def prose(text: str) -> Iterator[tuple[int, str]]:
    """Numbered lines of Markdown that are neither code nor a table."""
    fenced, code, in_list, blank = False, False, False, True
    for number, line in enumerate(text.splitlines(), start=1):
        if FENCE.match(line):
            fenced = not fenced
        elif not fenced and line.strip():
            # Below an item of a list, what is set in is the item's own text.
            in_list = bool(LIST_ITEM.match(line)) or (in_list and (line.startswith(" ") or not blank))
            code = line.startswith("    ") and (code or blank) and not in_list
            if not code and not line.lstrip().startswith("|"):
                yield number, line
        blank = not line.strip()


def too_long(line: str) -> bool:
    """Whether a line is too long and could be broken: between words, but not within a link or an image."""
    words = LINK.sub(lambda link: "x" * len(link[0]), LIST_ITEM.sub("", line, count=1)).split()
    return len(line) > LONGEST_LINE and len(words) > 1


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("word " * 25, [1]),
        ("short\n\n" + "- " + "word " * 25, [3]),
        ("- item\n\n    " + "word " * 25, [3]),
        ("text\n    " + "word " * 25, [2]),
        ("text\n\n    " + "code " * 25 + "\n    " + "code " * 25, []),
        ("```sh\n" + "code " * 25 + "\n```\n" + "word " * 25, [4]),
        ("| " + "cell | " * 25, []),
        ("![" + "words of a picture " * 9 + "](a.png)", []),
        ("- [a link](https://example.org/" + "a" * 120 + ")", []),
        ("see [a link](https://example.org/" + "a" * 120 + ")", [1]),
    ],
)
def test_long_lines_are_found_where_they_can_be_broken(text: str, found: list[int]) -> None:
    assert [number for number, line in prose(text) if too_long(line)] == found


def test_lines_of_prose_fit_a_screen() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in tracked(".md")
        for number, line in prose(path.read_text(encoding="utf-8"))
        if too_long(line)
    ]
    assert found == []


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_is_one_screen_of_four_parts(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [heading for heading in HEADINGS if not any(line.startswith(heading) for line in lines)] == []
    assert len(lines) <= LONGEST_ADR


def test_every_decision_is_in_the_index() -> None:
    index = (ADR / "README.md").read_text(encoding="utf-8")
    assert DECISIONS
    assert [path.name for path in DECISIONS if f"({path.name})" not in index] == []
