"""A U-Net whose encoder is an EfficientNet-Lite with ImageNet weights: beside the classic one, or its teacher."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.config import PretrainedName
from training.networks.lite import DEVIATION, MEAN, encode, pretrained, stages
from training.networks.unet import DoubleConvolution

# Channels of the decoder at strides 16, 8, 4, 2 and 1.
_DECODER = (128, 64, 48, 32, 16)


def _shared_among(channels: int, colours: Tensor) -> Tensor:
    """First convolution for ``channels`` sequences: each takes an even share of what the three colours did."""
    return (colours.sum(dim=1, keepdim=True) / channels).repeat(1, channels, 1, 1)


class LiteUNet(nn.Module):
    """(N, channels, S, S) in [0, 1], S a multiple of 32 -> logits (N, 1, S, S)."""

    def __init__(self, encoder: PretrainedName, channels: int = 4) -> None:
        super().__init__()
        self.encoder = pretrained(encoder)
        stem = self.encoder._conv_stem
        stem.weight = nn.Parameter(_shared_among(channels, stem.weight.detach()))
        for unused in ("_conv_head", "_bn1", "_fc"):
            delattr(self.encoder, unused)
        *shallow, deepest = stages(self.encoder).values()
        skips = [channels, *shallow][::-1]
        inputs = [deepest, *_DECODER[:-1]]
        self.decoders = nn.ModuleList(
            [DoubleConvolution(i + s, o) for i, s, o in zip(inputs, skips, _DECODER, strict=True)]
        )
        self.head = nn.Conv2d(_DECODER[-1], 1, 1)
        nn.init.constant_(self.head.bias, -4.0)

    def take_encoder(self, classifier: Mapping[str, Tensor]) -> None:
        """Begin with what a ``LiteClassifier`` of this state learnt on slices, instead of photographs alone."""
        prefix, stem = "network.", "_conv_stem.weight"
        learnt = {name.removeprefix(prefix): value for name, value in classifier.items()}
        learnt[stem] = _shared_among(self.encoder._conv_stem.weight.shape[1], learnt[stem])
        self.encoder.load_state_dict({name: learnt[name] for name in self.encoder.state_dict()})

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, 1, S, S)."""
        normalised = (images - MEAN) / DEVIATION
        maps = [normalised, *encode(self.encoder, normalised)]
        x = maps.pop()
        for decoder in self.decoders:
            skip = maps.pop()
            x = functional.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            # One type for both: under autocast they differ, and joining them would make the larger one of everything.
            x = decoder(torch.cat([x, skip.to(x.dtype)], dim=1))
        return self.head(x)
