"""The code that chooses series, asked about rows of the corpus and about whole small studies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from core.imaging.dicom.header import Header as Elements
from core.imaging.dicom.selection.acquisition import Acquisition, read_acquisition
from core.imaging.dicom.selection.choice import Candidate, Selection, choose
from core.imaging.dicom.selection.quality import PLANES, Extent
from core.imaging.dicom.sequence import guess
from core.imaging.dicom.study import Open, Preview, Source, preview_study
from core.imaging.volume import Volume
from tests.fixtures.volumes import make_affine, make_head, to_zip
from tests.support.series_corpus import Header, Row, as_dataset, score
from tests.support.studies import read


def acquisition_of(header: Header, enhanced: bool = False) -> Acquisition:
    return read_acquisition(Elements(as_dataset(header, enhanced)))


def answer(row: Row) -> str | None:
    return guess(acquisition_of(row.header, row.enhanced))


def outcome(row: Row) -> str:
    """What ``score`` makes of one row."""
    found = score([row], lambda _: answer(row))
    return next(name for name in ("right", "opened", "opened_ok", "wrong", "swapped") if getattr(found, name))


def extent_of(header: Header) -> Extent:
    """What a volume of so many slices would show, lying in the middle of a head."""
    cosines = np.asarray(header["ImageOrientationPatient"], float).reshape(2, 3)
    step = float(header.get("SpacingBetweenSlices", header["SliceThickness"]))
    pixel = float(max(header["PixelSpacing"]))
    normal = np.cross(*cosines)
    return Extent(
        plane=PLANES[int(np.argmax(np.abs(normal)))],
        covered_mm=step * header["slices"],
        field_mm=230.0,
        pixel_mm=pixel,
        step_mm=step,
    )


def candidate_of(key: int, header: Header) -> Candidate:
    known = header.get("slices") and "ImageOrientationPatient" in header and "SliceThickness" in header
    extent = extent_of(header) if known else None
    return Candidate(key, acquisition_of(header), slices=header.get("slices") or 0, extent=extent)


def selection_of(series: Sequence[Header]) -> Selection:
    return choose(candidate_of(key, header) for key, header in enumerate(series))


def chosen_of(series: Sequence[Header]) -> dict[str, int | None]:
    """The SeriesNumber that is chosen for each sequence."""
    decisions = selection_of(series)
    return {
        name: None if decision.chosen is None else series[decision.chosen.candidate.key]["SeriesNumber"]
        for name, decision in decisions.items()
    }


SE_T1 = {"ScanningSequence": ["SE"], "EchoTime": 12, "RepetitionTime": 550}
SE_T2 = {"ScanningSequence": ["SE"], "EchoTime": 100, "RepetitionTime": 4500}
IR_FLAIR = {"ScanningSequence": ["SE", "IR"], "EchoTime": 100, "RepetitionTime": 9000, "InversionTime": 2500}
PREPARED = {
    "ScanningSequence": ["GR", "IR"], "SequenceVariant": ["SK", "SP", "MP"], "EchoTime": 3, "RepetitionTime": 2000,
    "InversionTime": 900, "MRAcquisitionType": "3D",
}  # fmt: skip
GRADIENT = {"ScanningSequence": ["GR"], "EchoTime": 20, "RepetitionTime": 600}
ORIGINAL = {"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"]}
DERIVED = {"ImageType": ["DERIVED", "SECONDARY", "MPR"]}


def preview(files: Any) -> Preview:
    return preview_study(to_zip(files))


def taken(files: Any) -> dict[str, int | None]:
    """Numbers by sequence, of a job and of the dry run alike."""
    found = preview(files)
    assert found.refusal is None
    assert found.sources == read(files).sources
    return {source.sequence: source.number for source in found.sources}


def why_not(files: Any, sequence: str) -> dict[int | None, str]:
    """The first reason against each alternative for a sequence."""
    found = preview(files)
    answers: tuple[Source | Open, ...] = (*found.sources, *found.left_open)
    told = next(one for one in answers if one.sequence == sequence)
    return {other.number: other.reasons[0].partition(":")[0] for other in told.alternatives}


def fine(orientation: str = "PIL", seed: int = 0) -> Volume:
    """A head in thin slices all over."""
    shape = (40, 40, 60)
    return make_head(shape, make_affine(orientation, (4.0, 4.0, 1.5), shape), seed=seed)


def at(clock: str, **elements: Any) -> dict[str, Any]:
    return {"AcquisitionTime": clock, **elements}
