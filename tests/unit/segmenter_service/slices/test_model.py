"""Prepare and finish, with images in and answers out; the network itself stands for a map made by hand."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from core.contracts.common import ModelIdentity, TimingMs
from core.contracts.manifest import SegmentationPreprocessing
from core.errors import InconsistentGeometry, InvalidImage
from core.http.bodies import Upload
from core.imaging.limits import ImageLimits
from segmenter_service.slices.masks import encode_rle, find_bounding_box, trace_contours
from segmenter_service.slices.model import Outlined, Prepared, finish, outline, prepare
from tests.fixtures.images import make_dicom, make_head_slice, make_jpeg, make_png, to_jpeg, to_png

FloatArray = npt.NDArray[np.float32]
SPEC = SegmentationPreprocessing(size=64)
LIMITS = ImageLimits()
IDENTITY = ModelIdentity(
    name="tiny", version="1", sha256="0" * 64, provider="CPUExecutionProvider", variant="reference"
)
TIMING = TimingMs(decode=1.0, queue=0.0, inference=2.0)


def prepared_from(**images: bytes) -> Prepared:
    return prepare({name: Upload(data, None) for name, data in images.items()}, LIMITS, SPEC)


def lesion_slice(height: int, width: int, row: int, column: int, radius: int) -> FloatArray:
    """A grey head with one white disc, in [0, 1]."""
    y, x = np.mgrid[:height, :width]
    pixels = np.where((y / height - 0.5) ** 2 + (x / width - 0.5) ** 2 < 0.16, 0.4, 0.0).astype(np.float32)
    pixels[(y - row) ** 2 + (x - column) ** 2 <= radius**2] = 1.0
    return pixels


def test_a_single_image_fills_every_channel() -> None:
    prepared = prepared_from(file=make_png())
    assert tuple(prepared.slices) == ("image",)
    assert prepared.tensor.shape == (4, 64, 64)
    assert prepared.tensor.max() > 0.5
    assert all(np.array_equal(prepared.tensor[0], channel) for channel in prepared.tensor[1:])


def test_named_sequences_take_their_channels() -> None:
    prepared = prepared_from(flair=make_png(seed=1), t1=make_png(seed=2))
    filled = [bool(channel.any()) for channel in prepared.tensor]
    assert filled == [True, False, False, True]
    assert prepared.backdrop is prepared.slices["flair"].pixels


def test_the_caller_hears_of_a_sequence_that_repeats_another() -> None:
    prepared = prepared_from(flair=make_png(seed=1), t1=make_png(seed=1))
    assert prepared.warnings == ("t1: the same image as flair, so it was left out",)
    assert [bool(channel.any()) for channel in prepared.tensor] == [False, False, False, True]


def test_a_dicom_of_known_sequence_alone_is_still_an_image() -> None:
    prepared = prepared_from(file=make_dicom(elements={"SeriesDescription": "AX FLAIR"}))
    assert tuple(prepared.slices) == ("image",)


def test_sizes_that_differ_are_named() -> None:
    with pytest.raises(InconsistentGeometry, match=r"200x256.*256x256|256x256.*200x256"):
        prepared_from(t1=make_png(256, 200), t2=make_png(256, 256))


def test_a_broken_part_is_named() -> None:
    with pytest.raises(InvalidImage) as refused:
        prepared_from(t1=make_png(), t2=make_png()[:300])
    assert [fault.pointer for fault in refused.value.errors] == ["part/t2"]


@pytest.mark.parametrize(("height", "width"), [(256, 256), (181, 240), (300, 203)])
def test_the_mask_lies_on_the_lesion(height: int, width: int) -> None:
    row, column, radius = height * 2 // 5, width * 3 // 5, 20
    prepared = prepared_from(file=to_png((lesion_slice(height, width, row, column, radius) * 255).astype(np.uint8)))
    probability = np.clip((prepared.tensor[0] - 0.5) * 2, 0, 1)
    outlined = outline(prepared, probability, threshold=0.5)
    y, x = np.mgrid[:height, :width]
    truth = (y - row) ** 2 + (x - column) ** 2 <= radius**2
    assert outlined.mask.shape == (height, width)
    overlap = 2 * np.count_nonzero(outlined.mask & truth) / (np.count_nonzero(outlined.mask) + np.count_nonzero(truth))
    assert overlap > 0.93
    assert outlined.max_probability > 0.9


def test_a_rotated_photo_is_answered_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side: turn right to view
    upright = (lesion_slice(240, 160, 70, 100, 15) * 255).astype(np.uint8)
    stored = to_jpeg(np.rot90(upright), exif=exif)
    prepared = prepared_from(file=stored)
    assert prepared.placement.shape == (240, 160)
    assert prepared.backdrop[70, 100] > 0.9


def test_the_answer_describes_the_mask() -> None:
    prepared = prepared_from(file=make_dicom(elements={"PixelSpacing": [0.5, 0.8]}))
    mask = cv2.circle(np.zeros((256, 256), np.uint8), (90, 130), 12, 1, -1) > 0
    outlined = Outlined(mask, np.where(mask, np.float32(0.875), np.float32(0.2)))
    answer = finish(prepared, outlined, 0.4, identity=IDENTITY, timing=TIMING, request_id="r-1")
    assert answer.size == (256, 256)
    assert answer.tumor_pixels == mask.sum()
    assert answer.area_mm2 == pytest.approx(mask.sum() * 0.4)
    assert answer.mask == encode_rle(mask)
    assert answer.contours == trace_contours(mask)
    assert answer.bounding_box == find_bounding_box(mask) == (78, 118, 25, 25)
    assert (answer.max_probability, answer.threshold) == (0.875, 0.4)
    assert answer.candidate is None
    assert answer.sequences == ("image",)
    assert (answer.model, answer.timing_ms, answer.request_id) == (IDENTITY, TIMING, "r-1")


def test_an_empty_mask_is_an_answer() -> None:
    prepared = prepared_from(file=make_jpeg())
    outlined = outline(prepared, np.full((64, 64), 0.3, np.float32), threshold=0.5)
    answer = finish(prepared, outlined, 0.5, identity=IDENTITY, timing=TIMING, request_id="r-2")
    assert (answer.tumor_pixels, answer.contours, answer.bounding_box, answer.area_mm2) == (0, (), None, None)
    assert answer.max_probability == pytest.approx(0.3)
    assert answer.candidate is not None
    assert answer.candidate.max_probability == pytest.approx(0.3)


def test_nothing_outlined_and_nothing_likely_has_no_candidate() -> None:
    prepared = prepared_from(file=make_jpeg())
    outlined = outline(prepared, np.full((64, 64), 0.001, np.float32), threshold=0.5)
    answer = finish(prepared, outlined, 0.5, identity=IDENTITY, timing=TIMING, request_id="r-2")
    assert (answer.tumor_pixels, answer.candidate) == (0, None)


def test_spacings_that_differ_give_no_area() -> None:
    prepared = prepared_from(
        t1=make_dicom(elements={"PixelSpacing": [0.5, 0.5]}), t2=make_dicom(elements={"PixelSpacing": [0.9, 0.9]})
    )
    assert prepared.spacing_mm is None
    assert any("spacings" in warning for warning in prepared.warnings)


def test_a_sequence_in_the_wrong_part_is_pointed_out() -> None:
    dicom = make_dicom(make_head_slice(), elements={"SeriesDescription": "AX T2 FLAIR"})
    assert prepared_from(flair=dicom).warnings == ()
    wrong = prepared_from(t1=dicom)
    assert wrong.slices["t1"].sequence == "flair"
    assert wrong.warnings == ("t1: the file's header says flair",)
