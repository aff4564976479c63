"""Class and outline from one shared encoder: any classifier with a U-Net's decoder on its feature maps."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.networks.pooled import Classifier
from training.networks.resnet import ClassifierOutput
from training.networks.unet import DoubleConvolution


class MaskDecoder(nn.Module):
    """Feature maps at strides 2, 4, ... -> logits (N, 1, S, S): doubled step by step and joined with the next map.

    Maps are first narrowed to ``width`` channels at stride 2 and twice as many at each further one.
    """

    def __init__(self, channels: Sequence[int], width: int = 16) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(len(channels))]
        self.narrow = nn.ModuleList(nn.Conv2d(given, own, 1) for given, own in zip(channels, widths, strict=True))
        self.join = nn.ModuleList(DoubleConvolution(own + deep, own) for own, deep in pairwise(widths))
        self.head = nn.Conv2d(width, 1, 1)
        nn.init.constant_(self.head.bias, -4.0)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Logits at twice the side of the first map."""
        own = [narrow(x) for narrow, x in zip(self.narrow, maps, strict=True)]
        x = own.pop()
        for join in reversed(self.join):
            finer = own.pop()
            x = join(torch.cat([finer, _resized(x, finer.shape[-1])], dim=1))
        return _resized(self.head(x), 2 * x.shape[-1])


def _resized(x: Tensor, side: int) -> Tensor:
    return functional.interpolate(x, (side, side), mode="bilinear", align_corners=False)


class MultiTaskClassifier(nn.Module):
    """(N, 1, S, S) in [0, 1], S a multiple of 32 -> class logits (N, K) and mask logits (N, 1, S, S)."""

    def __init__(self, encoder: Classifier, width: int = 16) -> None:
        super().__init__()
        # Its coarse mask head would learn beside the decoder for nothing.
        encoder.mask_head = None
        self.encoder = encoder
        self.channels = tuple(encoder.channels)
        self.mask_head: nn.Module | None = None
        self.decoder = MaskDecoder(encoder.channels, width)

    @property
    def last(self) -> nn.Linear:
        """The encoder's layer after pooling."""
        return self.encoder.last

    def pyramid(self, images: Tensor) -> list[Tensor]:
        """The encoder's feature maps."""
        return self.encoder.pyramid(images)

    def forward(self, images: Tensor) -> ClassifierOutput:
        """Logits of the classes and of the mask at the input's own size."""
        maps = self.pyramid(images)
        return ClassifierOutput(self.last(maps[-1].mean(dim=(2, 3))), self.decoder(maps))
