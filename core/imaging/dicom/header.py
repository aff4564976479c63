"""What the elements of an MR data set say, as checked plain values; nothing here touches a pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

from pydicom import uid
from pydicom.multival import MultiValue

from core.errors import DecompressionBomb, InvalidDicom, NotMr, UnusableImage
from core.imaging.dicom.voi import LINEAR, Window
from core.imaging.limits import ImageLimits

MR_CLASSES: Final = frozenset(
    {uid.MRImageStorage, uid.EnhancedMRImageStorage, uid.LegacyConvertedEnhancedMRImageStorage}
)
_GREY: Final = ("MONOCHROME1", "MONOCHROME2")
_WIDTHS: Final = (8, 16)
# Larger than anything an MR header holds, and small enough that float32 arithmetic on pixels stays finite.
_LARGEST: Final = 1e12
# No codec of DICOM shrinks real slices a hundredfold: a file that declares more is lying or hostile.
_MAX_EXPANSION: Final = 100

# Functional group of the enhanced classes that holds each attribute.
_GROUPS: Final = {
    "PixelSpacing": "PixelMeasuresSequence",
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
    "WindowCenter": "FrameVOILUTSequence",
    "WindowWidth": "FrameVOILUTSequence",
    "VOILUTFunction": "FrameVOILUTSequence",
    "RepetitionTime": "MRTimingAndRelatedParametersSequence",
    "EffectiveEchoTime": "MREchoSequence",
    "InversionTimes": "MRModifierSequence",
    "InversionRecovery": "MRModifierSequence",
    "FrameType": "MRImageFrameTypeSequence",
    "ComplexImageComponent": "MRImageFrameTypeSequence",
    "AcquisitionContrast": "MRImageFrameTypeSequence",
    "DiffusionBValue": "MRDiffusionSequence",
    "ContrastBolusAgentAdministered": "ContrastBolusUsageSequence",
    "AnatomicRegionSequence": "FrameAnatomySequence",
    "FrameAcquisitionDateTime": "FrameContentSequence",
}


@dataclass(frozen=True, slots=True)
class Layout:
    """How the pixels are stored. ``rows`` and ``columns`` in pixels, ``frames`` at least 1."""

    rows: int
    columns: int
    frames: int
    allocated: int
    stored: int
    signed: bool
    inverted: bool


class Header:
    """Typed access to one frame of a data set; every malformed element becomes ``InvalidDicom`` naming it."""

    def __init__(self, data_set: Any) -> None:
        self._data_set = data_set
        self._frame = 0

    def at(self, frame: int) -> Header:
        """The same header, seen from ``frame`` (zero-based)."""
        other = Header(self._data_set)
        other._frame = frame
        return other

    def value(self, keyword: str) -> Any:
        """The element's value at this frame, from the per-frame, shared or top level; None where it is absent."""
        try:
            found = self._in_groups(keyword)
            return self._data_set.get(keyword) if found is None else found
        except Exception as error:
            raise InvalidDicom(f"{keyword} cannot be read.") from error

    def _in_groups(self, keyword: str) -> Any:
        group = _GROUPS.get(keyword)
        if group is None:
            return None
        per_frame = self._data_set.get("PerFrameFunctionalGroupsSequence") or []
        shared = self._data_set.get("SharedFunctionalGroupsSequence") or []
        items = [*per_frame[self._frame : self._frame + 1], *shared[:1]]
        for item in items:
            for entry in (item.get(group) or [])[:1]:
                if entry.get(keyword) is not None:
                    return entry.get(keyword)
        return None

    def text(self, keyword: str) -> str:
        """The value as text, empty where it is absent; several values are joined with a blank."""
        return " ".join(self.texts(keyword))

    def texts(self, keyword: str) -> tuple[str, ...]:
        """All values as texts."""
        value = self.value(keyword)
        if value is None:
            return ()
        several = isinstance(value, (list, tuple, MultiValue))
        return tuple(str(item).strip() for item in (value if several else [value]))

    def numbers(self, keyword: str) -> tuple[float, ...]:
        """All values as finite numbers."""
        try:
            numbers = tuple(float(text) for text in self.texts(keyword))
        except ValueError as error:
            raise InvalidDicom(f"{keyword} is not a number.") from error
        if not all(math.isfinite(number) and abs(number) <= _LARGEST for number in numbers):
            raise InvalidDicom(f"{keyword} is not a number of reasonable size.")
        return numbers

    def number(self, keyword: str) -> float | None:
        """The first value as a finite number, None where the element is absent."""
        numbers = self.numbers(keyword)
        return numbers[0] if numbers else None

    def whole(self, keyword: str, default: int | None = None) -> int:
        """The first value as a whole number; ``InvalidDicom`` where it is absent and there is no default."""
        number = self.number(keyword)
        if number is None:
            if default is None:
                raise InvalidDicom(f"{keyword} is missing.")
            return default
        if number != int(number):
            raise InvalidDicom(f"{keyword} is not a whole number.")
        return int(number)


def check_modality(header: Header) -> str:
    """``MR``; raises ``NotMr`` naming the modality or the kind of object for everything else."""
    modality = header.text("Modality").upper()
    if not modality:
        raise NotMr("The file names no Modality; MR is needed.")
    if modality != "MR":
        shown = modality if modality.isalnum() and len(modality) <= 16 else "of another kind"
        raise NotMr(f"The Modality is {shown}, MR is needed.")
    sop_class = uid.UID(header.text("SOPClassUID"))
    if sop_class and sop_class not in MR_CLASSES:
        name = sop_class.name if sop_class.name != str(sop_class) else "an unknown class"
        raise NotMr(f"The file is {name}, an MR Image is needed.")
    return modality


def read_layout(header: Header, limits: ImageLimits) -> Layout:
    """How the pixels are stored, judged against the limits before any is decoded.

    Raises ``InvalidDicom`` for a contradiction, ``UnusableImage`` for colour, mosaics and slices too small,
    ``DecompressionBomb`` for a size beyond the limits.
    """
    if "MOSAIC" in (text.upper() for text in header.texts("ImageType")):
        raise UnusableImage("The image is a mosaic, many small slices on one sheet (ImageType); send single slices.")
    rows, columns = header.whole("Rows"), header.whole("Columns")
    if rows < 1 or columns < 1:
        raise InvalidDicom(f"Rows is {rows} and Columns is {columns}: there are no pixels.")
    limits.check_size(rows, columns)
    frames = header.whole("NumberOfFrames", 1)
    if frames < 1:
        raise InvalidDicom(f"NumberOfFrames is {frames}.")
    limits.check_frames(frames)
    photometric = header.text("PhotometricInterpretation").upper()
    _check_grey(header, photometric)
    allocated = header.whole("BitsAllocated")
    stored = header.whole("BitsStored", allocated)
    if allocated not in _WIDTHS:
        raise InvalidDicom(f"BitsAllocated is {allocated}, 8 or 16 are supported.")
    if not 1 <= stored <= allocated:
        raise InvalidDicom(f"BitsStored is {stored} in {allocated} allocated bits.")
    if header.whole("HighBit", stored - 1) != stored - 1:
        raise InvalidDicom(f"HighBit must be BitsStored - 1 = {stored - 1}.")
    if rows * columns * frames * allocated // 8 > limits.max_bytes * _MAX_EXPANSION:
        raise DecompressionBomb(f"{frames} frames of {columns}x{rows} pixels are beyond the limit.")
    signed = header.whole("PixelRepresentation", 0) == 1
    return Layout(rows, columns, frames, allocated, stored, signed, photometric == "MONOCHROME1")


def _check_grey(header: Header, photometric: str) -> None:
    if not photometric:
        raise InvalidDicom("PhotometricInterpretation is missing.")
    if photometric not in _GREY or header.whole("SamplesPerPixel", 1) != 1:
        raise UnusableImage("The DICOM image is in colour; MONOCHROME1 or MONOCHROME2 is needed.")


def read_spacing(header: Header) -> tuple[float, float] | None:
    """PixelSpacing in mm as (between rows, between columns); None where it is absent or not a distance."""
    try:
        spacing = header.numbers("PixelSpacing")
    except InvalidDicom:
        return None
    if len(spacing) != 2 or min(spacing) <= 0:
        return None
    return spacing[0], spacing[1]


def read_window(header: Header) -> Window | None:
    """The first window of the frame; None where there is none."""
    centres, widths = header.numbers("WindowCenter"), header.numbers("WindowWidth")
    if not centres or not widths:
        return None
    function = header.text("VOILUTFunction").upper() or LINEAR
    return Window(centres[0], widths[0], function)


def read_rescale(header: Header) -> tuple[float, float]:
    """(slope, intercept), (1, 0) where they are absent; raises ``InvalidDicom`` for a slope of 0."""
    slope, intercept = header.number("RescaleSlope"), header.number("RescaleIntercept")
    if slope == 0:
        raise InvalidDicom("RescaleSlope is 0: all pixels would be equal.")
    return (1.0 if slope is None else slope), (0.0 if intercept is None else intercept)
