"""Of all series of a study the one for each sequence: told by the evidence, then ranked by how much they show.

A T1 of which it is in doubt whether it was taken after contrast is taken for neither: one for the other would be wrong
without a sign of it.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from core.contracts.sequences import SEQUENCES
from core.imaging.dicom.selection.acquisition import Acquisition
from core.imaging.dicom.selection.evidence import Verdict, judge
from core.imaging.dicom.selection.quality import Extent, merits
from core.imaging.dicom.selection.table import CONTRAST, OTHER, WEIGHTINGS, Table, series_table

Confidence = Literal["high", "medium", "low"]

_T1, _T1CE = "t1", "t1ce"
_OF_T1: Final = (_T1, _T1CE)


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """One volume that might be a sequence: a series, or one of the echoes in it.

    ``key`` tells it from all others; ``besides`` are entries of the table that its place in the series shows;
    ``extent`` is None where the slices do not say where they lie; ``fault`` names the entry of the table that says why
    it cannot be used.
    """

    key: int
    acquisition: Acquisition
    slices: int = 0
    besides: tuple[str, ...] = ()
    extent: Extent | None = None
    fault: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """A candidate, what speaks for and against it by the names of entries, and its score for what it leads to."""

    candidate: Candidate
    verdict: Verdict
    score: float
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Passed:
    """What might have been a sequence and was not taken for it; ``why`` names the entry of the table that says why.

    ``standing``: another one was better; it cannot be used; it is in doubt whether it is the sequence; or it is like it
    but for one thing, as a subtraction is.
    """

    judged: Judged
    standing: Literal["second", "faulty", "in doubt", "rejected"]
    why: str


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """What is taken for a sequence. Without ``chosen``, ``missing`` are the entries that say why.

    ``alternatives`` are what else might have been it, the likeliest first.
    """

    sequence: str
    chosen: Judged | None
    confidence: Confidence | None = None
    alternatives: tuple[Passed, ...] = ()
    missing: tuple[str, ...] = ()


Selection = Mapping[str, Decision]
"""A decision for each sequence that was asked for."""


def choose(candidates: Iterable[Candidate], taken: Container[str] = (), table: Table | None = None) -> Selection:
    """One candidate for each sequence that is not ``taken``, where one can be told."""
    table = table or series_table()
    judged = _judged(list(candidates), table)
    return {sequence: _decide(sequence, judged, table) for sequence in SEQUENCES if sequence not in taken}


def _judged(candidates: Sequence[Candidate], table: Table) -> list[Judged]:
    alone = [judge(candidate.acquisition, candidate.besides, table) for candidate in candidates]
    if _agent_is_of_the_examination(alone, table):
        candidates = [replace(one, acquisition=one.acquisition.without_agent()) for one in candidates]
        alone = [judge(candidate.acquisition, candidate.besides, table) for candidate in candidates]
    extents = [candidate.extent for candidate, verdict in zip(candidates, alone, strict=True) if verdict.sequence]
    since_s = _contrast_since(candidates, alone, table)
    found = []
    for candidate, verdict in zip(candidates, alone, strict=True):
        shown = [*_by_time(candidate.acquisition, verdict, since_s), *_by_place(candidate.extent, extents)]
        final = judge(candidate.acquisition, (*candidate.besides, *shown), table) if shown else verdict
        gained = merits(candidate.extent, candidate.acquisition, table)
        identity = min(final.strength, table.numbers["most_of_identity"])
        score = round(identity + sum(gained.values()), 2)
        found.append(Judged(candidate, final, score, (*_speaking(final, table), *gained)))
    return found


def _speaking(verdict: Verdict, table: Table) -> tuple[str, ...]:
    """The entries for what was decided; where nothing was, all that hold."""
    if verdict.sequence is None:
        return verdict.entries
    kinds = {verdict.leading, *(CONTRAST if verdict.leading == _T1 else ())}
    return tuple(
        entry.name
        for entry in table.entries
        if entry.name in verdict.entries and any(entry.points.get(kind, 0.0) > 0 for kind in kinds)
    )


def _agent_is_of_the_examination(verdicts: Sequence[Verdict], table: Table) -> bool:
    """Whether every series bears an agent while words say which T1 were taken with it."""
    spoken = any(v.leading == _T1 and not table.spoken.isdisjoint(v.entries) for v in verdicts)
    other = any(v.leading != _T1 for v in verdicts)
    return spoken and other and all(not table.agent.isdisjoint(v.entries) for v in verdicts)


def _contrast_since(candidates: Sequence[Candidate], verdicts: Sequence[Verdict], table: Table) -> float | None:
    """The time in s from which on there was contrast: of the first series that says so in words, else by its agent.

    An agent alone is no sign where every T1 of the study bears it: then it was entered for the examination.
    """
    spoken, tagged, silent = [], [], 0
    for candidate, verdict in zip(candidates, verdicts, strict=True):
        began_s = candidate.acquisition.began_s
        bolus = not table.bolus.isdisjoint(verdict.entries)
        if began_s is None or not (bolus or verdict.leading == _T1):
            continue
        if bolus or (verdict.contrast == "given" and not table.spoken.isdisjoint(verdict.entries)):
            spoken.append(began_s)
        elif verdict.contrast == "given":
            tagged.append(began_s)
        else:
            silent += 1
    if spoken:
        return min(spoken)
    return min(tagged) if tagged and silent else None


def _by_time(acquisition: Acquisition, verdict: Verdict, since_s: float | None) -> list[str]:
    if since_s is None or acquisition.began_s is None or verdict.leading != _T1:
        return []
    if acquisition.began_s < since_s:
        return ["before-contrast"]
    return ["after-contrast"] if acquisition.began_s > since_s else []


def _by_place(extent: Extent | None, others: Sequence[Extent | None]) -> list[str]:
    """Whether a volume lies elsewhere than most that might be sequences."""
    if extent is None:
        return []
    comparable = [
        other for other in others if other is not None and other.frame_of_reference == extent.frame_of_reference
    ]
    apart = sum(not extent.meets(other) for other in comparable)
    return ["elsewhere"] if 2 * apart > len(comparable) else []


def _decide(sequence: str, judged: Sequence[Judged], table: Table) -> Decision:
    ranked = sorted(judged, key=lambda one: (-one.score, -one.candidate.key))
    likely = [one for one in ranked if one.verdict.sequence == sequence]
    usable = [one for one in likely if one.candidate.fault is None]
    chosen = _of_repeats(sequence, usable, judged, table) if usable else None
    others = [one for one in usable if chosen is None or one.candidate is not chosen.candidate]
    doubtful = [one for one in ranked if one.verdict.sequence is None and _might_be(one.verdict, sequence)]
    alternatives = (
        *(Passed(one, "second", "lower-score") for one in others),
        *(Passed(one, "faulty", one.candidate.fault) for one in likely if one.candidate.fault),
        *(Passed(one, "in doubt", _doubt(one.verdict)) for one in doubtful),
        *(Passed(one, "rejected", why) for one in ranked if (why := _rejection(one.verdict, sequence, table))),
    )
    if chosen is not None:
        return Decision(sequence, chosen, _confidence(chosen, doubtful, table), alternatives)
    missing = tuple(dict.fromkeys(passed.why for passed in alternatives)) or ("nothing-like-it",)
    return Decision(sequence, None, None, alternatives, missing)


def _rejection(verdict: Verdict, sequence: str, table: Table) -> str | None:
    """The entry that speaks loudest against what is like the sequence in all else; None for what is not."""
    wanted = _T1 if sequence in _OF_T1 else sequence
    if verdict.weighting != OTHER or verdict.points[wanted] < table.numbers["least"]:
        return None
    if any(verdict.points[kind] > verdict.points[wanted] for kind in WEIGHTINGS if kind != OTHER):
        return None
    if sequence in _OF_T1 and (verdict.contrast == "given") != (sequence == _T1CE):
        return None
    against = [entry for entry in table.entries if entry.name in verdict.entries and entry.points.get(OTHER, 0.0) > 0]
    return max(against, key=lambda entry: entry.points[OTHER]).name


def _of_repeats(sequence: str, usable: Sequence[Judged], judged: Sequence[Judged], table: Table) -> Judged:
    """Of those taken like the best one the latest: an earlier one was repeated for a reason.

    But two T1 that were taken alike may be one before and one after contrast that nobody wrote down: then the first is
    a T1 in either case.
    """
    best = usable[0]
    repeats = [one for one in usable if _alike(one.candidate, best.candidate, table.numbers["alike"])]
    if len(repeats) == 1:
        return best
    ordered = sorted(repeats, key=_when)
    chosen = _last_before_contrast(ordered, judged, table) if sequence == _T1 else ordered[-1]
    score = round(best.score + table.numbers["latest-of-repeats"], 2)
    reason = "latest-of-repeats" if chosen is ordered[-1] else "earliest-of-repeats"
    return replace(chosen, score=score, reasons=(*chosen.reasons, reason))


def _last_before_contrast(ordered: Sequence[Judged], judged: Sequence[Judged], table: Table) -> Judged:
    """The last of T1 taken alike that is no T1 after contrast by mistake.

    It says that no contrast was given, or followed at once on one that counts already, in a study that tells of
    contrast elsewhere.
    """
    told = any(one.verdict.contrast in ("given", "doubt") for one in judged if one.verdict.leading == _T1)
    chosen = ordered[0]
    for one in ordered[1:]:
        between = [other for other in judged if _when(chosen) < _when(other) < _when(one)]
        if one.verdict.points["plain"] < table.numbers["said"] and (between or not told):
            break
        chosen = one
    return chosen


def _when(one: Judged) -> tuple[float, int]:
    """In order of acquisition; the numbers of series are, where there is no time."""
    return one.candidate.acquisition.began_s or 0.0, one.candidate.key


def _alike(one: Candidate, other: Candidate, tolerance: float) -> bool:
    """Whether two were taken in the same way: a repeat, or one before and one after contrast."""
    first, second = one.acquisition, other.acquisition
    pairs = [
        (first.echo_ms, second.echo_ms),
        (first.repetition_ms, second.repetition_ms),
        (first.inversion_ms, second.inversion_ms),
    ]
    if one.extent and other.extent:
        if one.extent.plane != other.extent.plane:
            return False
        pairs += [(one.extent.step_mm, other.extent.step_mm), (one.extent.pixel_mm, other.extent.pixel_mm)]
        pairs += [(one.extent.covered_mm, other.extent.covered_mm)]
    return first.original == second.original and all(
        (a is None) == (b is None) and (a is None or b is None or abs(a - b) <= tolerance * max(a, b)) for a, b in pairs
    )


def _might_be(verdict: Verdict, sequence: str) -> bool:
    """Whether what leads without deciding, or a T1 with contrast in doubt, could be the sequence."""
    wanted = _T1 if sequence in _OF_T1 else sequence
    if verdict.leading != wanted or verdict.strength <= 0:
        return False
    if sequence in _OF_T1 and verdict.contrast != "doubt":
        return (verdict.contrast == "given") == (sequence == _T1CE)
    return True


def _doubt(verdict: Verdict) -> str:
    return "contrast-in-doubt" if verdict.weighting == _T1 else "weighting-in-doubt"


def _confidence(chosen: Judged, doubtful: Sequence[Judged], table: Table) -> Confidence:
    verdict = chosen.verdict
    if verdict.strength < table.numbers["medium"] or doubtful:
        return "low"
    spoken = verdict.weighting != _T1 or verdict.contrast != "silent"
    return "high" if verdict.strength >= table.numbers["high"] and spoken else "medium"
