"""What a job takes of a study: the series that its caller names, and of the others what the evidence tells.

Everything here rests on headers, but for one look at a slice of what was chosen: a mask of zeros and ones is no image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from core.contracts.jobs import digits_of, hashed_uid
from core.contracts.sequences import SEQUENCES
from core.errors import FieldError, InvalidDicom, MissingSequence, RequestError, TooFewSlices
from core.imaging.dicom.parts import parts_of
from core.imaging.dicom.selection.choice import Candidate, Decision, Judged, Passed, Selection, choose
from core.imaging.dicom.selection.evidence import judge
from core.imaging.dicom.selection.quality import Extent
from core.imaging.dicom.selection.table import OTHER, series_table
from core.imaging.dicom.series import Plane, SeveralVolumes, Stack, stack
from core.imaging.dicom.study_zip import StudyLimits
from core.imaging.dicom.survey import Contents, Series, faults

Look = Callable[[Plane], bool]
"""Tells of one plane whether its pixels are those of an image; a mask of two values is none."""

# More series than this of one slice each are one that was torn apart.
_MOST_NAMED = 4
# More series than this are in no study; of a zip that was made to hold more the largest are weighed.
_MOST_WEIGHED = 1000
# Of those that were left out although they are like a sequence, so many are told of one by one.
_MOST_TOLD = 8
ADVICE = "Name the series in the field series of the job, or send the sequences as NIfTI."


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """A volume of a study: a series or one of several volumes in it, its ``stack`` where its slices make one."""

    series: Series
    candidate: Candidate
    stack: Stack | None = None
    error: RequestError | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What is taken for each sequence. ``refusal`` is why a job with this study fails, if it does.

    ``named`` are the sequences that the caller named; ``volumes`` are all that were weighed, by the key of their
    candidate.
    """

    chosen: Mapping[str, Volume]
    named: frozenset[str]
    selection: Selection
    volumes: Mapping[int, Volume]
    refusal: RequestError | None = None
    warnings: tuple[str, ...] = ()


def make_plan(contents: Contents, named: Mapping[str, str | None], limits: StudyLimits, look: Look) -> Plan:
    """The plan for a study. ``named`` says which sequence series are, by UID or its hash; None to leave one out.

    Raises ``RequestError`` for a series that is named and not there or cannot be used.
    """
    named = _known(contents, named)
    told = {sequence: _named(contents.series[uid], sequence, limits) for uid, sequence in named.items() if sequence}
    volumes = _weighed([series for uid, series in contents.series.items() if uid not in named], limits)
    selection, volumes = _chosen(volumes, told, look)
    guessed = {
        sequence: volumes[decision.chosen.candidate.key]
        for sequence, decision in selection.items()
        if decision.chosen is not None
    }
    chosen = {**told, **guessed}
    refusal = _refusal(contents, volumes, selection, bool(chosen))
    return Plan(
        {sequence: chosen[sequence] for sequence in SEQUENCES if sequence in chosen},
        frozenset(told),
        selection,
        volumes,
        refusal,
        _statements(selection, volumes),
    )


def _known(contents: Contents, named: Mapping[str, str | None]) -> dict[str, str | None]:
    """``named`` by the SeriesInstanceUIDs of the study, where the record of a job has hashes of them."""
    uids = {hashed_uid(uid): uid for uid in contents.series}
    wanted = {hashed_uid(uid): sequence for uid, sequence in named.items()}
    if unknown := wanted.keys() - uids.keys():
        # A UID may lead to a patient: the caller, who knows it, finds it by its hash.
        hashes = ", ".join(sorted(map(digits_of, unknown)))
        detail = f"{len(unknown)} of the series named are no MR series of the study (SHA-256 of the UID: {hashes})."
        raise MissingSequence(detail, errors=[FieldError("part/job#/series", detail)])
    return {uids[uid]: sequence for uid, sequence in wanted.items()}


def _named(series: Series, sequence: str, limits: StudyLimits) -> Volume:
    """A series that the caller names; of several volumes in it the one that looks most like the sequence."""
    parts = _parts(series)
    if len(parts) > 1:
        parts = [part for part in parts if judge(part.acquisition, _besides(parts)).sequence == sequence]
    if len(parts) != 1:
        raise MissingSequence(
            f"Which volume of {series.name} is {sequence} cannot be told: it holds several, by EchoTime or ImageType,"
            " and not one of them is like it. Send it as NIfTI, or in a series of its own."
        )
    arranged = _arranged(parts[0], limits)
    return Volume(parts[0], Candidate(0, parts[0].acquisition), arranged)


def _parts(series: Series) -> list[Series]:
    parts = parts_of(series.planes)
    if len(parts) == 1:
        return [replace(series, acquisition=parts[0][0].acquisition) if parts[0] else series]
    return [replace(series, planes=planes, acquisition=planes[0].acquisition) for planes in parts]


def _besides(parts: Sequence[Series]) -> tuple[str, ...]:
    """The entries of the table that hold for each of several volumes in one series."""
    return ("one-of-several-echoes",) if len({part.acquisition.echo_ms for part in parts}) > 1 else ()


def _weighed(series: Sequence[Series], limits: StudyLimits) -> dict[int, Volume]:
    """All volumes, in the order of their series' numbers; those that may be a sequence are arranged."""
    volumes: dict[int, Volume] = {}
    largest = sorted(series, key=lambda one: -len(one.planes))[:_MOST_WEIGHED]
    for one in sorted(largest, key=lambda one: (one.number is None, one.number or 0)):
        parts = _parts(one)
        for part in parts:
            candidate = Candidate(len(volumes), part.acquisition, len(part.planes), _besides(parts))
            volumes[candidate.key] = _weigh(part, candidate, limits)
    return volumes


def _weigh(series: Series, candidate: Candidate, limits: StudyLimits) -> Volume:
    verdict = judge(candidate.acquisition, candidate.besides)
    if verdict.leading == OTHER or verdict.strength <= 0:
        return Volume(series, candidate)
    try:
        arranged = _arranged(series, limits)
    except RequestError as error:
        return Volume(series, replace(candidate, fault=_kind_of(series, error)), error=error)
    return Volume(series, replace(candidate, extent=Extent.of(arranged)), arranged)


def _kind_of(series: Series, error: RequestError) -> str:
    """The entry of the table that says what is wrong with a series."""
    if series.fault:
        return "incomplete" if series.planes else "unreadable"
    if isinstance(error, TooFewSlices):
        return "too-few-slices"
    return "several-volumes" if isinstance(error, SeveralVolumes) else "no-even-stack"


# What is missing of a volume that was wanted: to go on without it would hide that. Anything else is no volume at all.
_LOST = frozenset({"incomplete", "no-even-stack"})


def _chosen(volumes: dict[int, Volume], told: Mapping[str, Volume], look: Look) -> tuple[Selection, dict[int, Volume]]:
    """The selection among ``volumes``; what turns out to be no image is passed over and the choice made again."""
    while True:
        selection = choose((volume.candidate for volume in volumes.values()), taken=told)
        masks = [
            decision.chosen.candidate.key
            for decision in selection.values()
            if decision.chosen and not _is_image(volumes[decision.chosen.candidate.key], look)
        ]
        if not masks:
            return selection, volumes
        for key in masks:
            volume = volumes[key]
            error = InvalidDicom(f"The pixels of {volume.series.name} hold two values only: it is a mask.")
            candidate = replace(volume.candidate, fault="two-values")
            volumes = {**volumes, key: replace(volume, candidate=candidate, error=error)}


def _is_image(volume: Volume, look: Look) -> bool:
    assert volume.stack is not None  # noqa: S101  what is chosen has been arranged
    return look(volume.stack.planes[len(volume.stack.planes) // 2])


def _arranged(series: Series, limits: StudyLimits) -> Stack:
    try:
        if series.fault:
            raise series.fault
        arranged = stack(series.planes, limits.volume.min_slices)
    except RequestError as error:
        raise of_series(series, error) from error
    rows, columns = arranged.planes[0].size
    limits.volume.check_shape((columns, rows, len(arranged.planes)))
    if fault := limits.volume.fault_of(arranged.affine.tolist()):
        raise InvalidDicom(f"The geometry of {series.name} {fault}.")
    return arranged


def of_series(series: Series, error: RequestError) -> RequestError:
    """The error with the name of the series at fault, for a caller who sent a dozen."""
    return type(error)(f"{error.detail} ({series.name})", errors=error.errors)


def _refusal(
    contents: Contents, volumes: Mapping[int, Volume], selection: Selection, any_chosen: bool
) -> RequestError | None:
    """Why the job fails: a volume that only one series can be has lost slices, or there is nothing to segment."""
    open_ones = [decision for decision in selection.values() if decision.chosen is None]
    likely = [
        volumes[passed.judged.candidate.key]
        for decision in open_ones
        for passed in decision.alternatives
        if passed.standing == "faulty"
    ]
    for volume in likely:
        if volume.candidate.fault in _LOST and volume.error:
            return volume.error
    return None if any_chosen else _nothing_to_use(contents, likely, open_ones, volumes)


def _nothing_to_use(
    contents: Contents, likely: Sequence[Volume], open_ones: Sequence[Decision], volumes: Mapping[int, Volume]
) -> RequestError:
    """Why no sequence can be taken: what is wrong with the series that would be taken, else that there are none."""
    for decision in open_ones:
        if torn := _torn(decision):
            return MissingSequence(torn)
    for volume in likely:
        if volume.error:
            return volume.error
    everything = list(contents.series.values())
    if everything and all(series.fault for series in everything):
        first = everything[0]
        return of_series(first, first.fault) if first.fault else MissingSequence(ADVICE)
    doubts = [_doubt(decision, volumes) for decision in open_ones if _in_doubt(decision)]
    detail = f"No series can be told to be one of {', '.join(SEQUENCES)}. {ADVICE}"
    return MissingSequence(" ".join([*doubts, detail, *faults(contents)]))


def _statements(selection: Selection, volumes: Mapping[int, Volume]) -> tuple[str, ...]:
    """What is said of the choice: what was taken on which evidence, and what was left open or out."""
    taken = [
        _statement(decision, decision.chosen, volumes) for decision in selection.values() if decision.chosen is not None
    ]
    left_open = [
        _doubt(decision, volumes) + f" {ADVICE}"
        for decision in selection.values()
        if decision.chosen is None and _in_doubt(decision)
    ]
    return (*taken, *dict.fromkeys(left_open), *_unusable(selection, volumes), *_left_out(selection, volumes))


def _torn(decision: Decision) -> str | None:
    """What is said of a series of which each file bears a SeriesInstanceUID of its own; None where there is none."""
    single = [passed for passed in decision.alternatives if passed.judged.candidate.slices == 1]
    if len(single) <= _MOST_NAMED:
        return None
    return (
        f"{len(single)} series of a single slice look like {decision.sequence}: each file bears a SeriesInstanceUID of"
        " its own. Give the files of a series one SeriesInstanceUID, or send the sequences as NIfTI."
    )


def _unusable(selection: Selection, volumes: Mapping[int, Volume]) -> list[str]:
    """Why what would have been a sequence is no volume. Files that cannot be read are told of elsewhere."""
    open_ones = [decision for decision in selection.values() if decision.chosen is None]
    torn = {decision.sequence: text for decision in open_ones if (text := _torn(decision))}
    faulty = [
        (decision.sequence, volumes[passed.judged.candidate.key])
        for decision in open_ones
        if decision.sequence not in torn
        for passed in decision.alternatives
        if passed.standing == "faulty"
    ]
    return list(torn.values()) + [
        f"{volume.series.title} is like {sequence} and was left out: {volume.error.detail}"
        for sequence, volume in faulty[:_MOST_TOLD]
        if volume.error and not volume.series.fault
    ]


def _in_doubt(decision: Decision) -> list[Passed]:
    return [passed for passed in decision.alternatives if passed.standing == "in doubt"]


def _left_out(selection: Selection, volumes: Mapping[int, Volume]) -> list[str]:
    """What is like a sequence but for one thing that speaks against it: a subtraction, a phase image, a spine."""
    found = {
        passed.judged.candidate.key: (
            f"{volumes[passed.judged.candidate.key].series.title} is like {sequence} and was left out:"
            f" {series_table().says(passed.why)}"
        )
        for sequence, decision in selection.items()
        for passed in decision.alternatives
        if passed.standing == "rejected"
    }
    told = list(found.values())[:_MOST_TOLD]
    return (
        told if len(found) <= _MOST_TOLD else [*told, f"{len(found) - _MOST_TOLD} more series were left out like this."]
    )


def _statement(decision: Decision, chosen: Judged, volumes: Mapping[int, Volume]) -> str:
    volume = volumes[chosen.candidate.key]
    worded, timed = _grounds(chosen)
    evidence = " and ".join(what for what, holds in (("its description", worded), ("its timings", timed)) if holds)
    others = sum(passed.standing == "second" for passed in decision.alternatives)
    more = f" Of {others + 1} series that may be it, this one was chosen; report.json says why." if others else ""
    return (
        f"{volume.series.title} ({len(volume.series.planes)} slices) is taken as {decision.sequence}:"
        f" a guess from {evidence or 'its header'}.{more}"
    )


def _grounds(chosen: Judged) -> tuple[bool, bool]:
    """Whether words, and whether times, speak for what a volume was taken for."""
    weighting = chosen.verdict.leading
    held = [
        entry
        for entry in series_table().entries
        if entry.name in chosen.verdict.entries and entry.points.get(weighting, 0) > 0
    ]
    conditions = [entry.when for entry in held if entry.when is not None]
    timed = any(when.echo_ms or when.repetition_ms or when.inversion_ms for when in conditions)
    return any(entry.words for entry in held), timed


def _doubt(decision: Decision, volumes: Mapping[int, Volume]) -> str:
    """Why a sequence stays open, with the numbers of the series that may be it."""
    table = series_table()
    doubtful = _in_doubt(decision)
    names = sorted({volumes[passed.judged.candidate.key].series.name for passed in doubtful})
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    why = " ".join(dict.fromkeys(table.says(passed.why) for passed in doubtful))
    return f"{decision.sequence} was left open ({shown}): {why}"
