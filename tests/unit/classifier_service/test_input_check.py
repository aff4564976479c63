"""What is called unlike a head slice, and how it is said."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifier_service.input_check import check_input, check_pixels, score_distance
from core.contracts.manifest import ClassificationPreprocessing, InputCheck
from core.imaging.slices import Slice
from core.imaging.transforms import prepare_classification

FloatArray = npt.NDArray[np.float32]
THRESHOLDS = InputCheck(max_distance=12.0, max_energy=-1.5)


def head(height: int = 256, width: int = 256, share: float = 0.8) -> FloatArray:
    """An ellipse with texture, as large as ``share`` of the slice's sides, on black."""
    rng = np.random.default_rng(7)
    texture = cv2.GaussianBlur(rng.random((height, width)).astype(np.float32), (0, 0), 4)
    inside = np.zeros((height, width), np.uint8)
    axes = (int(width * share / 2), int(height * share / 2))
    cv2.ellipse(inside, (width // 2, height // 2), axes, 0, 0, 360, 1, -1)
    stretched = 0.2 + 0.6 * (texture - texture.min()) / (texture.max() - texture.min())
    return np.where(inside > 0, stretched, 0.0).astype(np.float32)


def reasons_for(grey: npt.NDArray[np.floating], colourfulness: float = 0.0) -> tuple[str, ...]:
    pixels = grey.astype(np.float32)
    image = Slice(pixels, "image/png", colourfulness=colourfulness)
    _, placement = prepare_classification(pixels, ClassificationPreprocessing(size=64))
    return check_pixels(image, placement)


@pytest.mark.parametrize("shape", [(256, 256), (512, 512), (240, 200), (97, 131), (300, 160)])
def test_a_head_is_accepted_at_any_usual_size(shape: tuple[int, int]) -> None:
    assert reasons_for(head(*shape)) == ()


def test_a_faint_head_is_accepted() -> None:
    # Twelve bits stored in sixteen: the brightest pixel is a sixteenth of the range.
    assert reasons_for(head() / 16) == ()


UNLIKE = [
    pytest.param(head(100, 300), 0.0, "3.0 times as long as wide", id="strip"),
    pytest.param(head(), 0.3, "coloured", id="photo"),
    pytest.param(np.full((64, 64), 0.5, np.float32), 0.0, "almost no contrast", id="one grey"),
    pytest.param(np.zeros((64, 64), np.float32), 0.0, "almost no contrast", id="black"),
    pytest.param(0.5 + head() / 100, 0.0, "almost no contrast", id="veiled"),
    pytest.param(head(share=0.22), 0.0, "too small a part", id="small head"),
    pytest.param(0.3 + 0.7 * head(share=1.5), 0.0, "no dark background", id="texture"),
]


@pytest.mark.parametrize(("pixels", "colourfulness", "words"), UNLIKE)
def test_what_is_no_slice_is_named(pixels: FloatArray, colourfulness: float, words: str) -> None:
    reasons = reasons_for(pixels, colourfulness)
    assert len(reasons) == 1
    assert words in reasons[0]


def test_scattered_dots_are_no_head() -> None:
    pixels = np.zeros((256, 256), np.float32)
    for row, column in np.ndindex(2, 2):
        pixels[4 + row :: 10, 4 + column :: 10] = 1.0
    assert any("large and bright enough" in reason for reason in reasons_for(pixels))


def test_colour_fringes_are_no_colour() -> None:
    assert reasons_for(head(), colourfulness=0.01) == ()


def test_every_fault_is_named() -> None:
    reasons = reasons_for(head(80, 400), colourfulness=0.2)
    assert len(reasons) == 2


@given(st.lists(st.floats(0, 500), min_size=2, max_size=8, unique=True))
def test_score_falls_with_the_distance(distances: list[float]) -> None:
    scores = [score_distance(distance, 12.0) for distance in sorted(distances)]
    assert all(0.0 <= score <= 1.0 for score in scores)
    assert all(near >= far for near, far in pairwise(scores))


def test_score_is_a_half_at_the_threshold() -> None:
    assert score_distance(12.0, 12.0) == pytest.approx(0.5)
    assert score_distance(0.0, 12.0) == 1.0
    assert score_distance(11.0, 12.0) > 0.5 > score_distance(13.0, 12.0)
    assert score_distance(float("nan"), 12.0) == 0.0


def test_a_familiar_image_passes() -> None:
    result = check_input((), THRESHOLDS, distance=6.0, energy=-4.0)
    assert result.in_distribution
    assert result.score > 0.9
    assert result.reasons == ()


@pytest.mark.parametrize(
    ("pixel_reasons", "distance", "energy", "words"),
    [
        ((), 13.0, -4.0, "unlike the slices"),
        ((), float("nan"), -4.0, "unlike the slices"),
        ((), 6.0, -1.0, "little evidence"),
        (("the image is coloured; MR slices are grey",), 6.0, -4.0, "coloured"),
    ],
)
def test_score_and_verdict_agree(pixel_reasons: tuple[str, ...], distance: float, energy: float, words: str) -> None:
    result = check_input(pixel_reasons, THRESHOLDS, distance, energy)
    assert not result.in_distribution
    assert result.score < 0.5
    assert len(result.reasons) == 1
    assert words in result.reasons[0]


def test_without_thresholds_only_the_pixels_are_judged() -> None:
    assert check_input((), None, distance=1e9, energy=1e9).in_distribution
    assert not check_input(("the image is coloured; MR slices are grey",), None, 0.0, 0.0).in_distribution
