"""A trained network's weights in the same network with more channels, computing the same function (Chen 2016, Net2Net).

Every channel is copied, and what reads the copies shares each weight among them in random parts. The shares differ, so
the copies receive different gradients and part ways in training.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def widened(weights: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``weights`` by name with the shapes of ``like``, whose channel counts are 1 or 2 times those of ``weights``.

    Raises ValueError where the names differ or a count is another multiple.
    """
    if weights.keys() != like.keys():
        raise ValueError(f"not the same layers: {sorted(weights.keys() ^ like.keys())[:4]}")
    return {name: widen(name, value, like[name].shape) for name, value in weights.items()}


def widen(name: str, value: Tensor, shape: torch.Size) -> Tensor:
    """One weight with twice the channels where ``shape`` says so.

    Raises ValueError, which says ``name``, for another multiple.
    """
    if value.ndim == 0 or value.shape == shape:
        return value.clone()
    ratios = [wide / narrow for wide, narrow in zip(shape, value.shape, strict=True)]
    if any(ratio not in (1, 2) for ratio in ratios) or any(ratio != 1 for ratio in ratios[2:]):
        raise ValueError(f"{name}: {tuple(value.shape)} cannot become {tuple(shape)}")
    if ratios[0] == 2:
        value = torch.cat([value, value], dim=0)
    if value.ndim > 1 and ratios[1] == 2:
        share = torch.empty_like(value).uniform_(0.3, 0.7)
        value = torch.cat([value * share, value * (1 - share)], dim=1)
    return value
