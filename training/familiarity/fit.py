"""The perceptron of ``core.imaging.preparation.familiarity``, learnt from described pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import nn

from core.imaging.preparation.familiarity import KINDS, Perceptron
from training.data.archives import BoolArray, FloatArray, IntArray

_HIDDEN: Final = 64
_EPOCHS: Final = 15
_BATCH: Final = 512
_RATE: Final = 2e-3
_DECAY: Final = 3e-2
# Of a description and of what is hidden, so much is left out at a time.
_DROPPED: Final = (0.2, 0.4)
_SMOOTHING: Final = 0.02
# Keeps a number that hardly varies from counting a thousandfold where it does.
_LEAST_SPREAD: Final = 0.05
# A source counts by the root of what it has, so that the large data sets do not speak alone.
_POWER: Final = 0.5


def weights_of(kinds: IntArray, sources: Sequence[str]) -> FloatArray:
    """How much each picture (n,) counts: every kind alike, and within one its sources by the root of their size."""
    weights = np.zeros(len(kinds), np.float64)
    names = np.asarray(sources)
    for kind in np.unique(kinds):
        of_kind = kinds == kind
        for source in np.unique(names[of_kind]):
            rows = of_kind & (names == source)
            weights[rows] = rows.sum() ** _POWER / rows.sum()
        weights[of_kind] /= weights[of_kind].sum()
    return (weights / weights.mean()).astype(np.float32)


def fit(descriptions: FloatArray, kinds: IntArray, sources: Sequence[str], seed: int = 0) -> Perceptron:
    """Weights from descriptions (n, d) of pictures of ``kinds`` (n,); the same from the same, on one machine."""
    torch.manual_seed(seed)
    mean, scale = descriptions.mean(axis=0), descriptions.std(axis=0) + np.float32(_LEAST_SPREAD)
    inputs = torch.from_numpy((descriptions - mean) / scale)
    targets, counted = torch.from_numpy(kinds), torch.from_numpy(weights_of(kinds, sources))
    first, second = nn.Linear(inputs.shape[1], _HIDDEN), nn.Linear(_HIDDEN, len(KINDS))
    network = nn.Sequential(nn.Dropout(_DROPPED[0]), first, nn.ReLU(), nn.Dropout(_DROPPED[1]), second)
    optimiser = torch.optim.AdamW(network.parameters(), _RATE, weight_decay=_DECAY)
    steps = _EPOCHS * -(-len(inputs) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, total_steps=steps)
    loss_of = nn.CrossEntropyLoss(label_smoothing=_SMOOTHING, reduction="none")
    for _ in range(_EPOCHS):
        for rows in torch.randperm(len(inputs)).split(_BATCH):
            optimiser.zero_grad()
            loss = (loss_of(network(inputs[rows]), targets[rows]) * counted[rows]).mean()
            loss.backward()
            optimiser.step()
            schedule.step()
    first_weight, first_bias, second_weight, second_bias = (
        array.detach().numpy().copy() for array in (first.weight.T, first.bias, second.weight.T, second.bias)
    )
    unset = np.array([0.0, 1.0], np.float32)
    return Perceptron(mean, scale, first_weight, first_bias, second_weight, second_bias, unset)


def doubts(perceptron: Perceptron, descriptions: FloatArray) -> FloatArray:
    """How much speaks against a familiar slice (n,): log odds of all other kinds against it."""
    values = perceptron(descriptions).astype(np.float64)
    return np.asarray(np.logaddexp.reduce(values[:, 1:], axis=1) - values[:, 0], np.float32)


def left_out(sources: Sequence[str], name: str) -> BoolArray:
    """Which pictures (n,) are not of the source ``name``."""
    return np.asarray(sources) != name
