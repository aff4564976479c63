"""What a slice is shown as where its window shows nothing, and what is said where its pixels are no plain image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from core.errors import UnusableImage
from core.imaging.decode import decode
from core.imaging.slices import Slice
from tests.fixtures.images import make_dicom, make_head_slice

WIDE = make_head_slice(72, 90, seed=7).astype(np.uint16) * 16
OUTSIDE = "The window of the file lies outside its values; the full range is shown."


def shown(values: Any = WIDE, photometric: str = "MONOCHROME2", **elements: Any) -> Slice:
    return decode(make_dicom(values, photometric=photometric, elements=elements))


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("centre", [-60_000, 60_000])
def test_a_window_beside_the_values_gives_way_to_their_range(centre: int, photometric: str, function: str) -> None:
    found = shown(photometric=photometric, WindowCenter=centre, WindowWidth=400, VOILUTFunction=function)
    assert found.notes == (OUTSIDE,)
    assert np.array_equal(found.pixels, shown(photometric=photometric).pixels)


def test_values_are_judged_after_rescaling() -> None:
    rescaled: dict[str, Any] = {"RescaleSlope": 0.001, "RescaleIntercept": 0}
    assert shown(WindowCenter=600, WindowWidth=800, **rescaled).notes == (OUTSIDE,)
    assert shown(WindowCenter=2, WindowWidth=4, **rescaled).notes == ()


def test_padding_does_not_bring_a_window_back() -> None:
    values = WIDE.copy()
    values[0] = 60_000
    window: dict[str, Any] = {"WindowCenter": 60_000, "WindowWidth": 400}
    found = shown(values, PixelPaddingValue=60_000, **window)
    assert found.notes == (OUTSIDE,)
    assert np.array_equal(found.pixels, shown(values, PixelPaddingValue=60_000).pixels)
    assert shown(values, **window).notes == ()


@pytest.mark.parametrize(("centre", "width"), [(600, 800), (int(WIDE.max()), 2), (30_000, 60_000)])
def test_a_window_that_shows_something_is_kept(centre: int, width: int) -> None:
    found = shown(WindowCenter=centre, WindowWidth=width)
    assert found.notes == ()
    assert np.ptp(found.pixels) > 0


def test_of_a_flat_slice_nothing_is_said() -> None:
    flat = np.full((32, 32), 7, np.uint16)
    assert shown(flat, WindowCenter=600, WindowWidth=100).notes == ()


@pytest.mark.parametrize(
    "kind",
    [
        ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"],
        ["DERIVED", "PRIMARY", "DIFFUSION", "FA"],
        ["DERIVED", "PRIMARY", "DIFFUSION", "TRACEW", "NORM"],
        ["ORIGINAL", "PRIMARY", "P", "ND"],
        ["ORIGINAL", "PRIMARY", "PHASE MAP", "P", "FFE"],
        ["DERIVED", "SECONDARY", "MIP"],
        ["DERIVED", "PRIMARY", "T2_MAP"],
        ["derived", "primary", "projection image"],
    ],
    ids=lambda kind: kind[-1],
)
def test_a_computed_image_is_said_to_be_one(kind: list[str]) -> None:
    found = shown(ImageType=kind)
    assert len(found.notes) == 1
    assert "computed image" in found.notes[0]
    assert "ImageType" in found.notes[0]
    assert np.array_equal(found.pixels, shown().pixels)


@pytest.mark.parametrize(
    "kind",
    [["ORIGINAL", "PRIMARY"], ["ORIGINAL", "PRIMARY", "M", "ND", "NORM"], ["DERIVED", "SECONDARY", "REFORMATTED"],
     ["ORIGINAL", "PRIMARY", "M_SE", "M", "SE"], ["ORIGINAL", "PRIMARY", "OTHER"]],
    ids=lambda kind: kind[-1],
)  # fmt: skip
def test_a_plain_image_is_not(kind: list[str]) -> None:
    assert shown(ImageType=kind).notes == ()


@pytest.mark.parametrize(
    "kind", [["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"], ["DERIVED", "PRIMARY", "ADC", "mosaic"]]
)
def test_a_mosaic_is_refused_by_name(kind: list[str]) -> None:
    with pytest.raises(UnusableImage, match="mosaic"):
        shown(ImageType=kind)
