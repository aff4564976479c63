"""The test corpus for choosing MR series: loads it, makes headers of it, and scores a chooser.

What a row and a study are, and where they come from: tests/fixtures/series/README.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import EnhancedMRImageStorage, MRImageStorage

FOLDER = Path(__file__).resolve().parents[1] / "fixtures" / "series"
SEQUENCES = ("t1", "t1ce", "t2", "flair")

Header = Mapping[str, Any]
Chooser = Callable[[Header], str | None]
StudyChooser = Callable[[Sequence[Header]], Mapping[str, int | None]]


@dataclass(frozen=True)
class Row:
    """One series. ``truth`` is one of SEQUENCES or the kind of a bystander; ``also`` holds further right answers."""

    source: str
    family: str
    vendor: str
    language: str
    truth: str
    header: Header
    also: tuple[str, ...] = ()
    open_ok: bool = False
    enhanced: bool = False


@dataclass(frozen=True)
class Study:
    """One study. ``right`` maps a sequence to the acceptable series numbers, best first; None where it is missing."""

    study: str
    source: str
    vendor: str
    language: str
    series: tuple[Header, ...]
    right: Mapping[str, tuple[int, ...] | None]


@dataclass
class Score:
    """Counts of answers. ``opened`` are needless refusals, ``opened_ok`` those an expert would make as well."""

    right: int = 0
    opened: int = 0
    opened_ok: int = 0
    wrong: int = 0
    swapped: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return self.right + self.opened + self.opened_ok + self.wrong + self.swapped


@dataclass
class StudyScore:
    """Counts over studies times sequences. ``usable`` are acceptable series that are not the best one."""

    best: int = 0
    usable: int = 0
    missing: int = 0
    opened: int = 0
    wrong: int = 0
    swapped: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return self.best + self.usable + self.missing + self.opened + self.wrong + self.swapped


def load_rows(path: Path) -> list[Row]:
    return [Row(**{**item, "also": tuple(item.get("also", ()))}) for item in _lines(path)]


def load_studies(path: Path) -> list[Study]:
    return [
        Study(
            **{
                **item,
                "series": tuple(item["series"]),
                "right": {name: None if found is None else tuple(found) for name, found in item["right"].items()},
            }
        )
        for item in _lines(path)
    ]


def _lines(path: Path) -> Iterable[dict[str, Any]]:
    return (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())


def as_dataset(header: Header, enhanced: bool = False) -> Dataset:
    """The header as a data set without pixels. ``slices`` is no element and is left out.

    An enhanced one keeps timings and geometry in functional groups, and has EchoPulseSequence and InversionRecovery
    in place of ScanningSequence, as the standard has it.
    """
    dataset = Dataset()
    dataset.SOPClassUID = EnhancedMRImageStorage if enhanced else MRImageStorage
    dataset.Modality = "MR"
    moved = _MOVED if enhanced else frozenset()
    for name, value in header.items():
        if name == "slices" or name in moved:
            continue
        setattr(dataset, name, [_item(entry) for entry in value] if name.endswith("AgentSequence") else value)
    if enhanced:
        _add_functional_groups(dataset, header)
    return dataset


_MOVED = frozenset(
    {
        "EchoTime",
        "RepetitionTime",
        "InversionTime",
        "FlipAngle",
        "EchoTrainLength",
        "PixelSpacing",
        "SliceThickness",
        "ImageOrientationPatient",
        "ScanningSequence",
        "SequenceVariant",
        "ScanOptions",
        "AcquisitionTime",
    }
)


def _item(values: Mapping[str, Any]) -> Dataset:
    item = Dataset()
    for name, value in values.items():
        setattr(item, name, value)
    return item


def _add_functional_groups(dataset: Dataset, header: Header) -> None:
    scanning = header.get("ScanningSequence", [])
    gradient, spin = bool({"GR", "EP"} & set(scanning)), "SE" in scanning
    dataset.EchoPulseSequence = "BOTH" if gradient and spin else "GRADIENT" if gradient else "SPIN"
    dataset.InversionRecovery = "YES" if "InversionTime" in header else "NO"
    groups = {
        "MRTimingAndRelatedParametersSequence": ("RepetitionTime", "FlipAngle", "EchoTrainLength"),
        "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness"),
        "PlaneOrientationSequence": ("ImageOrientationPatient",),
    }
    shared = Dataset()
    for sequence, names in groups.items():
        setattr(shared, sequence, [_item({name: header[name] for name in names if name in header})])
    if "EchoTime" in header:
        shared.MREchoSequence = [_item({"EffectiveEchoTime": float(header["EchoTime"])})]
    if "InversionTime" in header:
        shared.MRModifierSequence = [
            _item({"InversionRecovery": "YES", "InversionTimes": [float(header["InversionTime"])]})
        ]
    dataset.SharedFunctionalGroupsSequence = [shared]


def score(rows: Iterable[Row], choose: Chooser) -> Score:
    """Asks ``choose`` for every row. A bystander is right when it is left out (None)."""
    result = Score()
    for row in rows:
        answer = choose(row.header)
        outcome = _judge(row, answer)
        setattr(result, outcome, getattr(result, outcome) + 1)
        if outcome not in ("right", "opened_ok"):
            name = row.header.get("SeriesDescription", "")
            result.faults.append(f"{outcome}: {row.truth} taken for {answer}: {name!r} ({row.family})")
    return result


def _judge(row: Row, answer: str | None) -> str:
    if answer is not None and answer not in SEQUENCES:
        raise ValueError(f"{answer!r} is none of {SEQUENCES}")
    expected = row.truth if row.truth in SEQUENCES else None
    if answer == expected or answer in row.also:
        return "right"
    if answer is None:
        return "opened_ok" if row.open_ok else "opened"
    return "swapped" if {answer, expected} == {"t1", "t1ce"} else "wrong"


def score_studies(studies: Iterable[Study], choose: StudyChooser) -> StudyScore:
    """Asks ``choose`` for every study: it gives a SeriesNumber, or None, for each of SEQUENCES."""
    result = StudyScore()
    for study in studies:
        answers = choose(study.series)
        for name in SEQUENCES:
            outcome = _judge_choice(study, name, answers.get(name))
            setattr(result, outcome, getattr(result, outcome) + 1)
            if outcome not in ("best", "missing"):
                result.faults.append(f"{outcome}: {study.study}, {name}: {answers.get(name)} of {study.right[name]}")
    return result


def _judge_choice(study: Study, name: str, answer: int | None) -> str:
    right = study.right[name]
    if answer is None:
        return "missing" if right is None else "opened"
    if right is not None and answer in right:
        return "best" if answer == right[0] else "usable"
    other = {"t1": "t1ce", "t1ce": "t1"}.get(name)
    return "swapped" if other and answer in (study.right[other] or ()) else "wrong"
