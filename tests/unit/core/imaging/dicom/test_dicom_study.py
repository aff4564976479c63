"""A study in a zip: slices find their places by themselves, and what makes no volume is refused by name."""

from __future__ import annotations

import io
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from core.contracts.volume_limits import VolumeLimits
from core.errors import (
    DecompressionBomb,
    InconsistentGeometry,
    InvalidDicom,
    NotMr,
    RequestError,
    TooFewSlices,
)
from core.imaging.dicom.study import read_study
from core.imaging.dicom.study_zip import StudyLimits
from core.imaging.preparation.resample import NEAREST, resample_to
from tests.fixtures.images import make_dicom
from tests.fixtures.volumes import ORIENTATIONS, make_series, to_zip
from tests.support.studies import FLAIR, SHAPE, SPACING, head, place, placed, read, study


@pytest.mark.parametrize("orientation", ORIENTATIONS[::3])
@pytest.mark.parametrize("tilt", [0.0, 20.0])
def test_a_series_becomes_the_volume_it_was_made_from(orientation: str, tilt: float) -> None:
    volume = head(orientation, tilt)
    files = make_series(volume, description="flair", number=3)
    random.Random(1).shuffle(files)
    found = read(files).volumes["flair"]
    # The stack may run the other way; every voxel must lie where it did.
    assert np.array_equal(resample_to(found, volume.grid, order=NEAREST).voxels, volume.voxels)
    assert found.grid.spacing_mm == pytest.approx(SPACING, rel=1e-4)
    assert np.linalg.norm(found.grid.to_mm((9.5, 11.5, 4.5))) == pytest.approx(0, abs=1e-3)


def test_the_order_is_that_of_positions_not_of_names_or_numbers() -> None:
    files = [
        make_dicom(np.full((20, 24), 100 + index, np.int16), elements=place(index, InstanceNumber=50 - index))
        for index in range(10)
    ]
    named = {f"IM{(7 * index) % 10}": data for index, data in enumerate(files)}
    means = read(named).volumes["flair"].voxels.mean(axis=(0, 1))
    assert np.all(np.diff(means) == 1)


def test_slices_with_gaps_between_them_lie_where_they_say() -> None:
    found = read(placed(np.arange(10) * 6.5, {index: {"SliceThickness": 5.0} for index in range(10)}))
    assert found.volumes["flair"].grid.spacing_mm == pytest.approx((1.0, 1.0, 6.5))


def test_small_unevenness_is_tolerated() -> None:
    places = np.arange(10) * 5.0 + np.asarray([0, 0.1, -0.05, 0, 0.1, 0, 0, -0.1, 0, 0])
    assert read(placed(places)).volumes["flair"].grid.spacing_mm[2] == pytest.approx(5.0, abs=0.01)


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ([0, 5, 10, 15, 25, 30, 35, 40, 45], "1 slices are missing"),
        ([0, 5, 10, 15, 30, 35, 40, 50, 55], "3 slices are missing"),
        ([0, 5, 10, 15, 22, 27, 32, 37, 42], "uneven distances, from 5.00 to 7.00 mm"),
        ([0, 5, 10, 15, 15, 20, 25, 30, 35], "one position"),
    ],
)
def test_what_is_no_even_stack_is_refused_by_name(places: list[float], message: str) -> None:
    with pytest.raises(InconsistentGeometry, match=rf"{message}.*\(series 4\)"):
        read(placed(places))


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ({"ImageOrientationPatient": [0.0, 1.0, 0.0, 0.0, 0.0, 1.0]}, "different angles"),
        ({"ImageOrientationPatient": [1.0, 0.0, 0.0, 0.0, 0.9962, 0.0872]}, "different angles"),
        ({"PixelSpacing": [1.0, 1.1]}, "PixelSpacing"),
        ({"ImagePositionPatient": [0.0, 3.0, 15.0]}, "sideways"),
    ],
)
def test_one_slice_that_does_not_fit_is_refused_by_name(elements: Mapping[str, Any], message: str) -> None:
    with pytest.raises(InconsistentGeometry, match=message):
        read(placed(range(0, 50, 5), {3: elements}))


def test_a_slice_of_another_size_is_refused() -> None:
    other = make_dicom(np.zeros((24, 24), np.int16), elements=place(50))
    with pytest.raises(InconsistentGeometry, match="size"):
        read([*placed(range(0, 50, 5)), other])


@pytest.mark.parametrize(
    "elements",
    [
        {"ImagePositionPatient": None},
        {"ImageOrientationPatient": [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]},
        {"ImageOrientationPatient": [2.0, 0.0, 0.0, 0.0, 1.0, 0.0]},
        {"PixelSpacing": None},
    ],
    ids=str,
)
def test_geometry_that_is_missing_or_none_is_refused(elements: Mapping[str, Any]) -> None:
    with pytest.raises(InvalidDicom, match="series 4"):
        read(placed(range(0, 50, 5), {3: elements}), series={"1.2.9": "flair"})


def test_a_broken_series_does_not_matter_where_another_is_meant() -> None:
    broken = {
        index: {"ImagePositionPatient": None, "SeriesInstanceUID": "1.2.8", "SeriesNumber": 8} for index in range(3)
    }
    survey = placed(range(3), {i: {**broken[i], "SeriesDescription": "localizer"} for i in range(3)})
    files = placed(range(0, 50, 5))
    assert set(read([*survey, *files]).volumes) == {"flair"}


def test_few_slices_are_refused() -> None:
    with pytest.raises(TooFewSlices, match="5 slices, at least 8"):
        read(placed(range(0, 25, 5)))


def test_slices_sent_twice_are_taken_once() -> None:
    found = read([*FLAIR, *FLAIR[:4]])
    assert found.volumes["flair"].voxels.shape == SHAPE
    assert "flair: 4 slices came twice and were taken once." in found.warnings


def test_rescaling_may_differ_by_slice() -> None:
    files = [
        make_dicom(np.full((20, 24), 100 + z, np.int16), elements=place(z, RescaleSlope=2.0, RescaleIntercept=-z))
        for z in range(10)
    ]
    assert read(files).volumes["flair"].voxels[0, 0].tolist() == [200 + z for z in range(10)]


def test_padding_and_inverted_grey() -> None:
    pixels = np.full((20, 24), 10, np.uint16)
    pixels[0, 0], pixels[5, 5] = 60_000, 4_000
    options = {"PixelPaddingValue": 60_000}
    files = [make_dicom(pixels, elements=place(z, **options)) for z in range(10)]
    plain = read(files).volumes["flair"].voxels
    assert plain[0, 0, 0] == 0
    assert plain[5, 5, 0] == 4_000
    inverted = [make_dicom(pixels, photometric="MONOCHROME1", elements=place(z)) for z in range(10)]
    assert read(inverted).volumes["flair"].voxels[5, 5, 0] == 65_535 - 4_000


@pytest.mark.parametrize("syntax", [uid.RLELossless, uid.JPEGLosslessSV1, uid.DeflatedExplicitVRLittleEndian])
def test_compressed_slices(syntax: str) -> None:
    rng = np.random.default_rng(2)
    slices = rng.integers(0, 4_000, (10, 20, 24)).astype(np.uint16)
    files = [make_dicom(slices[z], transfer_syntax=syntax, elements=place(z)) for z in range(10)]
    assert np.array_equal(read(files).volumes["flair"].voxels, slices.transpose(2, 1, 0))


def enhanced(frames: int = 10, places: Any = None, grouped: bool = True) -> bytes:
    """A multi-frame file; frames run from the top down."""
    rng = np.random.default_rng(3)
    places = np.arange(frames)[::-1] * 4.0 if places is None else places
    shared, per_frame = Dataset(), []
    measures, orientation = Dataset(), Dataset()
    measures.PixelSpacing = [1.0, 1.5]
    orientation.ImageOrientationPatient = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = Sequence([measures]), Sequence([orientation])
    for z in places:
        plane, item = Dataset(), Dataset()
        plane.ImagePositionPatient = [0.0, 0.0, float(z)]
        item.PlanePositionSequence = Sequence([plane])
        per_frame.append(item)
    groups = {
        "SharedFunctionalGroupsSequence": Sequence([shared]),
        "PerFrameFunctionalGroupsSequence": Sequence(per_frame),
    }
    return make_dicom(
        rng.integers(0, 900, (frames, 20, 24)).astype(np.int16),
        sop_class=uid.EnhancedMRImageStorage,
        elements={
            "StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.2.5", "SeriesNumber": 5, "SeriesDescription": "flair",
            **(groups if grouped else {}),
        },
    )  # fmt: skip


def test_a_multi_frame_file_is_a_stack() -> None:
    found = read([enhanced()]).volumes["flair"]
    assert found.grid.spacing_mm == pytest.approx((1.5, 1.0, 4.0))
    stored = np.random.default_rng(3).integers(0, 900, (10, 20, 24))
    assert np.array_equal(found.voxels, stored[::-1].transpose(2, 1, 0))


def test_a_multi_frame_file_over_time_or_without_places_is_refused() -> None:
    with pytest.raises(InconsistentGeometry, match="course over time"):
        read([enhanced(20, np.tile(np.arange(10) * 4.0, 2))])
    with pytest.raises(InvalidDicom, match="place"):
        read([enhanced(grouped=False)], series={"1.2.5": "flair"})


def test_other_modalities_are_left_out_and_alone_refused() -> None:
    ct = make_series(head(), number=9, description="flair", elements={"Modality": "CT"})
    found = read([*FLAIR, *ct[:2], b"a letter to the doctor"])
    assert set(found.volumes) == {"flair"}
    assert "1 files that are not DICOM were left out." in found.warnings
    assert "2 DICOM files that are not MR images were left out." in found.warnings
    with pytest.raises(NotMr, match="CT"):
        read(ct)


def test_a_zip_without_dicom_and_an_empty_one_are_refused() -> None:
    for files in ({}, {"a.txt": b"text"}):
        with pytest.raises(InvalidDicom):
            read(files)


def test_two_studies_are_refused() -> None:
    with pytest.raises(InvalidDicom, match="2 studies"):
        read([*FLAIR, *make_series(head(), number=4, description="t1", study="9.9.9")])


def test_different_frames_of_reference_are_told() -> None:
    files = study((3, "flair", {}), (4, "t2", {"FrameOfReferenceUID": "7.7.7"}))
    assert "frames of reference" in read(files).warnings[-1]


def test_limits_hold_for_slices_and_stacks() -> None:
    tight = StudyLimits(volume=VolumeLimits(max_voxels=1_000))
    with pytest.raises(RequestError, match="1000"):
        read(FLAIR, limits=tight)
    with pytest.raises(DecompressionBomb):
        read(FLAIR, limits=replace(StudyLimits(), max_total_bytes=1_000))


def test_nothing_of_the_patient_appears() -> None:
    """In no warning and no problem, whatever goes wrong."""
    private = {"SeriesDescription": "flair for Doe^Jane 4711-secret", "ProtocolName": "Doe"}
    good = make_series(head(), number=3, elements=private)
    twice = [*good, *make_series(head(), number=4, elements=private)]
    texts = [*read(good).warnings, *read(twice).warnings]
    texts += [text for one in read(twice).sources for text in one.reasons]
    cases: list[list[bytes]] = [
        good[:3],
        make_series(head(), number=3, elements={**private, "SeriesDescription": "t1 pre and post gd for Doe^Jane"}),
        [*good[:4], *good[5:]],
        [data[: len(data) // 2] for data in good],
        make_series(head(), number=3, elements={**private, "Modality": "CT"}),
        make_series(head(), number=3, elements={**private, "PixelSpacing": None}),
    ]
    for files in cases:
        with pytest.raises(RequestError) as caught:
            read(files)
        texts += [caught.value.detail, *(fault.detail for fault in caught.value.errors)]
    assert len(texts) >= len(cases)
    for text in texts:
        assert not any(secret in text for secret in ("Doe", "Jane", "4711", "secret", "1.2.3"))


@pytest.mark.parametrize("cut", [10, 200, 400, 700])
def test_a_broken_file_is_refused(cut: int) -> None:
    files = [*FLAIR[:-1], FLAIR[-1][:-cut]]
    with pytest.raises(RequestError):
        read(files)


def test_bytes_changed_at_random_do_no_harm() -> None:
    rng = random.Random(4)
    for _ in range(60):
        data = bytearray(FLAIR[2])
        for _ in range(4):
            data[rng.randrange(132, len(data) - 1000)] = rng.randrange(256)
        try:
            found = read([*FLAIR[:2], bytes(data), *FLAIR[3:]])
        except RequestError:
            continue
        assert all(np.isfinite(volume.voxels).all() for volume in found.volumes.values())


def test_the_file_may_be_any_seekable_one(tmp_path: Any) -> None:
    path = tmp_path / "study.zip"
    path.write_bytes(to_zip(FLAIR).getvalue())
    with path.open("rb") as file:
        assert read_study(file).volumes["flair"].voxels.shape == SHAPE
    assert isinstance(to_zip(FLAIR), io.BytesIO)
