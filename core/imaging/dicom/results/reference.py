"""What a result refers to and bears of the series that it lies on.

This is the one place where elements that name a patient are read, and ``Reference.lend`` the one way out of it: into a
result object. They stay bytes, so that a value arrives as it came, whatever its character set, and no ``repr`` shows
them (docs/adr/0046-results-as-dicom.md).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import Tag
from pydicom.uid import MRImageStorage

from core.errors import InvalidDicom
from core.imaging.dicom.file import read_data_set
from core.imaging.dicom.header import Header
from core.imaging.dicom.series import KEYWORDS, Plane
from core.imaging.limits import ImageLimits

_CHARACTER_SET: Final = "SpecificCharacterSet"
# Type 2 of the Patient and General Study modules: there, and empty where the source has none.
EXPECTED: Final = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber",
    "ReferringPhysicianName", "StudyID",
)  # fmt: skip
# There where the source has them.
_ALSO: Final = (
    _CHARACTER_SET, "IssuerOfPatientID", "PatientAge", "PatientSize", "PatientWeight", "StudyDescription",
)  # fmt: skip
# Together or not at all: PS3.3 C.7.1.1.
_REMOVED: Final = ("PatientIdentityRemoved", "DeidentificationMethod")
_BORNE: Final = (*EXPECTED, *_ALSO, *_REMOVED)
# Far longer than any of them may be.
_MOST_BYTES: Final = 16_384
_UID: Final = re.compile(r"[0-9]+(\.[0-9]+)+")
_LONGEST_UID: Final = 64


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Reference:
    """The series that a result lies on: its UIDs, its planes in the order of the voxels' third axis, and its patient.

    ``sop_class`` is of its files; ``frames`` says whether that class has frames, which a plane's ``frame`` then counts.
    """

    study: str
    series: str
    frame_of_reference: str
    sop_class: str
    frames: bool
    planes: tuple[Plane, ...]
    _borne: tuple[RawDataElement, ...] = field(default=(), kw_only=True)

    @property
    def instances(self) -> tuple[str, ...]:
        """SOPInstanceUIDs of the files, each once, in order."""
        return tuple(dict.fromkeys(plane.instance for plane in self.planes))

    def lend(self, result: Dataset) -> None:
        """Give ``result`` the elements of patient and study, in the source's own bytes and character set."""
        for keyword in _BORNE:
            if keyword in result:
                del result[keyword]
        for element in self._borne:
            result[element.tag] = element
        for keyword in EXPECTED:
            if keyword not in result:
                setattr(result, keyword, "")


def read_reference(data: bytes, limits: ImageLimits, planes: tuple[Plane, ...]) -> Reference:
    """The reference that ``planes`` of one series are, of which ``data`` is the file of the first.

    Raises ``InvalidDicom`` naming the element without which no result can refer to the series.
    """
    data_set = read_data_set(data, limits, (*KEYWORDS, *_BORNE))
    header = Header(data_set)
    found = Reference(
        _uid(header.text("StudyInstanceUID"), "StudyInstanceUID"),
        _uid(header.text("SeriesInstanceUID"), "SeriesInstanceUID"),
        _uid(header.text("FrameOfReferenceUID"), "FrameOfReferenceUID"),
        _uid(header.text("SOPClassUID"), "SOPClassUID"),
        header.text("SOPClassUID") != MRImageStorage,
        planes,
        _borne=_borne_by(data_set),
    )
    for plane in planes:
        _uid(plane.instance, "SOPInstanceUID")
        if plane.frame_of_reference != found.frame_of_reference:
            raise InvalidDicom("Results as DICOM need one FrameOfReferenceUID in all slices of the series.")
    return found


def _uid(value: str, keyword: str) -> str:
    if len(value) > _LONGEST_UID or not _UID.fullmatch(value):
        raise InvalidDicom(f"Results as DICOM need a {keyword} in every slice, and the series has none that is a UID.")
    return value


def _borne_by(data_set: Any) -> tuple[RawDataElement, ...]:
    elements = {keyword: raw for keyword in _BORNE if (raw := _raw(data_set, keyword)) is not None}
    if any(keyword not in elements for keyword in _REMOVED):
        for keyword in _REMOVED:
            elements.pop(keyword, None)
    return tuple(elements.values())


def _raw(data_set: Any, keyword: str) -> RawDataElement | None:
    """The element as its bytes, in explicit little endian; None where it is absent."""
    tag = Tag(tag_for_keyword(keyword) or 0)
    element = data_set.get_item(tag)
    if element is None:
        return None
    value = element.value
    if not isinstance(value, bytes):
        # pydicom has looked at it, as it does at the character set, or it is empty.
        texts = value if isinstance(value, (list, tuple, MultiValue)) else [value or ""]
        value = "\\".join(map(str, texts)).encode("ascii", "replace")
    if len(value) > _MOST_BYTES:
        raise InvalidDicom(f"{keyword} is longer than {_MOST_BYTES} bytes.")
    value += b" " * (len(value) % 2)
    return RawDataElement(tag, dictionary_VR(tag), len(value), value, 0, False, True, True)
