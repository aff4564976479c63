"""Components in three dimensions are those of scipy.ndimage, whatever their numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from core.imaging.components import label_components


@pytest.mark.parametrize("corners", [False, True])
@settings(deadline=None, max_examples=120)
@given(
    shape=st.tuples(*[st.integers(1, 12)] * 3),
    share=st.sampled_from([0.0, 0.08, 0.2, 0.4, 1.0]),
    seed=st.integers(0, 99),
)
def test_components_are_those_of_scipy(corners: bool, shape: tuple[int, int, int], share: float, seed: int) -> None:
    mask = np.random.default_rng(seed).random(shape) < share
    expected, count = ndimage.label(mask, structure=np.ones((3, 3, 3)) if corners else None)
    numbers, found = label_components(mask, corners=corners)
    assert found == count
    assert np.array_equal(numbers > 0, mask)
    # Each number stands for one of the others.
    assert len(np.unique(np.stack([numbers[mask], expected[mask]]), axis=1).T) == count


def test_a_winding_line_is_one() -> None:
    mask = np.zeros((41, 41, 3), np.bool_)
    mask[::2, :, 1] = True
    mask[1::4, 0, 1] = True
    mask[3::4, -1, 1] = True
    assert label_components(mask, corners=False)[1] == 1
    mask[20, 20, 1] = False
    assert label_components(mask, corners=False)[1] == 2
