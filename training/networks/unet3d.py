"""3D U-Net with residual blocks and attention gates: the paper's network for volumes."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn


class AttentionGate(nn.Module):
    """The gate of Attention U-Net (Oktay 2018), equation 1: weighs places of a skip connection by what lies below."""

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


class ResidualBlock3d(nn.Module):
    """Twice: 3x3x3 convolution and instance normalisation; the input is added before the last activation.

    Instance normalisation: a batch of volumes is one or two patches, too few for statistics over it.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv3d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.InstanceNorm3d(outputs, affine=True),
            nn.LeakyReLU(0.01),
            nn.Conv3d(outputs, outputs, 3, padding=1, bias=False),
            nn.InstanceNorm3d(outputs, affine=True),
        )
        changed = inputs != outputs or stride > 1
        self.shortcut = nn.Conv3d(inputs, outputs, 1, stride, bias=False) if changed else nn.Identity()
        self.activation = nn.LeakyReLU(0.01)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, D, H, W) -> (N, outputs, D/stride, H/stride, W/stride)."""
        return self.activation(self.body(x) + self.shortcut(x))


class ResidualAttentionUNet3d(nn.Module):
    """(N, channels, D, H, W), each side a multiple of 16 -> logits (N, regions, D, H, W), one sigmoid a region.

    Five levels of ``width`` to 16 ``width`` channels, halved by strides. A patch of 64 voxels a side is 4 at the
    deepest level, one of 128 is 8.
    """

    channel_axis = 1

    def __init__(self, channels: int = 4, regions: int = 3, width: int = 16, levels: int = 5) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(levels)]
        self.encoders = nn.ModuleList(
            ResidualBlock3d(before, after, 2 if level else 1)
            for level, (before, after) in enumerate(pairwise([channels, *widths]))
        )
        self.ups = nn.ModuleList(nn.ConvTranspose3d(deep, wide, 2, stride=2) for wide, deep in pairwise(widths))
        self.gates = nn.ModuleList(AttentionGate(wide, nn.Conv3d) for wide in widths[:-1])
        self.decoders = nn.ModuleList(ResidualBlock3d(2 * wide, wide) for wide in widths[:-1])
        self.head = nn.Conv3d(width, regions, 1)
        # Tumour is rare: start near a probability of 2 %.
        nn.init.constant_(self.head.bias, -4.0)

    def forward(self, volumes: Tensor) -> Tensor:
        """Logits (N, regions, D, H, W)."""
        return self.head(self.features(volumes))

    def features(self, volumes: Tensor) -> Tensor:
        """What the last layer reads: (N, width, D, H, W)."""
        skips: list[Tensor] = []
        x = volumes
        for encoder in self.encoders:
            x = encoder(x)
            skips.append(x)
        x = skips.pop()
        for up, gate, decoder in zip(reversed(self.ups), reversed(self.gates), reversed(self.decoders), strict=True):
            x = up(x)
            x = decoder(torch.cat([gate(skips.pop(), x), x], dim=self.channel_axis))
        return x
