"""Dice lesion by lesion, against counts made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from training.evaluation.lesions import lesion_wise_dice

MM = (1.0, 1.0, 1.0)


def boxes(*corners: tuple[int, int, int], side: int = 4) -> np.ndarray:
    """Cubes of ``side`` voxels, 64 mm3 by default, at these corners of a volume of 40 voxels a side."""
    mask = np.zeros((40, 40, 40), np.bool_)
    for i, j, k in corners:
        mask[i : i + side, j : j + side, k : k + side] = True
    return mask


def test_a_missed_lesion_and_an_invented_one_count_as_much_as_a_large_one() -> None:
    large = boxes((2, 2, 2), side=10)
    one, other, third = (25, 25, 25), (25, 5, 25), (5, 25, 25)
    assert lesion_wise_dice(large, large, MM) == 1
    assert lesion_wise_dice(large, large | boxes(one), MM) == pytest.approx(1 / 2)
    assert lesion_wise_dice(large | boxes(other, third), large, MM) == pytest.approx(1 / 3)
    assert lesion_wise_dice(large | boxes(other), large | boxes(one), MM) == pytest.approx(1 / 3)


def test_lesions_have_the_dice_of_the_pieces_that_come_near() -> None:
    true = boxes((10, 10, 10), (30, 10, 10))
    found = boxes((10, 10, 12), (30, 10, 10))
    assert lesion_wise_dice(found, true, MM) == pytest.approx((0.5 + 1) / 2)
    # Two voxels of air between: within reach, though nothing overlaps. Four: a miss and an invention.
    assert lesion_wise_dice(boxes((10, 10, 16)), boxes((10, 10, 10)), MM) == 0
    near = boxes((10, 10, 10)) | boxes((10, 10, 16))
    assert lesion_wise_dice(near, boxes((10, 10, 10)), MM) == pytest.approx(2 / 3)
    far = boxes((10, 10, 10)) | boxes((10, 10, 18))
    assert lesion_wise_dice(far, boxes((10, 10, 10)), MM) == pytest.approx(1 / 2)


def test_outlines_that_are_close_are_one_lesion() -> None:
    close, apart = boxes((10, 10, 10), (10, 10, 18)), boxes((10, 10, 10), (10, 10, 22))
    first = boxes((10, 10, 10))
    # One lesion of 128 voxels of which 64 are found; two lesions of which one is.
    assert lesion_wise_dice(first, close, MM) == pytest.approx(2 / 3)
    assert lesion_wise_dice(first, apart, MM) == pytest.approx(1 / 2)


def test_lesions_of_50_mm3_are_left_out_with_what_is_found_there() -> None:
    large, small = boxes((2, 2, 2), side=10), np.zeros((40, 40, 40), np.bool_)
    small[25:30, 25:30, 25:27] = True
    assert small.sum() == 50
    assert lesion_wise_dice(large, large | small, MM) == 1
    assert lesion_wise_dice(large | small, large | small, MM) == 1
    # In larger voxels it is larger.
    assert lesion_wise_dice(large, large | small, (1.25, 1.25, 1.25)) == pytest.approx(1 / 2)
    empty = np.zeros_like(small)
    assert lesion_wise_dice(empty, empty, MM) == 1
    assert lesion_wise_dice(small, empty, MM) == 0


def test_reach_is_in_millimetres() -> None:
    true = boxes((10, 10, 10))
    found = true | boxes((10, 10, 16))
    # Two voxels of air are 2 mm, or 6.
    assert lesion_wise_dice(found, true, MM) == pytest.approx(2 / 3)
    assert lesion_wise_dice(found, true, (3.0, 3.0, 3.0)) == pytest.approx(1 / 2)
