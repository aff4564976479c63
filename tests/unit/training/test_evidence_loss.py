"""The loss that puts the evidence for a class on its tumour."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from training.loop.losses import evidence_loss

LABELS = torch.tensor([[0.0, 1.0]])


def one_tumour(row: int, column: int, cells: int = 10) -> Tensor:
    """A mask (1, 1, 10, 10) at stride 16 with tumour in the two by two cells around pixel (32 row, 32 column)."""
    mask = torch.zeros(1, 1, cells, cells)
    mask[:, :, 2 * row - 1 : 2 * row + 1, 2 * column - 1 : 2 * column + 1] = 1.0
    return mask


def test_even_evidence_costs_the_logarithm_of_the_cells() -> None:
    loss = evidence_loss(torch.zeros(1, 2, 5, 5), LABELS, one_tumour(2, 3))
    assert float(loss) == pytest.approx(math.log(25))


def test_evidence_on_the_tumour_costs_nothing_and_beside_it_much() -> None:
    maps = torch.zeros(1, 2, 5, 5)
    maps[0, 1, 2, 3] = 50.0
    assert float(evidence_loss(maps, LABELS, one_tumour(2, 3))) == pytest.approx(0.0, abs=1e-4)
    assert float(evidence_loss(maps, LABELS, one_tumour(3, 2))) == pytest.approx(50.0, rel=1e-3)


def test_only_the_slices_own_class_is_asked() -> None:
    maps = torch.zeros(1, 2, 5, 5)
    maps[0, 0, 2, 3] = 50.0
    assert float(evidence_loss(maps, LABELS, one_tumour(2, 3))) == pytest.approx(math.log(25))


def test_a_slice_without_tumour_counts_as_nothing() -> None:
    assert float(evidence_loss(torch.randn(1, 2, 5, 5), LABELS, torch.zeros(1, 1, 10, 10))) == 0.0
