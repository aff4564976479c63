"""The residual and the attention U-Net in 2D: the classic one with other blocks, or with weighed skip connections."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.networks.attention import AttentionGate
from training.networks.unet import UNet


class ResidualConvolution(nn.Module):
    """Twice: 3x3 convolution and batch normalisation; the input is added before the last ReLU (He 2015)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, h, w) -> (N, outputs, h, w)."""
        return torch.relu(self.body(x) + self.shortcut(x))


class ResidualUNet(UNet):
    """The paper's "upgraded" U-Net: every pair of convolutions has a shortcut around it (as Zhang 2018)."""

    block = ResidualConvolution


class AttentionUNet(UNet):
    """Each skip connection passes a gate that the level below controls (Oktay 2018)."""

    def __init__(self, channels: int = 4, width: int = 16, levels: int = 5) -> None:
        super().__init__(channels, width, levels)
        self.gates = nn.ModuleList(AttentionGate(width * 2**level) for level in range(levels - 1))

    def join(self, level: int, skip: Tensor, x: Tensor) -> Tensor:
        """The weighed skip connection and what comes from below."""
        return super().join(level, self.gates[level](skip, x), x)
