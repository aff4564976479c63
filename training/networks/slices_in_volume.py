"""Slices first, then the volume: a 2D U-Net reads every axial slice, a 3D U-Net what it found in all of them.

Scans are sharp within their slices and coarse between them, and there are many more outlined slices than outlined
volumes to learn from. So the slice network may start as one that was trained on slices alone
(``training.networks.starts``), and the volume network then adds what only neighbouring slices tell. See
docs/adr/0017.
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.networks.unet import UNet
from training.networks.unet3d import ResidualAttentionUNet3d

POOL = 2
"""In-plane voxels of a slice to one of the 3D network."""

_LEVELS = 4


class SlicesInVolume(nn.Module):
    """(N, channels, I, J, K), axes right, anterior, superior -> logits (N, regions, I, J, K).

    I and J are multiples of 16, K is one of 8. The logits are the sum of what each slice says, at full resolution, and
    of what the 3D network says, at half of it in plane. That part starts at zero: with a trained slice network, the
    first region is at first exactly what the slices say.
    """

    def __init__(self, channels: int = 4, regions: int = 3, width: int = 16) -> None:
        super().__init__()
        self.channels = channels
        self.slices = UNet(channels, width)
        # The first region is the slice network's own.
        self.inner = nn.Conv2d(width, regions - 1, 1)
        nn.init.constant_(self.inner.bias, -4.0)
        self.context = ResidualAttentionUNet3d(width + 1 + channels, regions, width, _LEVELS)
        self.context.head = nn.ConvTranspose3d(width, regions, (POOL, POOL, 1), stride=(POOL, POOL, 1))
        nn.init.zeros_(self.context.head.weight)
        nn.init.zeros_(self.context.head.bias)

    def train(self, mode: bool = True) -> Self:
        """The slice network keeps its normalisation: slices of one or two scans are no sample of all slices."""
        super().train(mode)
        for module in self.slices.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, volumes: Tensor) -> Tensor:
        """Logits (N, regions, I, J, K)."""
        features = self.slices.features(as_slices(volumes))
        outer = self.slices.head(features)
        by_slice = as_volumes(torch.cat([outer, self.inner(features)], dim=1), volumes.shape[0])
        # Pooled while they are slices: a fourth of the values has to be put in another order then.
        found = functional.avg_pool2d(torch.cat([features, torch.sigmoid(outer)], dim=1), POOL)
        shown = functional.avg_pool3d(volumes, (POOL, POOL, 1))
        coarse = torch.cat([as_volumes(found, volumes.shape[0]), shown], dim=1)
        return by_slice + self.context(coarse)


def as_slices(volumes: Tensor) -> Tensor:
    """(N, C, I, J, K) -> (N K, C, J, I), face up and the patient's left on the right, as slices are shown."""
    count, channels, i, j, k = volumes.shape
    upright = volumes.flip((2, 3)).permute(0, 4, 1, 3, 2).reshape(count * k, channels, j, i)
    return upright.contiguous(memory_format=torch.channels_last)


def as_volumes(slices: Tensor, count: int) -> Tensor:
    """The way back: (``count`` K, C, J, I) -> (``count``, C, I, J, K)."""
    channels, j, i = slices.shape[1:]
    return slices.reshape(count, -1, channels, j, i).permute(0, 2, 4, 3, 1).flip((2, 3))
