"""A zip of one DICOM study to volumes by sequence, with a guess at which series is which that says what it rests on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO, Final

import numpy as np

from core.contracts.sequences import SEQUENCES
from core.errors import FieldError, InvalidDicom, MissingSequence, NotMr, RequestError
from core.imaging import polyglot
from core.imaging.dicom import header as dicom_header
from core.imaging.dicom.file import read_data_set
from core.imaging.dicom.header import Header, Layout
from core.imaging.dicom.sequence import Acquisition, guess
from core.imaging.dicom.series import KEYWORDS, Plane, Stack, read_pixels, read_planes, stack
from core.imaging.dicom.study_zip import StudyLimits, StudyZip, is_dicom
from core.imaging.quiet import hush_decoders
from core.imaging.volume import Volume

DEFAULT_LIMITS: Final = StudyLimits()
# More echoes than this make a map of relaxation times, not images of several weightings.
_MAX_ECHOES: Final = 4
_ADVICE: Final = "Name the series in the field series of the job, or send the sequences as NIfTI."


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """Volumes (float32) by sequence, each on its own grid, and what was noticed and guessed."""

    volumes: Mapping[str, Volume]
    warnings: tuple[str, ...]


@dataclass(slots=True, eq=False)
class _Series:
    """The planes of one series. ``fault`` is why it cannot be used, raised only if it is wanted."""

    number: int | None = None
    planes: list[Plane] = field(default_factory=list)
    fault: RequestError | None = None

    @property
    def name(self) -> str:
        return "a series without a number" if self.number is None else f"series {self.number}"


@dataclass(slots=True, eq=False)
class _Contents:
    """What the first pass over the zip found."""

    series: dict[str, _Series] = field(default_factory=lambda: defaultdict(_Series))
    studies: set[str] = field(default_factory=set)
    foreign: int = 0
    other: NotMr | None = None
    others: int = 0


def read_study(
    file: BinaryIO,
    limits: StudyLimits = DEFAULT_LIMITS,
    series: Mapping[str, str | None] | None = None,
) -> Study:
    """The sequences in a zip of one study.

    ``series`` says which sequence series are by their SeriesInstanceUID, None to leave one out; the sequences that it
    does not name are guessed from the series that it does not name.
    The zip is read twice: all headers, then the pixels of the series that are used. Memory is that of the volumes and
    of the largest single file.

    Raises ``InvalidDicom`` (broken zip or file, several studies), ``NotMr``, ``MissingSequence`` (nothing recognised,
    two series for one sequence, or a series named that is not there), ``InconsistentGeometry``, ``TooFewSlices``,
    ``UnsupportedTransferSyntax``, ``InputTooLarge`` or ``DecompressionBomb``. No detail quotes a text of the headers
    or a name in the zip; a UID only where the caller named it.
    """
    hush_decoders()
    try:
        return _read(StudyZip(file, limits), limits, series or {})
    except RequestError:
        raise
    except Exception as error:
        raise InvalidDicom("A DICOM file in the zip is broken.") from error


def _read(archive: StudyZip, limits: StudyLimits, named: Mapping[str, str | None]) -> Study:
    contents = _survey(archive, limits)
    chosen, warnings = _choose(contents, named)
    volumes, frames_of_reference = {}, set()
    for sequence, series in chosen.items():
        arranged = _arranged(series, limits)
        volumes[sequence] = _load(archive, arranged, limits)
        warnings += [f"{sequence}: {note}" for note in arranged.warnings]
        frames_of_reference.add(arranged.planes[0].frame_of_reference)
    if len(frames_of_reference) > 1:
        warnings.append("The series have different frames of reference: the patient may have moved between them.")
    return Study(volumes, tuple(_remarks(contents) + warnings))


def _survey(archive: StudyZip, limits: StudyLimits) -> _Contents:
    contents = _Contents()
    for index in range(len(archive)):
        data = archive.read(index)
        if is_dicom(data):
            _note(contents, data, index, limits)
        else:
            contents.foreign += 1
    if not contents.series:
        raise contents.other or InvalidDicom("The zip holds no DICOM file.")
    if len(contents.studies) > 1:
        raise InvalidDicom(f"The zip holds {len(contents.studies)} studies; send one.")
    return contents


def _note(contents: _Contents, data: bytes, index: int, limits: StudyLimits) -> None:
    header, _ = _opened(data, limits)
    try:
        dicom_header.check_modality(header)
    except NotMr as error:
        contents.other, contents.others = error, contents.others + 1
        return
    contents.studies.add(header.text("StudyInstanceUID"))
    series = contents.series[header.text("SeriesInstanceUID")]
    try:
        series.number = header.whole("SeriesNumber", -1)
        series.number = None if series.number < 0 else series.number
        layout = dicom_header.read_layout(header, limits.image)
        series.planes += read_planes(header, layout, index)
    except RequestError as error:
        series.fault = error


def _opened(data: bytes, limits: StudyLimits) -> tuple[Header, Any]:
    limits.image.check_bytes(len(data))
    polyglot.check_whole(data)
    data_set = read_data_set(data, limits.image, KEYWORDS)
    return Header(data_set), data_set


def _remarks(contents: _Contents) -> list[str]:
    remarks = []
    if contents.foreign:
        remarks.append(f"{contents.foreign} files that are not DICOM were left out.")
    if contents.others:
        remarks.append(f"{contents.others} DICOM files that are not MR images were left out.")
    return remarks


def _choose(contents: _Contents, named: Mapping[str, str | None]) -> tuple[dict[str, _Series], list[str]]:
    """The series of each sequence, and what was guessed."""
    if unknown := sorted(set(named) - set(contents.series)):
        detail = f"The study has no MR series with the UID {', '.join(unknown)}."
        raise MissingSequence(detail, errors=[FieldError("part/job#/series", detail)])
    candidates = [part for uid, series in contents.series.items() if uid not in named for part in _by_echo(series)]
    told = {sequence: _named(contents.series[uid], sequence) for uid, sequence in named.items() if sequence}
    guessed = _guessed(candidates, taken=told)
    if not told and not guessed:
        raise MissingSequence(f"No series can be told to be one of {', '.join(SEQUENCES)}. {_ADVICE}")
    chosen = {**told, **guessed}
    chosen = {sequence: chosen[sequence] for sequence in SEQUENCES if sequence in chosen}
    return chosen, [_statement(sequence, series) for sequence, series in chosen.items() if sequence in guessed]


def _guessed(candidates: Iterable[_Series], taken: Container[str]) -> dict[str, _Series]:
    found: dict[str, list[_Series]] = defaultdict(list)
    for series in candidates:
        if (sequence := _guess(series)) and sequence not in taken:
            found[sequence].append(series)
    return {sequence: _only(sequence, series) for sequence, series in found.items()}


def _guess(series: _Series) -> str | None:
    return guess(series.planes[0].acquisition) if series.planes else None


def _named(series: _Series, sequence: str) -> _Series:
    """A series that the caller names; of several echoes in it the one that looks like the sequence."""
    volumes = _by_echo(series)
    if len(volumes) > 1:
        volumes = [volume for volume in volumes if _guess(volume) == sequence]
    if len(volumes) != 1:
        raise MissingSequence(f"Which volume of {series.name} is {sequence} cannot be told: send it as NIfTI.")
    return volumes[0]


def _by_echo(series: _Series) -> Sequence[_Series]:
    """A series of two echoes, proton density and T2, holds two volumes."""
    echoes: dict[float | None, list[Plane]] = defaultdict(list)
    for plane in series.planes:
        echoes[plane.acquisition.echo_ms].append(plane)
    if not 1 < len(echoes) <= _MAX_ECHOES:
        return [series]
    return [_Series(series.number, planes, series.fault) for planes in echoes.values()]


def _only(sequence: str, series: Sequence[_Series]) -> _Series:
    """The one series that a sequence is taken from; reformatted and computed ones give way to what was measured."""
    measured = [one for one in series if one.planes[0].original]
    remaining = measured or list(series)
    if len(remaining) > 1:
        names = ", ".join(sorted(one.name for one in remaining))
        raise MissingSequence(f"{len(remaining)} series look like {sequence}: {names}. {_ADVICE}")
    return remaining[0]


def _statement(sequence: str, series: _Series) -> str:
    acquisition = series.planes[0].acquisition
    timings = guess(replace(acquisition, description="")) == sequence
    described = guess(Acquisition(acquisition.description, acquisition.contrast_agent)) == sequence
    evidence = " and ".join(what for what, holds in (("its description", described), ("its timings", timings)) if holds)
    name = series.name[0].upper() + series.name[1:]
    return f"{name} ({len(series.planes)} slices) is taken as {sequence}: a guess from {evidence or 'its header'}."


def _arranged(series: _Series, limits: StudyLimits) -> Stack:
    try:
        if series.fault:
            raise series.fault
        arranged = stack(series.planes, limits.volume.min_slices)
    except RequestError as error:
        # Which series is at fault, for a caller who sent a dozen.
        raise type(error)(f"{error.detail} ({series.name})", errors=error.errors) from error
    rows, columns = arranged.planes[0].size
    limits.volume.check_shape((columns, rows, len(arranged.planes)))
    if fault := limits.volume.fault_of(arranged.affine.tolist()):
        raise InvalidDicom(f"The geometry of {series.name} {fault}.")
    return arranged


def _load(archive: StudyZip, arranged: Stack, limits: StudyLimits) -> Volume:
    rows, columns = arranged.planes[0].size
    voxels = np.empty((columns, rows, len(arranged.planes)), np.float32, order="F")
    opened: tuple[int, Any, Layout] | None = None
    for index, plane in enumerate(arranged.planes):
        # Frames of one file come one after another: it is opened once.
        if opened is None or opened[0] != plane.source:
            header, data_set = _opened(archive.read(plane.source), limits)
            opened = plane.source, data_set, dicom_header.read_layout(header, limits.image)
        voxels[:, :, index] = read_pixels(opened[1], opened[2], plane.frame)
    return Volume(voxels, arranged.affine)
