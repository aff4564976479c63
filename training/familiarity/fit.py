"""The perceptron of ``core.imaging.preparation.familiarity``, learnt from described pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import nn

from core.imaging.preparation.familiarity import KINDS, Perceptron, doubts_of, turned
from training.data.archives import BoolArray, FloatArray, IntArray

_HIDDEN: Final = 160
_EPOCHS: Final = 20
_BATCH: Final = 512
_RATE: Final = 2e-3
_DECAY: Final = 3e-2
# Of a description and of what is hidden, so much is left out at a time.
_DROPPED: Final = (0.2, 0.4)
# Of what is not familiar, so much is shown as it is at least, and the rest turned.
_UPRIGHT: Final = 0.6
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
    """Weights from descriptions (n, d) of upright pictures of ``kinds`` (n,); the same from the same, on one machine.

    In every epoch each familiar slice is shown in its four turns, as of their kinds, and each other picture in one
    turn, mostly upright.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    mean = _whichever_way(descriptions.mean(axis=0))
    scale = _whichever_way(descriptions.std(axis=0) + np.float32(_LEAST_SPREAD))
    inputs, counted = (descriptions - mean) / scale, torch.from_numpy(weights_of(kinds, sources))
    first, second = nn.Linear(inputs.shape[1], _HIDDEN), nn.Linear(_HIDDEN, len(KINDS))
    network = nn.Sequential(nn.Dropout(_DROPPED[0]), first, nn.ReLU(), nn.Dropout(_DROPPED[1]), second)
    optimiser = torch.optim.AdamW(network.parameters(), _RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, _RATE, total_steps=_EPOCHS * -(-len(_shown(kinds, rng)[0]) // _BATCH)
    )
    loss_of = nn.CrossEntropyLoss(label_smoothing=_SMOOTHING, reduction="none")
    for _ in range(_EPOCHS):
        pictures, quarters = _shown(kinds, rng)
        for start in range(0, len(pictures), _BATCH):
            rows, seen = pictures[start : start + _BATCH], quarters[start : start + _BATCH]
            batch = np.empty((len(rows), inputs.shape[1]), np.float32)
            for turns in range(4):
                batch[seen == turns] = turned(inputs[rows[seen == turns]], turns)
            targets = torch.from_numpy(np.where(kinds[rows] == 0, seen, kinds[rows]))
            optimiser.zero_grad()
            loss = (loss_of(network(torch.from_numpy(batch)), targets) * counted[rows]).mean()
            loss.backward()
            optimiser.step()
            schedule.step()
    first_weight, first_bias, second_weight, second_bias = (
        array.detach().numpy().copy() for array in (first.weight.T, first.bias, second.weight.T, second.bias)
    )
    unset = np.array([0.0, 1.0], np.float32)
    return Perceptron(mean, scale, first_weight, first_bias, second_weight, second_bias, unset)


def _whichever_way(numbers: FloatArray) -> FloatArray:
    """Numbers (d,) of a description, the same however the slice is turned."""
    return np.asarray(np.mean([turned(numbers, turns) for turns in range(4)], axis=0), np.float32)


def _shown(kinds: IntArray, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Which pictures an epoch shows, in which turn: two arrays (m,) in the order of showing."""
    heads, others = np.flatnonzero(kinds == 0), np.flatnonzero(kinds != 0)
    turns = np.where(rng.random(len(others)) < _UPRIGHT, 0, rng.integers(0, 4, len(others)))
    pictures = np.concatenate([np.tile(heads, 4), others])
    views = np.concatenate([np.repeat(np.arange(4), len(heads)), turns])
    order = rng.permutation(len(pictures))
    return pictures[order], views[order]


def doubts(perceptron: Perceptron, descriptions: FloatArray) -> FloatArray:
    """How much speaks against a familiar slice (n,), as the services judge it."""
    return doubts_of(perceptron(descriptions))


def left_out(sources: Sequence[str], name: str) -> BoolArray:
    """Which pictures (n,) are not of the source ``name``."""
    return np.asarray(sources) != name
