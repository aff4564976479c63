"""Hausdorff distances on masks drawn by hand, and against every pair of outline pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion
from scipy.spatial.distance import cdist

from training.evaluation.masks import hausdorff95


def test_two_pixels() -> None:
    predicted, true = np.zeros((8, 8), bool), np.zeros((8, 8), bool)
    predicted[1, 1] = true[4, 5] = True
    # Three rows and four columns apart; rows of 2 mm and columns of 1 mm: sqrt(6^2 + 4^2).
    assert hausdorff95(predicted, true) == 5
    assert hausdorff95(predicted, true, (2.0, 1.0)) == pytest.approx(math.sqrt(52))
    assert hausdorff95(predicted, predicted) == 0


def test_a_square_moved() -> None:
    predicted, true = np.zeros((20, 20), bool), np.zeros((20, 20), bool)
    predicted[5:10, 5:10] = true[5:10, 8:13] = True
    # Its outer column, 5 of 16 outline pixels, is 3 away from the other outline: more than 5 % of them.
    assert hausdorff95(predicted, true) == 3
    assert hausdorff95(predicted, true, (1.0, 0.5)) == 1.5


def test_few_stray_pixels_do_not_count() -> None:
    true = np.zeros((100, 100), bool)
    true[:, 0] = True
    predicted = true.copy()
    # 4 of 104 outline pixels are 90 away; at the sixth they are more than 5 %.
    predicted[[10, 30, 50, 70], 90] = True
    assert hausdorff95(predicted, true) == 0
    predicted[[20, 40, 60, 80], 90] = True
    assert hausdorff95(predicted, true) == 90


def test_empty_masks() -> None:
    nothing, something = np.zeros((30, 40), bool), np.zeros((30, 40), bool)
    something[3, 3] = True
    assert hausdorff95(nothing, nothing) == 0
    # The diagonal: 30 rows and 40 columns.
    assert hausdorff95(nothing, something) == hausdorff95(something, nothing) == 50
    assert hausdorff95(nothing, something, (2.0, 2.0)) == 100


@given(st.integers(0, 10_000))
def test_against_every_pair_of_outline_voxels(seed: int) -> None:
    generator = np.random.default_rng(seed)
    shape = (4, 6, 7) if seed % 2 else (9, 8)
    spacing = generator.uniform(0.5, 3, len(shape))
    density = generator.choice([0.02, 0.3, 0.8])
    masks = [generator.random(shape) < density for _ in range(2)]
    for mask in masks:
        mask.flat[generator.integers(mask.size)] = True
    points = [np.argwhere(mask & ~binary_erosion(mask)) * spacing for mask in masks]
    distances = cdist(*points)
    expected = max(np.percentile(distances.min(axis=axis), 95) for axis in (0, 1))
    assert hausdorff95(masks[0], masks[1], spacing.tolist()) == pytest.approx(expected)
