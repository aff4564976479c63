"""What counts as the same answer of two providers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from core.runtime.openvino.agreement import Judge, find_difference
from core.runtime.session import TensorSpec

Array = npt.NDArray[Any]


class Sums:
    """Answers with the sum of each slice, or as ``fault`` has it."""

    def __init__(self, fault: str = "") -> None:
        self.fault = fault
        self.inputs = (TensorSpec("x", np.dtype(np.float32), (None, 4)),)

    def run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        x = inputs["x"]
        match self.fault, len(x):
            case "everything", _:
                return {"sum": x.sum()}
            case "mixed", 3:
                return {"sum": np.full(3, x.sum())}
            case "nan", _:
                return {"sum": np.full(len(x), np.nan)}
            case "near", _:
                return {"sum": x.sum(1) * 1.02}
        return {"sum": x.sum(1)}


@pytest.mark.parametrize(
    ("fault", "exact", "expected"),
    [
        ("", True, ""),
        ("everything", True, "sum has shape () instead of (1,) at batch 1"),
        ("mixed", True, "sum has other values at batch 3"),
        ("mixed", False, "sum has other values at batch 3"),
        ("nan", True, "sum has other values at batch 1"),
        ("nan", False, "sum has other values at batch 1"),
        ("near", True, "sum has other values at batch 1"),
        ("near", False, ""),
    ],
)
def test_each_output_is_compared_in_shape_and_values(fault: str, exact: bool, expected: str) -> None:
    slices = list(np.arange(1, 13, dtype=np.float32).reshape(3, 4))
    assert find_difference(Sums(fault), Sums(), slices, exact=exact) == expected


@pytest.mark.parametrize(("flips", "fault"), [(1, ""), (2, "the label stays in 99.0% of slices alone")])
def test_one_label_in_two_hundred_may_change(flips: int, fault: str) -> None:
    judge = Judge(choices=((0, 1), (0, 1, 2)))
    for number in range(200):
        judge.add(np.array([1.0, 0.0, -1.0]), np.array([0.0, 1.0, -1.0] if number < flips else [2.0, 0.0, -1.0]))
    result = judge.result()
    assert (result.share, result.fault) == (1 - flips / 200, fault)


def mask(pixels: int) -> Array:
    values = np.zeros((1, 40, 50), np.float32)
    values.ravel()[:pixels] = 0.9
    return values


@pytest.mark.parametrize(
    ("kept", "more", "int8", "share", "fault"),
    [
        # Dice 1 and 2 * 98 / 198: in the mean, and of int8 over all pixels, 4196 / 4198.
        (98, 2, True, (1 + 196 / 198) / 2, ""),
        # 2 * 8 / 18: 0.9995 over all pixels, but 0.944 in the mean.
        (8, 2, True, (1 + 16 / 18) / 2, "masks agree by a mean Dice of 0.9444 alone"),
        (8, 2, False, (1 + 16 / 18) / 2, "masks agree by a mean Dice of 0.9444 alone"),
        # 2 * 1990 / 3990 beside 1: enough in the mean, 7980 / 7990 over all pixels.
        (1990, 10, False, (1 + 3980 / 3990) / 2, ""),
        (1990, 10, True, (1 + 3980 / 3990) / 2, "masks agree by a Dice of 0.9987 over all pixels alone"),
    ],
)
def test_masks_agree_in_the_mean_and_of_int8_pixel_by_pixel(
    kept: int, more: int, int8: bool, share: float, fault: str
) -> None:
    judge = Judge(thresholds=(0.5,), int8=int8)
    judge.add(mask(2000), mask(2000))
    judge.add(mask(kept), mask(kept + more))
    found = judge.result()
    assert found.share == pytest.approx(share)
    assert found.fault == fault


@pytest.mark.parametrize(("before", "after"), [(1, 0), (0, 1)])
def test_no_mask_may_turn_empty_or_come_out_of_nothing(before: int, after: int) -> None:
    judge = Judge(thresholds=(0.5,), int8=True)
    judge.add(mask(2000), mask(2000))
    judge.add(mask(before), mask(after))
    assert judge.result().fault == "masks turn empty or come out of nothing in 1 slices"
