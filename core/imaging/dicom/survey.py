"""The first pass over a zip of one study: which series it holds, where their slices lie, and what cannot be used.

A file that cannot be used is a fault of its series, which matters only where that series is wanted. Files of other
kinds, and files that do not even say which series they belong to, are counted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from core.errors import InputTooLarge, InvalidDicom, NotMr, RequestError
from core.imaging import polyglot
from core.imaging.bare_dicom import claims_dicom
from core.imaging.dicom import header as dicom_header
from core.imaging.dicom.file import read_data_set
from core.imaging.dicom.header import Header
from core.imaging.dicom.identity import read_identity
from core.imaging.dicom.selection.acquisition import Acquisition, read_acquisition
from core.imaging.dicom.series import KEYWORDS, Plane, read_planes
from core.imaging.dicom.study_zip import NestedArchive, StudyLimits, StudyZip

# A file that is refused for its many elements costs up to a second: a study has a handful of them.
_MAX_COSTLY: Final = 50
# Remarks on series that were left out; of more, the number.
_MAX_REMARKS: Final = 8


@dataclass(slots=True, eq=False)
class Series:
    """The planes of one series, and how many ``files`` it has.

    ``fault`` is why ``faulty`` of them cannot be used, raised only if the series is wanted. ``acquisition`` is what its
    first file says, usable or not. ``uid`` is compared and reported, never shown.
    """

    uid: str = ""
    number: int | None = None
    planes: list[Plane] = field(default_factory=list)
    files: int = 0
    acquisition: Acquisition = field(default_factory=Acquisition)
    fault: RequestError | None = None
    faulty: int = 0

    @property
    def name(self) -> str:
        """How the series is called in warnings and problems."""
        if not self.uid:
            return "files without SeriesInstanceUID"
        return "a series without a number" if self.number is None else f"series {self.number}"

    @property
    def title(self) -> str:
        """The same at the start of a sentence."""
        return self.name[0].upper() + self.name[1:]


@dataclass(slots=True, eq=False)
class Contents:
    """What the first pass over the zip found."""

    series: dict[str, Series] = field(default_factory=dict)
    studies: set[str] = field(default_factory=set)
    foreign: int = 0
    other: NotMr | None = None
    others: int = 0
    # Files that claim to be DICOM and do not say which series they belong to; why, by the number of files.
    broken: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    costly: int = 0
    # Viewers on a disk come with archives of their own.
    archive: NestedArchive | None = None
    archives: int = 0

    def of(self, header: Header) -> Series:
        """The series that a header names, with one file more."""
        uid = header.text("SeriesInstanceUID")
        series = self.series.get(uid)
        if series is None:
            series = self.series[uid] = Series(uid, acquisition=read_acquisition(header))
        series.files += 1
        return series


def survey(archive: StudyZip, limits: StudyLimits) -> Contents:
    """The headers of all files in a zip.

    Raises ``InvalidDicom`` for a broken zip, several studies, or a zip in which nothing can be read, ``NotMr`` where it
    holds nothing but other modalities, ``InputTooLarge`` for many files that are too large to be read.
    """
    contents = Contents()
    for index in range(len(archive)):
        try:
            data = archive.read(index)
        except NestedArchive as error:
            contents.archive, contents.archives = error, contents.archives + 1
            continue
        if claims_dicom(data):
            _note(contents, data, index, limits)
        else:
            contents.foreign += 1
    _check_study(contents)
    return contents


def survey_metadata(data_sets: Iterable[Any], limits: StudyLimits) -> Contents:
    """The same of data sets without pixels, as DICOMweb gives the metadata of a study. Raises the same."""
    contents = Contents()
    for index, data_set in enumerate(data_sets):
        header = Header(data_set)
        try:
            _check_identity(header)
        except RequestError as error:
            contents.broken[error.detail] += 1
            continue
        _note_header(contents, header, index, limits)
    _check_study(contents)
    return contents


def _check_study(contents: Contents) -> None:
    if not contents.series:
        raise _nothing_found(contents)
    if len(contents.studies) > 1:
        if "" in contents.studies:
            raise InvalidDicom("StudyInstanceUID is missing in some files: they may be of different studies.")
        raise InvalidDicom(f"The zip holds {len(contents.studies)} studies; send one.")


def opened(data: bytes, limits: StudyLimits) -> tuple[Header, Any]:
    """The header and the data set of one file; raises ``RequestError`` where it cannot be used."""
    limits.image.check_bytes(len(data))
    polyglot.check_whole(data)
    data_set = read_data_set(data, limits.image, KEYWORDS)
    return Header(data_set), data_set


def _note(contents: Contents, data: bytes, index: int, limits: StudyLimits) -> None:
    try:
        header, _ = opened(data, limits)
        _check_identity(header)
    except RequestError as error:
        _note_fault(contents, data, error)
        return
    _note_header(contents, header, index, limits)


def _note_header(contents: Contents, header: Header, index: int, limits: StudyLimits) -> None:
    try:
        dicom_header.check_modality(header)
    except NotMr as error:
        if not header.text("Modality") and header.text("SOPClassUID") in dicom_header.MR_CLASSES:
            # A slice of MR that does not say so: its series must not go on without it.
            series = contents.of(header)
            _blame(series, error)
            with suppress(RequestError):
                _number(series, header)
            return
        contents.other, contents.others = error, contents.others + 1
        return
    contents.studies.add(header.text("StudyInstanceUID"))
    series = contents.of(header)
    try:
        _number(series, header)
        layout = dicom_header.read_layout(header, limits.image)
        series.planes += read_planes(header, layout, index, series.acquisition)
    except RequestError as error:
        _blame(series, error)


def _check_identity(header: Header) -> None:
    """Raise ``InvalidDicom`` where an element that tells a file from others cannot be read at all."""
    for keyword in ("Modality", "SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID"):
        header.text(keyword)


def _note_fault(contents: Contents, data: bytes, fault: RequestError) -> None:
    """Find out whose fault it is that a file cannot be read."""
    if isinstance(fault, InputTooLarge):
        contents.costly += 1
        if contents.costly > _MAX_COSTLY:
            raise fault
    header = read_identity(data)
    try:
        if header.text("Modality"):
            dicom_header.check_modality(header)
        if not header.text("Modality") or not header.text("SeriesInstanceUID"):
            contents.broken[fault.detail] += 1
            return
        series = contents.of(header)
        _blame(series, fault)
        _number(series, header)
    except NotMr as error:
        contents.other, contents.others = error, contents.others + 1
    except RequestError:
        contents.broken[fault.detail] += 1


def _number(series: Series, header: Header) -> None:
    number = header.whole("SeriesNumber", -1)
    series.number = None if number < 0 else number


def _blame(series: Series, fault: RequestError) -> None:
    series.fault = series.fault or fault
    series.faulty += 1


def _nothing_found(contents: Contents) -> RequestError:
    if contents.other and contents.others >= sum(contents.broken.values()):
        return contents.other
    if contents.archive and not contents.broken:
        return contents.archive
    return InvalidDicom(next(iter(contents.broken), "The zip holds no DICOM file."))


def remarks(contents: Contents, used: Collection[str]) -> list[str]:
    """What was left out of a study and why; ``used`` are the UIDs of the series that were not."""
    found = []
    if contents.foreign:
        found.append(f"{contents.foreign} files that are not DICOM were left out.")
    if contents.others:
        found.append(f"{contents.others} DICOM files that are not MR images were left out.")
    if contents.archives:
        found.append(f"{contents.archives} archives within the zip were left out unopened.")
    return found + faults(contents, used)


def faults(contents: Contents, used: Collection[str] = ()) -> list[str]:
    """Why DICOM files that seem to be MR images cannot be used; ``used`` series are not mentioned."""
    found = [f"{count} DICOM files that cannot be read were left out: {why}" for why, count in contents.broken.items()]
    for uid, series in contents.series.items():
        if series.fault and uid not in used:
            share = f"{series.faulty} of {series.files} files"
            found.append(f"{series.title} was left out: {share} cannot be used. {series.fault.detail}")
    if len(found) > _MAX_REMARKS:
        more = len(found) - _MAX_REMARKS
        found = [*found[:_MAX_REMARKS], f"{more} more kinds of files or series that cannot be used were left out."]
    return found
