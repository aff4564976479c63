"""What a header says of how its images were taken, classic or enhanced. What it says badly counts as absent."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from pydicom.sequence import Sequence

from core.errors import InvalidDicom
from core.imaging.dicom.header import Header

KEYWORDS: Final = (
    "ImageType", "SeriesDescription", "ProtocolName", "SequenceName", "PulseSequenceName", "ScanningSequence",
    "SequenceVariant", "EchoTime", "EchoNumbers", "RepetitionTime", "InversionTime", "MRAcquisitionType",
    "BodyPartExamined", "AcquisitionDate", "AcquisitionTime", "AcquisitionDateTime", "ContrastBolusAgent",
    "ContrastBolusAgentSequence", "ContrastBolusVolume", "ContrastBolusRoute", "ContrastBolusTotalDose",
    "ContrastBolusIngredient", "DiffusionBValue", "DerivationDescription",
    "AnatomicRegionSequence", "BitsStored", "LargestImagePixelValue", "EchoPulseSequence", "EchoPlanarPulseSequence",
    "SteadyStatePulseSequence", "AcquisitionContrast", "ComplexImageComponent", "VolumetricProperties",
)  # fmt: skip
"""All that is read for this, besides the functional groups. No element that names a patient is among them."""

# What an enhanced header calls the sequence (EchoPulseSequence), as a classic one does (ScanningSequence).
_ECHOES: Final = {"SPIN": ("SE",), "GRADIENT": ("GR",), "BOTH": ("GR", "SE")}
# Anatomic regions (SCT, and SRT before it) that are not the head.
_SPINE_CODES: Final = {"421060004", "122494005", "122495006", "122496007", "T-11500", "T-11501", "T-11502", "T-11503"}
_NECK_CODES: Final = {"45048000", "T-1600", "T-D1600"}
_TIME: Final = re.compile(r"(\d{2})(\d{2})(\d{2}(?:\.\d{1,6})?)")


@dataclass(frozen=True, slots=True)
class Acquisition:
    """What a header says of how its images were taken. Times in ms; None or empty where it is silent.

    ``agent_codes`` counts the items of ContrastBolusAgentSequence; ``agent_volume_ml`` and ``agent_route`` are as the
    header has them, ``agent_given`` is what an enhanced one says of its frames (YES, NO). ``began_s`` is the time of
    acquisition in seconds since midnight, with the days before it where the header has a date. ``levels`` is the
    largest stored value as the header has it. Texts are as the file has them, never to be shown.
    """

    description: str = ""
    contrast_agent: str = ""
    scanning_sequence: tuple[str, ...] = ()
    echo_ms: float | None = None
    repetition_ms: float | None = None
    inversion_ms: float | None = None
    protocol: str = ""
    sequence_name: str = ""
    variants: tuple[str, ...] = ()
    image_type: tuple[str, ...] = ()
    derivation: str = ""
    weighting: str = ""
    component: str = ""
    three_d: bool = False
    body_part: str = ""
    diffusion: bool = False
    bits: int | None = None
    levels: float | None = None
    agent_codes: int = 0
    agent_volume_ml: float | None = None
    agent_route: str = ""
    agent_given: str = ""
    began_s: float | None = None

    def without_agent(self) -> Acquisition:
        """The same where nothing is said of an agent."""
        return replace(self, contrast_agent="", agent_codes=0, agent_volume_ml=None, agent_route="", agent_given="")

    @property
    def original(self) -> bool:
        """Whether the images are measured ones, as far as the first value of ImageType says."""
        return self.image_type[:1] != ("DERIVED",)


def read_acquisition(header: Header) -> Acquisition:
    """All that the header says at its frame; never raises."""
    agents = _value(header, "ContrastBolusAgentSequence")
    b_value = _number(header, "DiffusionBValue")
    volume = _number(header, "ContrastBolusVolume")
    return Acquisition(
        **_varying(header),
        description=_text(header, "SeriesDescription"),
        contrast_agent=_word(header, "ContrastBolusAgent") or _word(header, "ContrastBolusIngredient"),
        scanning_sequence=_scanning(header),
        repetition_ms=_number(header, "RepetitionTime"),
        protocol=_text(header, "ProtocolName"),
        sequence_name=_text(header, "SequenceName") or _text(header, "PulseSequenceName"),
        variants=_codes(header, "SequenceVariant"),
        derivation=_text(header, "DerivationDescription"),
        weighting=_text(header, "AcquisitionContrast").upper(),
        three_d=_text(header, "MRAcquisitionType").upper() == "3D",
        body_part=_body_part(header),
        diffusion=b_value is not None and b_value > 0,
        bits=int(_number(header, "BitsStored") or 0) or None,
        levels=_number(header, "LargestImagePixelValue"),
        agent_codes=len(agents) if isinstance(agents, Sequence) else 0,
        agent_volume_ml=volume if volume is not None else _number(header, "ContrastBolusTotalDose"),
        agent_route=_text(header, "ContrastBolusRoute"),
        agent_given=_text(header, "ContrastBolusAgentAdministered").upper(),
        began_s=_began(header),
    )


def at_frame(acquisition: Acquisition, header: Header) -> Acquisition:
    """The acquisition of a series as another of its images has it: what may vary is read anew, and shared if it can."""
    varying = _varying(header)
    if all(getattr(acquisition, name) == value for name, value in varying.items()):
        return acquisition
    return replace(acquisition, **varying)


def _varying(header: Header) -> dict[str, Any]:
    """What may vary within one series: echoes, inversions, magnitude and phase."""
    echo, inversion = _number(header, "EffectiveEchoTime"), _number(header, "InversionTimes")
    image_type = _codes(header, "FrameType") or _codes(header, "ImageType")
    return {
        "echo_ms": _number(header, "EchoTime") if echo is None else echo,
        "inversion_ms": _number(header, "InversionTime") if inversion is None else inversion,
        "image_type": tuple(text.replace("_", " ") for text in image_type),
        "component": _text(header, "ComplexImageComponent").upper(),
    }


def _scanning(header: Header) -> tuple[str, ...]:
    """ScanningSequence, or what an enhanced header says in its place."""
    if classic := _codes(header, "ScanningSequence"):
        return classic
    found = _ECHOES.get(_text(header, "EchoPulseSequence").upper(), ())
    if _text(header, "InversionRecovery").upper() == "YES":
        found = (*found, "IR")
    if _text(header, "EchoPlanarPulseSequence").upper() == "YES":
        found = (*found, "EP")
    return found


def _body_part(header: Header) -> str:
    """BodyPartExamined, or the region that an enhanced header names by its code."""
    if part := _text(header, "BodyPartExamined").upper():
        return part
    for region in _value(header, "AnatomicRegionSequence") or ():
        code = str(region.get("CodeValue", "")).strip()
        if code in _SPINE_CODES:
            return "SPINE"
        if code in _NECK_CODES:
            return "NECK"
    return ""


def _began(header: Header) -> float | None:
    """Seconds at which the acquisition began; the time of a frame where the file as a whole has none."""
    for keyword in ("AcquisitionDateTime", "FrameAcquisitionDateTime"):
        text = _text(header, keyword)
        if (clock := _clock(text[8:])) is not None:
            return _days(text[:8]) + clock
    clock = _clock(_text(header, "AcquisitionTime"))
    return None if clock is None else _days(_text(header, "AcquisitionDate")) + clock


def _days(text: str) -> float:
    """Seconds of the days before a date; 0 without one."""
    try:
        return datetime.strptime(text, "%Y%m%d").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0


def _clock(text: str) -> float | None:
    """Seconds since midnight of a DICOM time."""
    found = _TIME.match(text)
    return None if found is None else int(found[1]) * 3600.0 + int(found[2]) * 60.0 + float(found[3])


def _value(header: Header, keyword: str) -> Any:
    try:
        return header.value(keyword)
    except InvalidDicom:
        return None


def _text(header: Header, keyword: str) -> str:
    return " ".join(_texts(header, keyword))


def _word(header: Header, keyword: str) -> str:
    """The text; empty where it is a dash or a dot in place of one."""
    text = _text(header, keyword)
    return text if any(letter.isalnum() for letter in text) else ""


def _codes(header: Header, keyword: str) -> tuple[str, ...]:
    return tuple(text.upper() for text in _texts(header, keyword) if text)


def _texts(header: Header, keyword: str) -> tuple[str, ...]:
    try:
        return header.texts(keyword)
    except InvalidDicom:
        return ()


def _number(header: Header, keyword: str) -> float | None:
    try:
        return header.number(keyword)
    except InvalidDicom:
        return None
