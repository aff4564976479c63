"""Loss functions on logits."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def soft_dice_loss(probability: Tensor, target: Tensor) -> Tensor:
    """1 - Dice over the whole batch: slices without tumour then count through their false positives."""
    overlap = (probability * target).sum()
    return 1 - (2 * overlap + 1) / (probability.sum() + target.sum() + 1)


def mask_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Dice + binary cross-entropy; ``target`` in [0, 1], both (N, 1, h, w)."""
    logits = logits.float()
    return functional.binary_cross_entropy_with_logits(logits, target) + soft_dice_loss(torch.sigmoid(logits), target)
