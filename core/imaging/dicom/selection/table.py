"""The table of evidence, ``series_table.toml``, as checked data; what it may hold is said at its top."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from core.imaging.dicom.selection.words import pattern_of

PATH: Final = Path(__file__).with_name("series_table.toml")
_COMPUTED: Final = "computed-image"
OTHER: Final = "other"
"""What is none of the sequences that the networks know."""
WEIGHTINGS: Final = ("t1", "t2", "flair", OTHER)
CONTRAST: Final = ("contrast", "plain")
"""Whether a contrast agent was in the blood."""
LANGUAGES: Final = ("any", "en", "de", "fr", "es", "it", "pt", "nl", "further")

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class When:
    """What must hold of a header, all of it, for an entry to count.

    Codes (``scanning``, ``variants``, ``image_type``, ``components``, ``weightings``): one of them is there; with
    ``without_`` before: none of them is. ``sequence_name``, ``derivation``, ``body_part``, ``agent``, ``agent_route``:
    one of the words is in that text. Times are ranges in ms. ``entries``: other entries that all hold, ``any_entry``
    one of which does, ``without_entries`` none of which does; they stand above in the table, or have words.
    """

    scanning: frozenset[str] = frozenset()
    without_scanning: frozenset[str] = frozenset()
    variants: frozenset[str] = frozenset()
    without_variants: frozenset[str] = frozenset()
    image_type: frozenset[str] = frozenset()
    without_image_type: frozenset[str] = frozenset()
    components: frozenset[str] = frozenset()
    weightings: frozenset[str] = frozenset()
    body_part: re.Pattern[str] | None = None
    sequence_name: re.Pattern[str] | None = None
    derivation: re.Pattern[str] | None = None
    agent: re.Pattern[str] | None = None
    agent_route: re.Pattern[str] | None = None
    echo_ms: Range | None = None
    repetition_ms: Range | None = None
    inversion_ms: Range | None = None
    agent_volume_ml: Range | None = None
    bits: Range | None = None
    levels: Range | None = None
    agent_codes: Range | None = None
    agent_given: frozenset[str] = frozenset()
    agent_named: bool | None = None
    inverted: bool | None = None
    diffusion: bool | None = None
    three_d: bool | None = None
    entries: frozenset[str] = frozenset()
    any_entry: frozenset[str] = frozenset()
    without_entries: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the table: ``says`` in words what ``points`` speak for.

    ``words`` are looked for in the description, so that it is ``worded``; ``negated`` names the entry that counts in
    their place after a word of negation, ``unless_before`` the words after which they mean something else. ``when`` is
    of the rest of the header.
    """

    name: str
    says: str
    points: Mapping[str, float]
    words: re.Pattern[str] | None = None
    unless_before: re.Pattern[str] | None = None
    negated: str | None = None
    when: When | None = None
    worded: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """All entries in order, the words of negation, what is fixed in numbers, and remarks on the choice by their names.

    ``agent`` are the entries of an agent, ``spoken`` those after which contrast is in the blood by somebody's word,
    ``bolus`` those that measure its passage.
    """

    entries: tuple[Entry, ...]
    negation: re.Pattern[str]
    affirmation: re.Pattern[str]
    refusal: re.Pattern[str]
    of_other_things: re.Pattern[str]
    reach: int
    numbers: Mapping[str, float]
    remarks: Mapping[str, str]
    agent: frozenset[str]
    spoken: frozenset[str]
    bolus: frozenset[str]

    @property
    def computed(self) -> frozenset[str]:
        """Words of ImageType that stand for no plain image: maps, phases, projections, localizers, mosaics."""
        when = next(entry.when for entry in self.entries if entry.name == _COMPUTED)
        return frozenset() if when is None else when.image_type

    def says(self, name: str) -> str:
        """What an entry or a remark says, for people."""
        return self.remarks.get(name) or next(entry.says for entry in self.entries if entry.name == name)


@cache
def series_table() -> Table:
    """The table as it ships, read once."""
    return parse_table(tomllib.loads(PATH.read_text(encoding="utf-8")))


def parse_table(content: Mapping[str, Any]) -> Table:
    """A table from what its file holds. Raises ``ValueError`` that names the entry at fault."""
    negation = content["negation"]
    entries = tuple(_entry(row) for row in content["entry"])
    denials = {entry.negated for entry in entries}
    entries = tuple(replace(entry, worded=entry.words is not None or entry.name in denials) for entry in entries)
    names = [entry.name for entry in entries]
    for entry in entries:
        when = entry.when or When()
        named = {*when.entries, *when.any_entry, *when.without_entries, *([entry.negated] if entry.negated else [])}
        if unknown := named - set(names):
            raise ValueError(f"{entry.name}: there is no entry {', '.join(sorted(unknown))}")
    if len(set(names)) < len(names):
        raise ValueError("two entries bear one name")
    return Table(
        entries,
        negation=_words(negation["words"]),
        affirmation=_words(negation["ended_by"]),
        refusal=_words(negation["behind"]),
        of_other_things=_words(negation["of_other_things"]),
        reach=int(negation["reach"]),
        numbers=dict(content["numbers"]),
        remarks=dict(content["remarks"]),
        agent=frozenset(content["times"]["agent"]),
        spoken=frozenset(content["times"]["spoken"]),
        bolus=frozenset(content["times"]["bolus"]),
    )


def _entry(row: Mapping[str, Any]) -> Entry:
    name = str(row.get("name", "an entry without a name"))
    try:
        points = {kind: float(row["points"][kind]) for kind in row["points"]}
        if not points.keys() <= {*WEIGHTINGS, *CONTRAST}:
            raise ValueError("points are for " + ", ".join((*WEIGHTINGS, *CONTRAST)))
        if unknown := row.keys() - {"name", "says", "points", "words", "unless_before", "negated", "when"}:
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
        return Entry(
            name=name,
            says=row["says"],
            points=points,
            words=_words(row["words"]) if "words" in row else None,
            unless_before=_words(row["unless_before"]) if "unless_before" in row else None,
            negated=row.get("negated"),
            when=_when(row["when"]) if "when" in row else None,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from error


def _words(by_language: Mapping[str, list[str]]) -> re.Pattern[str]:
    if unknown := by_language.keys() - set(LANGUAGES):
        raise ValueError(f"unknown languages: {', '.join(sorted(unknown))}")
    return pattern_of(word for words in by_language.values() for word in words)


_KINDS: Final = {item.name: str(item.type) for item in fields(When)}


def _when(row: Mapping[str, Any]) -> When:
    if unknown := row.keys() - _KINDS.keys():
        raise ValueError(f"unknown in when: {', '.join(sorted(unknown))}")
    return When(**{name: _condition(_KINDS[name], value) for name, value in row.items()})


def _condition(kind: str, value: Any) -> Any:
    if kind.startswith("frozenset"):
        return frozenset(value)
    if kind.startswith("re.Pattern"):
        return pattern_of(value)
    if kind.startswith("Range"):
        low, high = value
        return float(low), float(high) if math.isfinite(high) else math.inf
    return bool(value)
