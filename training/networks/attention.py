"""The attention gate of Attention U-Net (Oktay 2018), in two or three dimensions."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AttentionGate(nn.Module):
    """Weighs each place of a skip connection by what the deeper level finds there: additive attention, equation 1."""

    def __init__(self, channels: int, convolution: type[nn.Module] = nn.Conv2d) -> None:
        super().__init__()
        inner = max(1, channels // 2)
        self.of_skip = convolution(channels, inner, 1, bias=False)
        self.of_gate = convolution(channels, inner, 1)
        self.weight = convolution(inner, 1, 1)

    def forward(self, skip: Tensor, gate: Tensor) -> Tensor:
        """Both (N, channels, ...) of one size -> the skip, weighed; same shape."""
        joint = torch.relu(self.of_skip(skip) + self.of_gate(gate))
        return skip * torch.sigmoid(self.weight(joint))
