"""The entries of the table that hold for an acquisition, and what they come to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from core.imaging.dicom.selection.acquisition import Acquisition
from core.imaging.dicom.selection.table import CONTRAST, WEIGHTINGS, Entry, Range, Table, When, series_table
from core.imaging.dicom.selection.words import Span, plain, readings, spans, tokens_between

Contrast = Literal["given", "none", "silent", "doubt"]
"""A contrast agent was in the blood; was not; nothing is said of it; what is said contradicts itself."""

_T1: Final = "t1"
_PROTOCOL: Final = "protocol-of-contrast"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the entries that hold, by name, come to.

    ``weighting`` is the kind of images that they are of, None where too little speaks for any or two are too close;
    ``leading`` is what most speaks for then. ``lead`` is by how many points it leads.
    """

    entries: tuple[str, ...]
    points: Mapping[str, float]
    leading: str
    weighting: str | None
    lead: float
    contrast: Contrast

    @property
    def sequence(self) -> str | None:
        """``t1``, ``t1ce``, ``t2`` or ``flair``; None for anything else and where it stays open.

        A T1 of which nothing says whether an agent was given counts as one without.
        """
        if self.weighting == _T1:
            return {"given": "t1ce", "none": _T1, "silent": _T1, "doubt": None}[self.contrast]
        return self.weighting if self.weighting in ("t2", "flair") else None

    @property
    def strength(self) -> float:
        """Points for what leads."""
        return self.points[self.leading]


def judge(acquisition: Acquisition, besides: Iterable[str] = (), table: Table | None = None) -> Verdict:
    """What an acquisition is of. ``besides`` names entries that hold for what its study shows, such as times."""
    table = table or series_table()
    held = {*_worded(acquisition, table), *besides}
    # In their order in the table, so that an entry may rest on those above it.
    for entry in table.entries:
        if entry.when is not None and _holds(entry.when, acquisition, held):
            held.add(entry.name)
    return _sum_up([entry for entry in table.entries if entry.name in held], table)


def _sum_up(entries: list[Entry], table: Table) -> Verdict:
    points = {kind: sum(entry.points.get(kind, 0.0) for entry in entries) for kind in WEIGHTINGS}
    points |= {kind: _for_contrast(kind, entries) for kind in CONTRAST}
    ranked = sorted(WEIGHTINGS, key=lambda kind: -points[kind])
    leading, lead = ranked[0], points[ranked[0]] - points[ranked[1]]
    decided = points[leading] >= table.numbers["least"] and lead >= table.numbers["lead"]
    given, none = points["contrast"], points["plain"]
    contrast: Contrast = "doubt"
    if max(given, none) < table.numbers["least_of_contrast"]:
        contrast = "silent"
    elif abs(given - none) >= min(table.numbers["lead_of_contrast"], max(given, none)):
        contrast = "given" if given > none else "none"
    return Verdict(
        tuple(entry.name for entry in entries), points, leading, leading if decided else None, lead, contrast
    )


def _for_contrast(kind: str, entries: list[Entry]) -> float:
    """Points for or against contrast: words that say it twice say it once, what the header holds adds to it."""
    spoken = [entry.points.get(kind, 0.0) for entry in entries if entry.worded]
    return max(spoken, default=0.0) + sum(entry.points.get(kind, 0.0) for entry in entries if not entry.worded)


def _worded(acquisition: Acquisition, table: Table) -> set[str]:
    """Entries whose words are in the description, and in the name of the protocol where that says no weighting.

    The protocol of some vendors is that of the whole examination, with and without contrast: where it names no
    weighting either, what it says of contrast does not count.
    """
    found = _found_in(acquisition.description, table)
    by_name = {entry.name: entry for entry in table.entries}
    if acquisition.description and not _of_contrast(found, by_name):
        given = _of_contrast(_found_in(acquisition.protocol, table), by_name)
        if given and not any("plain" in by_name[name].points for name in given):
            found |= {_PROTOCOL}
    if any(kind in by_name[name].points for name in found for kind in WEIGHTINGS):
        return found
    of_protocol = _found_in(acquisition.protocol, table)
    if all(by_name[name].points.keys().isdisjoint(WEIGHTINGS) for name in of_protocol):
        of_protocol -= _of_contrast(of_protocol, by_name)
    return found | of_protocol


def _of_contrast(found: set[str], by_name: Mapping[str, Entry]) -> set[str]:
    return {name for name in found if not by_name[name].points.keys().isdisjoint(CONTRAST)}


def _found_in(text: str, table: Table) -> set[str]:
    return {name for reading in readings(text) for name in _found(reading, table)}


def _found(text: str, table: Table) -> Iterator[str]:
    matches = [
        (start, stop, entry)
        for entry in table.entries
        if entry.words is not None
        for start, stop in spans(entry.words, text)
    ]
    for start, stop, entry in matches:
        if (
            any(_covers(other, (start, stop)) for other in matches)
            or _first_of_equals(matches, start, stop) is not entry
        ):
            continue
        if entry.unless_before and entry.unless_before.match(text, _next(text, stop)):
            continue
        if entry.negated is None or not _is_negated(text, start, stop, table):
            yield entry.name
        if entry.negated and (_is_negated(text, start, stop, table) or _DASH.search(text[:start])):
            yield entry.negated


def _covers(other: tuple[int, int, Entry], span: Span) -> bool:
    """Whether what was found there is a part of something longer, as T2 is of T2*."""
    start, stop, _ = other
    return start <= span[0] and span[1] <= stop and stop - start > span[1] - span[0]


def _first_of_equals(matches: list[tuple[int, int, Entry]], start: int, stop: int) -> Entry:
    return next(entry for first, last, entry in matches if (first, last) == (start, stop))


def _next(text: str, at: int) -> int:
    while at < len(text) and text[at] in " -":
        at += 1
    return at


# A minus sign right behind a word, or at the end: "KM-", "+C -". One right before it: "T1 -Gd".
_MINUS: Final = re.compile(r"-(?=\s|$)|\s-$")
_MINUS_BEFORE: Final = re.compile(r"(?:^|\s)-$")
# Between blanks it may be a minus sign, or just a dash: "T1 - Gd".
_DASH: Final = re.compile(r"\s-\s$")


def _is_negated(text: str, start: int, stop: int, table: Table) -> bool:
    """Whether a word of negation stands shortly before, with nothing between that ends its reach, or right behind."""
    behind = table.refusal.match(text, _next(text, stop))
    if _MINUS.match(text, stop) or _MINUS_BEFORE.search(text[:start]) or (behind and behind.end() == len(text)):
        return True
    before = [
        end for _, end in spans(table.negation, text[:start]) if not table.of_other_things.match(text, _next(text, end))
    ]
    if "+" in text[start:stop] or not before or tokens_between(text, before[-1], start) > table.reach:
        return False
    return table.affirmation.search(text, before[-1], start) is None


def _holds(when: When, acquisition: Acquisition, held: set[str]) -> bool:
    return (
        when.entries <= held
        and (not when.any_entry or bool(when.any_entry & held))
        and not when.without_entries & held
        and _codes_hold(when, acquisition)
        and _numbers_hold(when, acquisition)
        and _texts_hold(when, acquisition)
        and _flags_hold(when, acquisition)
    )


def _codes_hold(when: When, acquisition: Acquisition) -> bool:
    image_type = {*acquisition.image_type, " ".join(acquisition.image_type)}
    wanted = (
        (when.scanning, set(acquisition.scanning_sequence)),
        (when.variants, set(acquisition.variants)),
        (when.image_type, image_type),
        (when.components, {acquisition.component}),
        (when.weightings, {acquisition.weighting}),
        (when.agent_given, {acquisition.agent_given}),
    )
    return (
        all(not codes or codes & present for codes, present in wanted)
        and not when.without_scanning & set(acquisition.scanning_sequence)
        and not when.without_variants & set(acquisition.variants)
        and not when.without_image_type & image_type
    )


def _numbers_hold(when: When, acquisition: Acquisition) -> bool:
    return (
        _within(acquisition.echo_ms, when.echo_ms)
        and _within(acquisition.repetition_ms, when.repetition_ms)
        and _within(acquisition.inversion_ms, when.inversion_ms)
        and _within(acquisition.agent_volume_ml, when.agent_volume_ml)
        and _within(acquisition.bits, when.bits)
        and _within(acquisition.levels, when.levels)
        and _within(acquisition.agent_codes, when.agent_codes)
    )


def _within(value: float | None, wanted: Range | None) -> bool:
    return wanted is None or (value is not None and wanted[0] <= value <= wanted[1])


def _texts_hold(when: When, acquisition: Acquisition) -> bool:
    return all(
        pattern is None or pattern.search(plain(text)) is not None
        for pattern, text in (
            (when.sequence_name, acquisition.sequence_name),
            (when.derivation, acquisition.derivation),
            (when.agent, acquisition.contrast_agent),
            (when.agent_route, acquisition.agent_route),
            (when.body_part, acquisition.body_part),
        )
    )


def _flags_hold(when: When, acquisition: Acquisition) -> bool:
    inverted = bool(acquisition.inversion_ms) or "IR" in acquisition.scanning_sequence
    return all(
        wanted is None or wanted == found
        for wanted, found in (
            (when.agent_named, bool(acquisition.contrast_agent)),
            (when.inverted, inverted),
            (when.diffusion, acquisition.diffusion),
            (when.three_d, acquisition.three_d),
        )
    )
