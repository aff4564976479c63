"""Words in a description: written without spaces, with accents or in capitals, and still the same words.

A word of the table is found where no letter touches it. In it a blank stands for a blank, a dash or nothing, and ``~``
for the rest of a word: ``dark fluid`` is found in ``DarkFluid``, ``kontrast~`` in ``Kontrastmittel``. ``!`` in front is
for words that are units as well: they are not found behind a number. ``$`` at the end is for the end of the text.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

Span = tuple[int, int]

_HUMP: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
_SEPARATORS: Final = re.compile(r"[\s_/\\.,;:()\[\]{}^=|'\"#]+")
_BODY: Final = {"~": r"[^\W\d_]*", " ": "[ -]?"}
# No letter beside a letter, no digit beside a digit; a minus sign stands by itself.
_BEFORE: Final = {
    "letter": r"(?<![^\W\d_])",
    "digit": r"(?<!\d)",
    "-": r"(?<![^\W_])",
    "!": r"(?<![^\W_])(?<!\s\d )(?<!^\d )(?<!\d\d )(?<!\d\.\d )",
}
_AFTER: Final = {"letter": r"(?![^\W\d_])", "digit": r"(?!\d)", "-": r"(?![^\W_]|\s*\d)", "$": "$"}
_TOKEN: Final = re.compile(r"[^\s-]+")
# Longer than any description that DICOM allows (64 characters), and short enough to be searched at once.
_LONGEST: Final = 256


def readings(text: str) -> tuple[str, ...]:
    """``text`` in plain letters; where capitals stand within words, once as one word and once as several."""
    return tuple(dict.fromkeys((plain(text), plain(_HUMP.sub(" ", text[:_LONGEST])))))


def plain(text: str) -> str:
    """``text`` in small letters without accents, its words apart; dashes, plus signs and asterisks stay."""
    decomposed = unicodedata.normalize("NFKD", text[:_LONGEST].casefold())
    bare = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return _SEPARATORS.sub(" ", bare).strip()


def pattern_of(words: Iterable[str]) -> re.Pattern[str]:
    """What finds any of ``words`` in a plain text. The longest match wins where several begin at one place."""
    by_start: dict[str, list[str]] = defaultdict(list)
    for text in map(plain, words):
        body = "".join(_BODY.get(letter, re.escape(letter)) for letter in text.removeprefix("!").removesuffix("$"))
        by_start[_sort(text[0])].append(body + _AFTER.get(_sort(text[-1]), ""))
    # What may stand before is asked once for all words that begin alike: that is four times as fast.
    groups = [
        f"{_BEFORE.get(start, '')}(?:{'|'.join(sorted(bodies, key=len, reverse=True))})"
        for start, bodies in by_start.items()
    ]
    return re.compile("|".join(groups) or r"(?!)")


def _sort(letter: str) -> str:
    return "letter" if letter.isalpha() else "digit" if letter.isdigit() else letter


def spans(pattern: re.Pattern[str], text: str) -> Iterator[Span]:
    """Where words are found, from left to right."""
    return (found.span() for found in pattern.finditer(text))


def tokens_between(text: str, start: int, stop: int) -> int:
    """How many words stand between two places."""
    return sum(1 for _ in _TOKEN.finditer(text, start, stop))
