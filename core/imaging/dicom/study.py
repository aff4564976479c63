"""A zip of one DICOM study to volumes by sequence, with a choice among its series that says what it rests on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final, TypeVar

import numpy as np

from core.errors import InvalidDicom, RequestError
from core.imaging.dicom import header as dicom_header
from core.imaging.dicom.header import Layout
from core.imaging.dicom.plan import Plan, Volume, make_plan, of_series
from core.imaging.dicom.results.reference import Reference, read_reference
from core.imaging.dicom.selection.choice import Confidence, Decision
from core.imaging.dicom.selection.table import series_table
from core.imaging.dicom.series import Plane, Stack, read_pixels
from core.imaging.dicom.study_zip import StudyLimits, StudyZip
from core.imaging.dicom.survey import Contents, opened, remarks, survey, survey_metadata
from core.imaging.quiet import hush_decoders
from core.imaging.volume import Volume as Voxels

DEFAULT_LIMITS: Final = StudyLimits()
NAMED: Final = "named-by-caller"
"""The entry of the table for a series that the caller names."""
# Of a study of hundreds of series, those that come nearest.
_MOST_ALTERNATIVES: Final = 16

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Alternative:
    """A series that was not taken for a sequence: its score for it, and why not."""

    uid: str
    number: int | None
    slices: int
    score: float
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """The series that a sequence was taken from: ``slices`` are those used; ``number`` is None where it has none.

    ``uid`` (SeriesInstanceUID) and ``frame_of_reference`` (its UID, None where it is missing) let a result be filed
    with its study. They go into the report and nowhere else. ``reasons`` begin with the names of entries of the table;
    ``score`` and ``confidence`` are None where the caller named the series.
    """

    sequence: str
    uid: str
    number: int | None
    slices: int
    frame_of_reference: str | None
    score: float | None = None
    confidence: Confidence | None = None
    reasons: tuple[str, ...] = ()
    alternatives: tuple[Alternative, ...] = ()


@dataclass(frozen=True, slots=True)
class Open:
    """A sequence that no series was taken for: why, and which came nearest."""

    sequence: str
    reasons: tuple[str, ...]
    alternatives: tuple[Alternative, ...] = ()


@dataclass(frozen=True, slots=True)
class Preview:
    """What a job would take of a study, and ``refusal`` if it would fail."""

    sources: tuple[Source, ...]
    left_open: tuple[Open, ...]
    warnings: tuple[str, ...]
    refusal: RequestError | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """Volumes (float32) by sequence, each on its own grid, what was noticed and guessed, and where they come from.

    ``references`` by sequence are what results as DICOM refer to and bear; empty where none are wanted.
    """

    volumes: Mapping[str, Voxels]
    warnings: tuple[str, ...]
    sources: tuple[Source, ...] = ()
    references: Mapping[str, Reference] = field(default_factory=dict)


def read_study(
    file: BinaryIO,
    limits: StudyLimits = DEFAULT_LIMITS,
    series: Mapping[str, str | None] | None = None,
    *,
    referenced: bool = False,
) -> Study:
    """The sequences in a zip of one study.

    ``series`` says which sequence series are by their SeriesInstanceUID, or by ``hashed_uid``, None to leave one out;
    the sequences that it does not name are chosen among the series that it does not name
    (``core.imaging.dicom.selection``). With ``referenced`` results as DICOM will be made, so the patient is read too.
    The zip is read twice: all headers, then the pixels of the series that are used. Memory is that of the volumes and
    of the largest single file.

    Raises ``InvalidDicom`` (broken zip or file, several studies), ``NotMr``, ``MissingSequence`` (nothing recognised,
    all that might be is in doubt, or a series named that is not there), ``InconsistentGeometry``, ``TooFewSlices``,
    ``UnsupportedTransferSyntax``, ``InputTooLarge`` or ``DecompressionBomb``. No detail quotes a text of the headers
    or a name in the zip, nor a UID. A file or series that cannot be used is refused where it is wanted, and otherwise
    left out with a warning that says why.
    """
    return _guarded(lambda: _read(StudyZip(file, limits), limits, series or {}, referenced=referenced))


def preview_study(
    file: BinaryIO,
    limits: StudyLimits = DEFAULT_LIMITS,
    series: Mapping[str, str | None] | None = None,
) -> Preview:
    """What ``read_study`` would take, from headers and a slice of each series that it would. Raises as it does.

    But what would fail the job for want of a usable series is told in the preview.
    """

    def preview() -> Preview:
        archive = StudyZip(file, limits)
        contents = survey(archive, limits)
        return _preview(contents, make_plan(contents, series or {}, limits, _looks_like_image(archive, limits)))

    return _guarded(preview)


def preview_metadata(data_sets: Iterable[Any], limits: StudyLimits = DEFAULT_LIMITS) -> Preview:
    """The same from pydicom data sets without pixels. What pixels would show, a mask of two values, stays unseen."""

    def preview() -> Preview:
        contents = survey_metadata(data_sets, limits)
        return _preview(contents, make_plan(contents, {}, limits, lambda _: True))

    return _guarded(preview)


def _guarded(work: Callable[[], T]) -> T:
    hush_decoders()
    try:
        return work()
    except RequestError:
        raise
    except Exception as error:
        raise InvalidDicom("A DICOM file of the study is broken.") from error


def _read(archive: StudyZip, limits: StudyLimits, named: Mapping[str, str | None], *, referenced: bool) -> Study:
    contents = survey(archive, limits)
    plan = make_plan(contents, named, limits, _looks_like_image(archive, limits))
    if plan.refusal:
        raise plan.refusal
    volumes, references = {}, {}
    for sequence, volume in plan.chosen.items():
        assert volume.stack is not None  # noqa: S101  what is chosen has been arranged
        try:
            volumes[sequence] = _load(archive, volume.stack, limits)
            if referenced:
                first = archive.read(volume.stack.planes[0].source)
                references[sequence] = read_reference(first, limits.image, volume.stack.planes)
        except RequestError as error:
            raise of_series(volume.series, error) from error
    found = _preview(contents, plan)
    return Study(volumes, found.warnings, found.sources, references)


def _preview(contents: Contents, plan: Plan) -> Preview:
    sources = tuple(_source(sequence, volume, plan) for sequence, volume in plan.chosen.items())
    warnings = list(remarks(contents, used={source.uid for source in sources})) + list(plan.warnings)
    for sequence, volume in plan.chosen.items():
        warnings += [f"{sequence}: {note}" for note in volume.stack.warnings] if volume.stack else []
    if len({source.frame_of_reference for source in sources}) > 1:
        warnings.append("The series have different frames of reference: the patient may have moved between them.")
    left_open = tuple(
        Open(decision.sequence, _said(decision.missing), _alternatives(decision, plan))
        for decision in plan.selection.values()
        if decision.chosen is None
    )
    return Preview(sources, left_open, tuple(warnings), plan.refusal)


def _source(sequence: str, volume: Volume, plan: Plan) -> Source:
    assert volume.stack is not None  # noqa: S101
    series, planes = volume.series, volume.stack.planes
    frame_of_reference = planes[0].frame_of_reference or None
    if sequence in plan.named:
        return Source(sequence, series.uid, series.number, len(planes), frame_of_reference, reasons=_said((NAMED,)))
    decision = plan.selection[sequence]
    assert decision.chosen is not None  # noqa: S101
    return Source(
        sequence,
        series.uid,
        series.number,
        len(planes),
        frame_of_reference,
        decision.chosen.score,
        decision.confidence,
        _said(decision.chosen.reasons),
        _alternatives(decision, plan),
    )


def _alternatives(decision: Decision, plan: Plan) -> tuple[Alternative, ...]:
    found = []
    for passed in decision.alternatives[:_MOST_ALTERNATIVES]:
        judged = passed.judged
        series = plan.volumes[judged.candidate.key].series
        reasons = _said(dict.fromkeys((passed.why, *judged.reasons)))
        found.append(Alternative(series.uid, series.number, judged.candidate.slices, judged.score, reasons))
    return tuple(found)


def _said(names: Iterable[str]) -> tuple[str, ...]:
    """Entries of the table, each by its name and what it says."""
    return tuple(f"{name}: {series_table().says(name)}" for name in names)


def _looks_like_image(archive: StudyZip, limits: StudyLimits) -> Callable[[Plane], bool]:
    """Whether a plane holds more than two values; what cannot be decoded is for the reading of the whole to refuse."""

    def look(plane: Plane) -> bool:
        try:
            header, data_set = opened(archive.read(plane.source), limits)
            layout = dicom_header.read_layout(header, limits.image)
            return len(np.unique(read_pixels(data_set, layout, plane.frame))) != 2
        except RequestError:
            return True

    return look


def _load(archive: StudyZip, arranged: Stack, limits: StudyLimits) -> Voxels:
    rows, columns = arranged.planes[0].size
    voxels = np.empty((columns, rows, len(arranged.planes)), np.float32, order="F")
    current: tuple[int, Any, Layout] | None = None
    for index, plane in enumerate(arranged.planes):
        # Frames of one file come one after another: it is opened once.
        if current is None or current[0] != plane.source:
            header, data_set = opened(archive.read(plane.source), limits)
            current = plane.source, data_set, dicom_header.read_layout(header, limits.image)
        voxels[:, :, index] = read_pixels(current[1], current[2], plane.frame)
    padded = np.isnan(voxels)
    if padded.any():
        # 0 is dark where no value is below it.
        voxels[padded] = np.fmin(0.0, np.fmin.reduce(voxels, axis=None))
    return Voxels(voxels, arranged.affine)
