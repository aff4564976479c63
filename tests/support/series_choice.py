"""The corpus of series names through the code that chooses: one header, or the headers of a study."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.imaging.dicom.header import Header as Elements
from core.imaging.dicom.selection.acquisition import Acquisition, read_acquisition
from core.imaging.dicom.selection.choice import Candidate, Selection, choose
from core.imaging.dicom.selection.quality import PLANES, Extent
from core.imaging.dicom.sequence import guess
from tests.support.series_corpus import Header, Row, as_dataset, score


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
