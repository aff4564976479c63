"""What is called unlike a head slice, and how it is said."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.contracts.manifest import InputCheck
from core.imaging.preparation.familiarity import describe, turned
from core.imaging.preparation.frame import Box
from core.imaging.preparation.input_check import (
    Finding,
    check_input,
    check_pixels,
    check_slice,
    largest_distance,
    recognise,
    total_strangeness,
)
from core.imaging.preparation.transforms import Framed
from core.imaging.slices import Slice
from tests.fixtures.images import make_head_slice
from tests.support.make_samples import SLICES, sample

FloatArray = npt.NDArray[np.float32]
THRESHOLDS = InputCheck(max_distance=12.0, max_energy=-1.5)


def ellipse(height: int, width: int, share: float) -> npt.NDArray[np.bool_]:
    inside = np.zeros((height, width), np.uint8)
    axes = (int(width * share / 2), int(height * share / 2))
    cv2.ellipse(inside, (width // 2, height // 2), axes, 0, 0, 360, 1, -1)
    return inside > 0


def texture(height: int, width: int) -> FloatArray:
    """Structure of all sizes in [0.2, 0.8], as tissue has."""
    rng = np.random.default_rng(7)
    layers = [cv2.GaussianBlur(rng.normal(size=(height, width)), (0, 0), s) * s for s in (0.6, 2.0, 8.0)]
    mixed = sum(layers[1:], layers[0])
    return np.asarray(0.2 + 0.6 * (mixed - mixed.min()) / np.ptp(mixed), np.float32)


def head(height: int = 256, width: int = 220, share: float = 0.8) -> FloatArray:
    """A textured ellipse, as large as ``share`` of the slice's sides, on black."""
    return np.where(ellipse(height, width, share), texture(height, width), 0.0).astype(np.float32)


def skull(scalp: float, gap: float) -> FloatArray:
    """A brain of 0.4 in rings of ``scalp``, bone of 1 and ``gap`` between bone and brain."""
    grey = np.zeros((256, 220))
    for share, level in ((0.9, scalp), (0.84, 1.0), (0.72, gap)):
        grey[ellipse(256, 220, share)] = level
    brain = ellipse(256, 220, 0.66)
    grey[brain] = 0.25 + 0.3 * texture(256, 220)[brain]
    return grey.astype(np.float32)


def findings_for(grey: npt.NDArray[np.floating], colourfulness: float = 0.0) -> tuple[Finding, ...]:
    pixels = grey.astype(np.float32)
    image = Slice(pixels, "image/png", colourfulness=colourfulness)
    return check_pixels(image, Framed.of(pixels))


@pytest.mark.parametrize("shape", [(256, 220), (512, 512), (240, 200), (131, 97), (300, 200)])
def test_a_head_is_accepted_at_any_usual_size(shape: tuple[int, int]) -> None:
    assert total_strangeness(findings_for(head(*shape))) < 0.5


def test_a_faint_head_is_accepted() -> None:
    # Twelve bits stored in sixteen: the brightest pixel is a sixteenth of the range.
    assert total_strangeness(findings_for(head() / 16)) < 0.5


BODY = np.where(ellipse(200, 300, 0.9), texture(200, 300), 0.0)
DRAWING = np.where(ellipse(256, 220, 0.8), 0.5, 0.0)
BLURRED = cv2.GaussianBlur(head().astype(np.float64), (0, 0), 9)
UNLIKE = [
    pytest.param(head(100, 300), 0.0, "3.0 times as long as wide", id="strip"),
    pytest.param(head(), 0.3, "coloured", id="photograph"),
    pytest.param(np.full((64, 64), 0.5), 0.0, "almost no contrast", id="one grey"),
    pytest.param(np.zeros((64, 64)), 0.0, "almost no contrast", id="black"),
    pytest.param(0.5 + head() / 100, 0.0, "almost no contrast", id="veiled"),
    pytest.param(np.maximum(head(share=0.2), 0.04), 0.0, "too small a part", id="small head"),
    pytest.param(texture(256, 220), 0.0, "no dark background", id="grey photograph"),
    pytest.param(1.0 - DRAWING, 0.0, "no dark background", id="ink on paper"),
    pytest.param(BODY, 0.0, "too wide for a head", id="body"),
    pytest.param(DRAWING, 0.0, "few shades of grey", id="drawing"),
    pytest.param(BLURRED, 0.0, "smoother than an MR slice", id="blurred"),
    pytest.param(skull(scalp=0.3, gap=0.4), 0.0, "as bone does in CT", id="CT"),
]


@pytest.mark.parametrize(("pixels", "colourfulness", "words"), UNLIKE)
def test_what_is_no_slice_is_named(pixels: npt.NDArray[np.floating], colourfulness: float, words: str) -> None:
    assert words in next(
        f.reason for f in findings_for(pixels, colourfulness) if f.strangeness >= 1.0 and words in f.reason
    )
    result = check_input(findings_for(pixels, colourfulness), None, 0.0, 0.0)
    assert not result.in_distribution
    assert any(words in reason for reason in result.reasons)


def ct_of(grey: FloatArray) -> float:
    """Strangeness of the ring; 0 when it does not count."""
    return max((finding.strangeness for finding in findings_for(grey) if "bone" in finding.reason), default=0.0)


def test_a_bright_scalp_outside_a_dark_skull_is_no_ct() -> None:
    """As in T1: fat shines, bone is black, and the brain does not reach up to the ring."""
    assert ct_of(skull(scalp=0.0, gap=0.1)) < 0.7
    assert ct_of(skull(scalp=0.0, gap=0.4)) >= 1.0


def test_an_open_ring_is_no_ct() -> None:
    opened = skull(scalp=0.3, gap=0.4)
    opened[100:, 110:] *= 0.4
    assert ct_of(opened) < 0.5


def test_colour_fringes_are_no_colour() -> None:
    assert total_strangeness(findings_for(head(), colourfulness=0.01)) < 0.5


def test_every_fault_is_named() -> None:
    result = check_input(findings_for(head(80, 400), colourfulness=0.2), None, 0.0, 0.0)
    # What is told is of the image without its black border.
    for words in ("coloured", "4.9 times"):
        assert any(words in reason for reason in result.reasons)


@pytest.mark.parametrize("shape", [(16, 16), (16, 400), (400, 16), (1024, 1000)])
@pytest.mark.parametrize("kind", ["noise", "dot", "line"])
def test_any_image_is_judged(shape: tuple[int, int], kind: str) -> None:
    pixels = np.zeros(shape, np.float32)
    if kind == "noise":
        pixels = np.random.default_rng(1).random(shape).astype(np.float32)
    elif kind == "dot":
        pixels[shape[0] // 2, shape[1] // 2] = 1.0
    else:
        pixels[shape[0] // 2] = 1.0
    result = check_input(findings_for(pixels), THRESHOLDS, 6.0, -4.0)
    assert 0.0 <= result.score <= 1.0
    assert result.in_distribution == (result.score >= 0.5) == (not result.reasons)


def score(distance: float, findings: tuple[Finding, ...] = ()) -> float:
    return check_input(findings, InputCheck(max_distance=12.0), distance, 0.0).score


@given(st.lists(st.floats(0, 500), min_size=2, max_size=8, unique=True))
def test_score_falls_with_the_distance(distances: list[float]) -> None:
    scores = [score(distance) for distance in sorted(distances)]
    assert all(0.0 <= value <= 1.0 for value in scores)
    assert all(near >= far for near, far in pairwise(scores))


def test_score_by_hand() -> None:
    assert score(12.0) == pytest.approx(0.5)
    assert score(0.0) == 1.0
    assert score(6.0) == pytest.approx(16 / 17)
    assert score(6.0, (Finding(0.5, "a"),)) == pytest.approx(1 / (1 + 2 / 16))
    assert score(float("nan")) < 0.01
    assert check_input((), InputCheck(max_distance=0.0), 1.0, 0.0).score < 0.01


def test_a_familiar_image_passes() -> None:
    result = check_input((), THRESHOLDS, distance=6.0, energy=-4.0)
    assert result.in_distribution
    assert result.score > 0.9
    assert result.reasons == ()


@pytest.mark.parametrize(
    ("findings", "distance", "energy", "words"),
    [
        ((), 13.0, -4.0, "unlike the slices"),
        ((), float("nan"), -4.0, "unlike the slices"),
        ((), 6.0, -1.0, "little evidence"),
        ((), 6.0, float("nan"), "little evidence"),
        ((Finding(1.1, "the image is coloured"),), 6.0, -4.0, "coloured"),
    ],
)
def test_score_and_verdict_agree(findings: tuple[Finding, ...], distance: float, energy: float, words: str) -> None:
    result = check_input(findings, THRESHOLDS, distance, energy)
    assert not result.in_distribution
    assert result.score < 0.5
    assert len(result.reasons) == 1
    assert words in result.reasons[0]


def test_several_measures_near_their_limits_refuse_together_and_the_largest_is_named() -> None:
    near = (Finding(0.9, "wide"), Finding(0.85, "smooth"))
    assert check_input(near[:1], None, 0.0, 0.0).in_distribution
    assert check_input(near, None, 0.0, 0.0).reasons == ("wide",)


def test_without_thresholds_only_the_pixels_are_judged() -> None:
    assert check_input((), None, distance=1e9, energy=1e9).in_distribution


def test_the_limit_of_the_distance_accepts_the_share_that_was_asked_for() -> None:
    generator = np.random.default_rng(2)
    distances = generator.gamma(9, 0.2, 400).astype(np.float32)
    strangeness = generator.uniform(0, 0.95, 400) * (generator.random(400) < 0.3)
    limit = largest_distance(distances, (strangeness**4).astype(np.float32), 0.95)
    accepted = [
        check_input((Finding(float(r), "one"),), InputCheck(max_distance=limit), float(d), 0.0).in_distribution
        for d, r in zip(distances, strangeness, strict=True)
    ]
    assert np.mean(accepted) == pytest.approx(0.95, abs=0.005)


def test_slices_that_their_pixels_refuse_do_not_stretch_the_limit() -> None:
    distances, pixels = np.array([1.0, 2.0, 50.0], np.float32), np.array([0.0, 0.0, 3.0], np.float32)
    assert largest_distance(distances, pixels, 0.99) == 2.0
    with pytest.raises(ValueError, match="refuses every slice"):
        largest_distance(distances, pixels + 1, 0.99)


def test_a_head_is_familiar_and_a_border_changes_nothing() -> None:
    pixels = sample("no-tumour.png").astype(np.float32) / np.float32(255)
    plain = check_slice(Slice(pixels, "image/png"), Framed.of(pixels))
    assert total_strangeness(plain) < 1.0
    bordered = np.pad(pixels, ((10, 90), (200, 30)))
    assert check_slice(Slice(bordered, "image/png"), Framed.of(bordered)) == plain


@pytest.mark.parametrize("seed", range(4))
def test_a_drawn_head_is_no_slice(seed: int) -> None:
    pixels = make_head_slice(seed=seed).astype(np.float32) / np.float32(255)
    finding = recognise(Framed.of(pixels))
    assert finding.strangeness >= 1.0
    assert finding.reason == "the image does not look like an MR slice of a head"


@pytest.mark.parametrize("name", SLICES)
def test_an_inverted_head_is_named(name: str) -> None:
    pixels = sample(name).astype(np.float32) / np.float32(255)
    for inverted in (1 - pixels, (1 - pixels) * (cv2.blur(pixels, (5, 5)) > 0.1)):
        finding = recognise(Framed.of(inverted))
        assert finding.strangeness >= 1.0
        assert finding.reason == "the greys seem to be inverted, black for white"


# Of the slices of ``val`` a quarter is not known to be upside down, so only one is asked for here.
@pytest.mark.parametrize(
    ("name", "turns", "words"),
    [
        *((name, 1, "turned by 90 degrees to the left") for name in SLICES),
        *((name, 3, "turned by 90 degrees to the right") for name in SLICES),
        ("no-tumour.png", 2, "upside down"),
    ],
)
def test_a_turned_head_is_named(name: str, turns: int, words: str) -> None:
    pixels = sample(name).astype(np.float32) / np.float32(255)
    finding = recognise(Framed.of(np.ascontiguousarray(np.rot90(pixels, turns))))
    assert finding.strangeness >= 1.0
    assert words in finding.reason


def test_the_description_of_a_turned_slice_is_that_of_the_slice_turned() -> None:
    rng = np.random.default_rng(0)
    noise = cv2.GaussianBlur(rng.random((64, 64)).astype(np.float32), (0, 0), 2)
    # Of 60 pixels and a margin of 2 nothing is scaled, and the head lies in the middle.
    picture, box = np.pad((noise - noise.min()) / np.ptp(noise), 2), Box(4, 4, 64, 64)
    plain = describe(picture, box)
    for turns in range(4):
        seen = describe(np.ascontiguousarray(np.rot90(picture, turns)), box)
        np.testing.assert_allclose(seen, turned(plain, turns), atol=1e-4)


def test_what_the_file_says_of_itself_counts() -> None:
    pixels = sample("no-tumour.png").astype(np.float32) / np.float32(255)
    findings = check_slice(Slice(pixels, "application/dicom", computed="ADC"), Framed.of(pixels))
    result = check_input(findings, None, 0.0, 0.0)
    assert not result.in_distribution
    assert "ADC (ImageType)" in result.reasons[0]


@pytest.mark.parametrize("shape", [(16, 16), (17, 400), (900, 700)])
def test_any_picture_is_taken_for_something(shape: tuple[int, int]) -> None:
    for pixels in (np.zeros(shape), np.ones(shape), np.random.default_rng(0).random(shape)):
        framed = Framed.of(pixels.astype(np.float32))
        assert np.isfinite(recognise(framed).strangeness)
