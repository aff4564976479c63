"""Which MR sequence a DICOM header names: conservative, None wherever it leaves a doubt."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

# Words that settle that none of the four is meant, whatever else the description says.
_OTHER: Final = re.compile(
    r"dwi|adc|diff|trace|dti|fa\b|swi|swan|perf|dsc|dce|asl|bold|fmri|tof|angio|mra|mrv|venous"
    r"|scout|locali[sz]er|survey|spectro|mrs|pd\b|proton|t2 ?\*|t2 ?star|gre\b|stir|subtract"
)
_FLAIR: Final = re.compile(r"flair|dark[ -]?fluid")
_T1: Final = re.compile(r"t1|mp ?-?rage|bravo|spgr|tfl3d")
_T2: Final = re.compile(r"t2")
_CONTRAST: Final = re.compile(r"t1 ?-?ce\b|t1c\b|\+ ?c\b|\+ ?gd|\bgd\b|gado|\bpost\b|\bkm\b|contrast|\bce\b|\bc\+")
_NO_CONTRAST: Final = re.compile(r"\bpre\b|without|\bw/o\b|non ?-?contrast|nativ|\bno contrast")

# Spin-echo timings at 1.5 and 3 T, in ms; the gaps between them are wide on purpose.
_FLAIR_INVERSION_MS: Final = (1_650.0, 3_000.0)
_LONG_ECHO_MS: Final = 75.0
_SHORT_ECHO_MS: Final = 25.0
_LONG_REPETITION_MS: Final = 2_500.0
_SHORT_REPETITION_MS: Final = 900.0


@dataclass(frozen=True, slots=True)
class Acquisition:
    """What a header says of how the slice was taken; times in ms, None or empty where it is silent."""

    description: str = ""
    contrast_agent: str = ""
    scanning_sequence: tuple[str, ...] = ()
    echo_ms: float | None = None
    repetition_ms: float | None = None
    inversion_ms: float | None = None


def guess(acquisition: Acquisition) -> str | None:
    """``t1``, ``t1ce``, ``t2`` or ``flair``; None where description and timings do not settle it."""
    text = re.sub(r"[_/.,;]+", " ", acquisition.description.lower())
    if _OTHER.search(text):
        return None
    contrast = _has_contrast(acquisition, text)
    t1, t2, flair = (pattern.search(text) is not None for pattern in (_T1, _T2, _FLAIR))
    if t1 and t2:
        return None
    if t1:
        # A T1-weighted FLAIR is a T1: the fluid suppression alone does not make the contrast.
        return "t1ce" if contrast else "t1"
    if flair:
        return "flair"
    if t2:
        return "t2"
    return _by_timing(acquisition, contrast)


def _has_contrast(acquisition: Acquisition, text: str) -> bool:
    if _NO_CONTRAST.search(text):
        return False
    agent = acquisition.contrast_agent.strip().lower()
    return agent not in ("", "no", "none", "n", "0") or _CONTRAST.search(text) is not None


def _by_timing(acquisition: Acquisition, contrast: bool) -> str | None:
    echo, repetition, inversion = acquisition.echo_ms, acquisition.repetition_ms, acquisition.inversion_ms
    if "SE" not in acquisition.scanning_sequence or echo is None or repetition is None:
        return None
    if inversion:
        suppressed = _FLAIR_INVERSION_MS[0] <= inversion <= _FLAIR_INVERSION_MS[1]
        return "flair" if suppressed and echo >= _LONG_ECHO_MS else None
    if echo >= _LONG_ECHO_MS and repetition >= _LONG_REPETITION_MS:
        return "t2"
    if echo <= _SHORT_ECHO_MS and repetition <= _SHORT_REPETITION_MS:
        return "t1ce" if contrast else "t1"
    return None
