"""Sequence dropout, sampling, and what the losses reward."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from training.config import Mixture, Phase, SegmenterConfig, SequenceDropout
from training.data.multisequence import SequenceSlices
from training.loop.losses import mask_loss, soft_dice_loss
from training.segmentation.task import Pool, SegmenterTask, drop_sequences, show

THREE = np.array([True, True, False, True])


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test draws the same samples."""
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)


def test_every_subset_is_shown_and_only_of_what_is_there() -> None:
    settings = SequenceDropout(single=0.25, subset=0.5)
    draws = [drop_sequences(THREE, settings) for _ in range(2000)]
    subsets = {tuple(np.flatnonzero(shown).tolist()) for shown, single in draws if single is None}
    assert subsets == {(0,), (1,), (3,), (0, 1), (0, 3), (1, 3), (0, 1, 3)}
    singles = [single for _, single in draws if single is not None]
    assert set(singles) == {0, 1, 3}
    assert len(singles) / 2000 == pytest.approx(0.25, abs=0.04)


def test_one_sequence_alone_is_never_dropped() -> None:
    only = np.array([False, True, False, False])
    for _ in range(200):
        shown, _ = drop_sequences(only, SequenceDropout(single=0.3, subset=0.7))
        np.testing.assert_array_equal(shown, only)


def test_single_slices_fill_all_channels_and_hidden_ones_are_zero() -> None:
    images = torch.arange(1, 9).float().view(2, 4, 1, 1).expand(2, 4, 3, 3).contiguous()
    seen = show(images, [np.array([True, False, False, True]), THREE], [None, 3])
    assert seen[0, :, 0, 0].tolist() == [1, 0, 0, 4]
    assert seen[1, :, 0, 0].tolist() == [8, 8, 8, 8]


def test_draws_keep_the_tumour_share() -> None:
    masks = np.zeros((50, 4, 4), np.uint8)
    masks[:5] = 255
    pool = Pool.of(SequenceSlices(np.zeros((50, 4, 4, 4), np.uint8), masks, THREE))
    rows = pool.draw(40, 0.5)
    assert int((rows < 5).sum()) == 20
    rare = np.array(["glioma"] * 4 + ["meningioma"] + ["no_tumor"] * 45)
    alike = Pool.of(SequenceSlices(np.zeros((50, 4, 4, 4), np.uint8), masks, THREE, rare)).draw(4000, 1.0)
    assert np.mean(alike == 4) == pytest.approx(0.5, abs=0.04)
    all_tumour = Pool.of(SequenceSlices(np.zeros((5, 4, 4, 4), np.uint8), masks[:5], THREE))
    assert len(all_tumour.draw(7, 0.5)) == 7
    healthy = Pool.of(SequenceSlices(np.zeros((5, 4, 4, 4), np.uint8), masks[5:10], THREE))
    assert len(healthy.draw(7, 0.5)) == 7


def test_a_batch_of_the_available_sets(data: Path, in_workspace: Path) -> None:
    task = SegmenterTask(SegmenterConfig(width=4), data, "cpu")
    images, masks = task.batch(Phase(size=64, images=64, batch=24))
    assert images.shape == (24, 4, 64, 64)
    assert masks.shape == (24, 1, 64, 64)
    assert 0 <= float(images.min()) <= float(images.max()) <= 1
    assert bool((images.amax(dim=(1, 2, 3)) > 0.5).all())


def test_healthy_heads_are_shown_and_no_teacher_is_believed_there(data: Path, in_workspace: Path) -> None:
    class Everywhere(nn.Module):
        """Tumour in every pixel."""

        def forward(self, images: Tensor) -> Tensor:
            return torch.full_like(images[:, :1], 20.0)

    only = Mixture(lgg=0, outlined=0, brats=0, healthy=1)
    task = SegmenterTask(SegmenterConfig(width=4, mixture=only), data, "cpu", Everywhere())
    images, mask, taught = task.batch(Phase(size=32, images=8, batch=8))
    assert bool((images.amax(dim=(1, 2, 3)) > 0.5).all())
    assert not mask.any()
    assert not taught.any()
    both = SegmenterConfig(width=4, mixture=Mixture(lgg=0.5, outlined=0, brats=0, healthy=0.5))
    _, mask, taught = SegmenterTask(both, data, "cpu", Everywhere()).batch(Phase(size=32, images=32, batch=32))
    believed = taught.amax(dim=(1, 2, 3)) > 0
    assert 4 < int(believed.sum()) < 28
    assert not mask[~believed].any()


def test_losses_fall_towards_the_truth() -> None:
    target = torch.zeros(2, 1, 16, 16)
    target[0, :, 4:8, 4:8] = 1
    right = mask_loss((target * 2 - 1) * 8, target)
    nothing = mask_loss(torch.full_like(target, -8.0), target)
    wrong = mask_loss((1 - target * 2) * 8, target)
    assert float(right) < 0.01 < float(nothing) < float(wrong)
    assert float(soft_dice_loss(target, target)) == pytest.approx(0, abs=1e-6)
