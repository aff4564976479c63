"""Masks and the numbers that describe them, held against pycocotools and against filling."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco

from segmenter_service.slices.masks import (
    Contour,
    encode_rle,
    find_bounding_box,
    find_candidate,
    measure_area_mm2,
    threshold_mask,
    trace_contours,
)

BoolArray = npt.NDArray[np.bool_]

masks = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24))


@st.composite
def blobs(draw: st.DrawFn) -> BoolArray:
    """Smooth regions with holes, islands in holes and contact with the edges, as a network draws them."""
    size = draw(st.integers(8, 40))
    noise = np.random.default_rng(draw(st.integers(0, 10_000))).random((size, size)).astype(np.float32)
    return cv2.blur(noise, (3, 3)) > draw(st.floats(0.3, 0.7))


def fill(contours: tuple[Contour, ...], shape: tuple[int, ...]) -> BoolArray:
    """Even-odd filling of all outlines together, borders included."""
    canvas = np.zeros(shape, np.uint8)
    if contours:
        cv2.fillPoly(canvas, [np.array(contour, np.int32) for contour in contours], 1)
    return canvas > 0


def signed_area(contour: Contour) -> float:
    """Shoelace formula with y down: negative is counter-clockwise as seen on a screen."""
    x, y = np.array(contour, np.float64).T
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) / 2)


def ring() -> BoolArray:
    mask = np.zeros((12, 15), np.bool_)
    mask[2:10, 3:11] = True
    mask[4:7, 5:8] = False
    return mask


# pycocotools' own reader is older than NumPy 2's copy keyword; the writer, which the service uses, is not affected.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@given(masks)
def test_pycocotools_reads_the_mask_back(mask: BoolArray) -> None:
    rle = encode_rle(mask)
    assert rle.size == mask.shape
    decoded = coco.decode({"size": list(rle.size), "counts": rle.counts.encode("ascii")})
    assert np.array_equal(decoded.astype(np.bool_), mask)


def test_runs_go_down_the_columns() -> None:
    mask = np.zeros((3, 4), np.bool_)
    mask[1, 2] = True
    # Seven pixels before it in column order (two columns of three, then row 0), one set, four after.
    uncompressed = coco.frPyObjects({"size": [3, 4], "counts": [7, 1, 4]}, 3, 4)
    assert encode_rle(mask).counts == uncompressed["counts"].decode()


@given(masks | blobs())
def test_filling_the_contours_gives_the_mask(mask: BoolArray) -> None:
    assert np.array_equal(fill(trace_contours(mask), mask.shape), mask)


@given(masks | blobs())
def test_contour_points_lie_on_the_mask(mask: BoolArray) -> None:
    assert all(mask[y, x] for contour in trace_contours(mask) for x, y in contour)


def test_regions_and_holes_turn_opposite_ways() -> None:
    outer, hole = trace_contours(ring())
    assert signed_area(outer) == -49.0
    assert signed_area(hole) > 0
    assert outer == ((3, 2), (3, 9), (10, 9), (10, 2))


def test_no_tumour_has_no_contour_and_no_box() -> None:
    empty = np.zeros((5, 7), np.bool_)
    assert trace_contours(empty) == ()
    assert find_bounding_box(empty) is None


@given(masks)
def test_the_box_is_the_smallest(mask: BoolArray) -> None:
    box = find_bounding_box(mask)
    if box is None:
        assert not mask.any()
        return
    x, y, width, height = box
    inside = mask[y : y + height, x : x + width]
    assert inside.sum() == mask.sum()
    assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))


def test_box_is_x_y_width_height() -> None:
    assert find_bounding_box(ring()) == (3, 2, 8, 8)


def test_only_values_above_the_threshold_are_tumour() -> None:
    probability = np.array([[0.2, 0.5, 0.500001, 0.9]], np.float32)
    assert threshold_mask(probability, 0.5).tolist() == [[False, False, True, True]]


def test_area_follows_the_spacing() -> None:
    assert measure_area_mm2(10, (0.5, 2.0)) == pytest.approx(10.0)
    assert measure_area_mm2(10, None) is None
    assert measure_area_mm2(0, (0.5, 2.0)) == 0.0


def below_threshold() -> npt.NDArray[np.float32]:
    """Two hills, of which the lower is the larger; and a foot of the higher that lies below a twentieth of its peak."""
    probability = np.zeros((20, 30), np.float32)
    probability[2:12, 2:12] = 0.1
    probability[14:17, 20:25] = 0.2
    probability[15, 22] = 0.4
    probability[14:17, 25] = 0.019
    return probability


def test_a_candidate_is_the_region_around_the_highest_probability() -> None:
    found = find_candidate(below_threshold(), (0.5, 2.0))
    assert found is not None
    assert (found.pixels, found.area_mm2, found.bounding_box) == (15, 15.0, (20, 14, 5, 3))
    assert found.max_probability == pytest.approx(0.4)
    assert found.threshold == pytest.approx(0.02)
    region = np.zeros((20, 30), np.bool_)
    region[14:17, 20:25] = True
    assert np.array_equal(fill(found.contours, (20, 30)), region)


def test_what_every_head_has_is_no_candidate() -> None:
    assert find_candidate(np.full((20, 30), 0.0049, np.float32), None) is None
    found = find_candidate(np.full((20, 30), 0.0051, np.float32), None)
    assert found is not None
    assert (found.pixels, found.area_mm2) == (600, None)
