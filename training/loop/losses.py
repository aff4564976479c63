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


def partial_mask_loss(logits: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Dice + binary cross-entropy of what is known: logits and ``target`` (N, R, ...), ``known`` (N, R) weights.

    Dice is that of each region over the patches that know it, each voxel counted by its patch's weight in [0, 1],
    and the mean of the regions that any patch knows; what is unknown has no gradient.
    """
    logits = logits.float()
    weight = known.view(*known.shape, *[1] * (logits.ndim - 2))
    entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    loss = (entropy * weight).mean() * known.numel() / known.sum().clamp(min=1)
    places = (0, *range(2, logits.ndim))
    probability = torch.sigmoid(logits)
    overlap, both = (value.mul(weight).sum(places) for value in (probability * target, probability + target))
    dice = (2 * overlap + 1) / (both + 1)
    taught = known.amax(dim=0)
    return loss + ((1 - dice) * taught).sum() / taught.sum().clamp(min=1)


def distillation_loss(logits: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """Divergence of the student's class shares from the teacher's at a temperature, by its square (Hinton 2015)."""
    student = functional.log_softmax(logits / temperature, dim=1)
    teacher = functional.log_softmax(taught / temperature, dim=1)
    return functional.kl_div(student, teacher, reduction="batchmean", log_target=True) * temperature**2


def feature_loss(features: Tensor, taught: Tensor) -> Tensor:
    """Mean squared difference of the student's first channels from the teacher's, as a share of the latter's square.

    ``features`` (N, G, s, s) and ``taught`` (N, F, t, t) with F <= G; the teacher's are pooled to the student's grid.
    Raises ValueError where the teacher has more channels.
    """
    if taught.shape[1] > features.shape[1]:
        raise ValueError(f"the teacher has {taught.shape[1]} features, the student {features.shape[1]}")
    wanted = functional.adaptive_avg_pool2d(taught.float(), features.shape[-1])
    difference = features[:, : wanted.shape[1]].float() - wanted
    return difference.square().mean() / wanted.square().mean().clamp(min=1e-6)


def evidence_loss(maps: Tensor, labels: Tensor, masks: Tensor) -> Tensor:
    """How far the evidence for each slice's own classes lies from its tumour: cross-entropy over the cells of the map.

    ``maps`` (N, K, S/32, S/32); ``labels`` (N, K) class shares; ``masks`` (N, 1, S/16, S/16) shares of tumour. Cells of
    a network with strides are centred on every 32nd pixel from the first one, so each takes the tumour around it.
    Slices without tumour count as 0.
    """
    cells = maps.shape[-1]
    around = functional.avg_pool2d(masks, 2, stride=2, padding=1)[..., :cells, :cells].flatten(1)
    evidence = (maps.float() * labels[:, :, None, None]).sum(1).flatten(1)
    total = around.sum(1, keepdim=True)
    target = around / total.clamp(min=1e-6)
    return -(target * functional.log_softmax(evidence, dim=1)).sum(1).mean()
