"""A zip of one DICOM study to volumes by sequence, with a guess at which series is which that says what it rests on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, Final

import numpy as np

from core.contracts.jobs import digits_of, hashed_uid
from core.contracts.sequences import SEQUENCES
from core.errors import FieldError, InvalidDicom, MissingSequence, RequestError
from core.imaging.dicom import header as dicom_header
from core.imaging.dicom.header import Layout
from core.imaging.dicom.sequence import Acquisition, guess
from core.imaging.dicom.series import Plane, Stack, read_pixels, stack
from core.imaging.dicom.study_zip import StudyLimits, StudyZip
from core.imaging.dicom.survey import Contents, Series, faults, opened, remarks, survey
from core.imaging.quiet import hush_decoders
from core.imaging.volume import Volume

DEFAULT_LIMITS: Final = StudyLimits()
# More echoes than this make a map of relaxation times, not images of several weightings.
_MAX_ECHOES: Final = 4
# More series than this of one slice each are one that was torn apart.
_MOST_NAMED: Final = 4
_ADVICE: Final = "Name the series in the field series of the job, or send the sequences as NIfTI."


@dataclass(frozen=True, slots=True)
class Source:
    """The series that a sequence was taken from: ``slices`` are those used; ``number`` is None where it has none.

    ``uid`` (SeriesInstanceUID) and ``frame_of_reference`` (its UID, None where it is missing) let a result be filed
    with its study. They go into the report and nowhere else.
    """

    sequence: str
    uid: str
    number: int | None
    slices: int
    frame_of_reference: str | None


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """Volumes (float32) by sequence, each on its own grid, what was noticed and guessed, and where they come from."""

    volumes: Mapping[str, Volume]
    warnings: tuple[str, ...]
    sources: tuple[Source, ...] = ()


def read_study(
    file: BinaryIO,
    limits: StudyLimits = DEFAULT_LIMITS,
    series: Mapping[str, str | None] | None = None,
) -> Study:
    """The sequences in a zip of one study.

    ``series`` says which sequence series are by their SeriesInstanceUID, or by ``hashed_uid``, None to leave one out;
    the sequences that it does not name are guessed from the series that it does not name.
    The zip is read twice: all headers, then the pixels of the series that are used. Memory is that of the volumes and
    of the largest single file.

    Raises ``InvalidDicom`` (broken zip or file, several studies), ``NotMr``, ``MissingSequence`` (nothing recognised,
    two series for one sequence, or a series named that is not there), ``InconsistentGeometry``, ``TooFewSlices``,
    ``UnsupportedTransferSyntax``, ``InputTooLarge`` or ``DecompressionBomb``. No detail quotes a text of the headers
    or a name in the zip, nor a UID. A file or series that cannot be used is refused where it is wanted, and otherwise
    left out with a warning that says why.
    """
    hush_decoders()
    try:
        return _read(StudyZip(file, limits), limits, series or {})
    except RequestError:
        raise
    except Exception as error:
        raise InvalidDicom("A DICOM file in the zip is broken.") from error


def _read(archive: StudyZip, limits: StudyLimits, named: Mapping[str, str | None]) -> Study:
    contents = survey(archive, limits)
    chosen, warnings = _choose(contents, named)
    volumes, sources = {}, []
    for sequence, series in chosen.items():
        arranged = _arranged(series, limits)
        try:
            volumes[sequence] = _load(archive, arranged, limits)
        except RequestError as error:
            raise _of(series, error) from error
        warnings += [f"{sequence}: {note}" for note in arranged.warnings]
        frame_of_reference = arranged.planes[0].frame_of_reference
        sources.append(Source(sequence, series.uid, series.number, len(arranged.planes), frame_of_reference or None))
    if len({source.frame_of_reference for source in sources}) > 1:
        warnings.append("The series have different frames of reference: the patient may have moved between them.")
    left_out = remarks(contents, used={source.uid for source in sources})
    return Study(volumes, tuple(left_out + warnings), tuple(sources))


def _choose(contents: Contents, named: Mapping[str, str | None]) -> tuple[dict[str, Series], list[str]]:
    """The series of each sequence, and what was guessed."""
    known = {hashed_uid(uid): uid for uid in contents.series}
    named = {hashed_uid(uid): sequence for uid, sequence in named.items()}
    if unknown := [uid for uid in named if uid not in known]:
        # A UID may lead to a patient: the caller, who knows it, finds it by its hash.
        hashes = ", ".join(sorted(map(digits_of, unknown)))
        detail = f"{len(unknown)} of the series named are no MR series of the study (SHA-256 of the UID: {hashes})."
        raise MissingSequence(detail, errors=[FieldError("part/job#/series", detail)])
    named = {known[uid]: sequence for uid, sequence in named.items()}
    candidates = [part for uid, series in contents.series.items() if uid not in named for part in _by_echo(series)]
    told = {sequence: _named(contents.series[uid], sequence) for uid, sequence in named.items() if sequence}
    likely = _guessed(candidates, taken=told)
    guessed = {sequence: series for sequence, series in likely.items() if series.planes}
    if not told and not guessed:
        raise _nothing_to_use(contents, list(likely.values()))
    chosen = {**told, **guessed}
    chosen = {sequence: chosen[sequence] for sequence in SEQUENCES if sequence in chosen}
    return chosen, [_statement(sequence, series) for sequence, series in chosen.items() if sequence in guessed]


def _nothing_to_use(contents: Contents, likely: Sequence[Series]) -> RequestError:
    """Why no sequence can be taken: what is wrong with the series that would be taken, else that there are none."""
    everything = list(contents.series.values())
    if not likely and all(series.fault for series in everything):
        likely = everything
    for series in likely:
        if series.fault:
            return _of(series, series.fault)
    detail = f"No series can be told to be one of {', '.join(SEQUENCES)}. {_ADVICE}"
    return MissingSequence(" ".join([detail, *faults(contents)]))


def _guessed(candidates: Iterable[Series], taken: Container[str]) -> dict[str, Series]:
    found: dict[str, list[Series]] = defaultdict(list)
    for series in candidates:
        if (sequence := _guess(series)) and sequence not in taken:
            found[sequence].append(series)
    return {sequence: _only(sequence, series) for sequence, series in found.items()}


def _guess(series: Series) -> str | None:
    acquisition = series.planes[0].acquisition if series.planes else series.acquisition
    return guess(acquisition) if acquisition else None


def _named(series: Series, sequence: str) -> Series:
    """A series that the caller names; of several echoes in it the one that looks like the sequence."""
    volumes = _by_echo(series)
    if len(volumes) > 1:
        volumes = [volume for volume in volumes if _guess(volume) == sequence]
    if len(volumes) != 1:
        raise MissingSequence(f"Which volume of {series.name} is {sequence} cannot be told: send it as NIfTI.")
    return volumes[0]


def _by_echo(series: Series) -> Sequence[Series]:
    """A series of two echoes, proton density and T2, holds two volumes."""
    echoes: dict[float | None, list[Plane]] = defaultdict(list)
    for plane in series.planes:
        echoes[plane.acquisition.echo_ms].append(plane)
    if not 1 < len(echoes) <= _MAX_ECHOES:
        return [series]
    return [replace(series, planes=planes) for planes in echoes.values()]


def _only(sequence: str, series: Sequence[Series]) -> Series:
    """The one series that a sequence is taken from.

    Those that cannot be used give way to those that can, reformatted and computed ones to what was measured.
    """
    sound = [one for one in series if one.fault is None] or [one for one in series if one.planes] or list(series)
    remaining = [one for one in sound if one.planes and one.planes[0].original] or sound
    if len(remaining) > _MOST_NAMED and all(len(one.planes) <= 1 for one in remaining):
        raise MissingSequence(
            f"{len(remaining)} series of a single slice look like {sequence}: each file bears a SeriesInstanceUID of"
            " its own. Give the files of a series one SeriesInstanceUID, or send the sequences as NIfTI."
        )
    if len(remaining) > 1:
        names = ", ".join(sorted(one.name for one in remaining))
        raise MissingSequence(f"{len(remaining)} series look like {sequence}: {names}. {_ADVICE}")
    return remaining[0]


def _statement(sequence: str, series: Series) -> str:
    acquisition = series.planes[0].acquisition
    timings = guess(replace(acquisition, description="")) == sequence
    described = guess(Acquisition(acquisition.description, acquisition.contrast_agent)) == sequence
    evidence = " and ".join(what for what, holds in (("its description", described), ("its timings", timings)) if holds)
    return (
        f"{series.title} ({len(series.planes)} slices) is taken as {sequence}: a guess from {evidence or 'its header'}."
    )


def _arranged(series: Series, limits: StudyLimits) -> Stack:
    try:
        if series.fault:
            raise series.fault
        arranged = stack(series.planes, limits.volume.min_slices)
    except RequestError as error:
        raise _of(series, error) from error
    rows, columns = arranged.planes[0].size
    limits.volume.check_shape((columns, rows, len(arranged.planes)))
    if fault := limits.volume.fault_of(arranged.affine.tolist()):
        raise InvalidDicom(f"The geometry of {series.name} {fault}.")
    return arranged


def _of(series: Series, error: RequestError) -> RequestError:
    """The error with the name of the series at fault, for a caller who sent a dozen."""
    return type(error)(f"{error.detail} ({series.name})", errors=error.errors)


def _load(archive: StudyZip, arranged: Stack, limits: StudyLimits) -> Volume:
    rows, columns = arranged.planes[0].size
    voxels = np.empty((columns, rows, len(arranged.planes)), np.float32, order="F")
    current: tuple[int, Any, Layout] | None = None
    for index, plane in enumerate(arranged.planes):
        # Frames of one file come one after another: it is opened once.
        if current is None or current[0] != plane.source:
            header, data_set = opened(archive.read(plane.source), limits)
            current = plane.source, data_set, dicom_header.read_layout(header, limits.image)
        voxels[:, :, index] = read_pixels(current[1], current[2], plane.frame)
    return Volume(voxels, arranged.affine)
