"""U-Nets: the classic one of slices (Ronneberger 2015), and the paper's of volumes, with residual blocks and gates."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn


class DoubleConvolution(nn.Sequential):
    """Twice: 3x3 convolution, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        layers: list[nn.Module] = []
        for channels in (inputs, outputs):
            layers += [
                nn.Conv2d(channels, outputs, 3, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers)


class UNet(nn.Module):
    """Five levels of ``width`` to 16 ``width`` channels, up-convolutions, skip connections by concatenation.

    (N, channels, S, S), S a multiple of 16 -> logits (N, 1, S, S). A variant differs in ``block``, made with the
    channels before and after it.
    """

    block: Callable[[int, int], nn.Module] = DoubleConvolution

    def __init__(self, channels: int = 4, width: int = 16, levels: int = 5) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(levels)]
        self.encoders = nn.ModuleList([self.block(i, o) for i, o in pairwise([channels, *widths])])
        self.ups = nn.ModuleList([nn.ConvTranspose2d(deep, wide, 2, stride=2) for wide, deep in pairwise(widths)])
        self.decoders = nn.ModuleList([self.block(2 * wide, wide) for wide in widths[:-1]])
        self.head = nn.Conv2d(width, 1, 1)
        # Tumour is rare: start at a probability near 2 % so that the first steps are not spent on learning that.
        nn.init.constant_(self.head.bias, -4.0)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, 1, S, S)."""
        return self.head(self.features(images))

    def features(self, images: Tensor) -> Tensor:
        """What the last layer reads: (N, width, S, S)."""
        skips: list[Tensor] = []
        x = images
        for level, encoder in enumerate(self.encoders):
            x = encoder(nn.functional.max_pool2d(x, 2) if level else x)
            skips.append(x)
        x = skips.pop()
        for up, decoder in zip(reversed(self.ups), reversed(self.decoders), strict=True):
            x = decoder(torch.cat([skips.pop(), up(x)], dim=1))
        return x


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
