"""The classic 2D U-Net (Ronneberger 2015) with batch normalisation and same-size convolutions."""

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
        self.encoders = nn.ModuleList(
            [self.block(i, o) for i, o in pairwise([channels, *widths])],
        )
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
