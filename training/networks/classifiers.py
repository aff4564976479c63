"""Classifiers: feature maps at five strides, global average pooling, one linear layer. First of them the ResNet50."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

import torch
from monai.networks.nets.resnet import ResNet, ResNetBottleneck
from torch import Tensor, nn
from torch.nn import functional

from training.networks.unet import DoubleConvolution

# Grey values of a prepared slice are brought near mean 0 and deviation 1 by these.
MEAN: Final = 0.25
DEVIATION: Final = 0.25
# Bottleneck blocks in each stage of a ResNet50.
BLOCKS: Final = [3, 4, 6, 3]
# Channels of a ResNet50's first convolution at any width, as the network of photographs has them: it costs little.
STEM: Final = 64
# Stride of the coarse mask relative to the input.
MASK_STRIDE: Final = 16


class ClassifierOutput(NamedTuple):
    """``logits`` (N, K), and of networks that have them ``mask_logits`` (N, 1, S/16, S/16) and ``maps``, the class
    evidence (N, K, S/32, S/32) whose mean plus the bias is the logit. ``features`` (N, F, S/32, S/32) are what is
    pooled."""

    logits: Tensor
    mask_logits: Tensor | None
    maps: Tensor | None = None
    features: Tensor | None = None


class Classifier(nn.Module):
    """(N, 1, S, S) in [0, 1], S a multiple of 32 -> class logits, and a coarse mask that helps training alone.

    Subclasses have ``last``, the only layer after pooling, ``channels`` of their feature maps, and ``pyramid``. Pooling
    and ``last`` are both linear, so class activation maps are exact.
    """

    channels: Sequence[int]
    dropout: float = 0.0
    # Whether training is shown the evidence for each class.
    has_maps: bool = True

    def __init__(self) -> None:
        super().__init__()
        # Learns the coarse mask; None where a decoder does, or nothing.
        self.mask_head: nn.Module | None = None

    def pyramid(self, images: Tensor) -> list[Tensor]:
        """Feature maps (N, ``channels[i]``, S/2^(i+1), S/2^(i+1)); the last one is pooled."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> ClassifierOutput:
        """Logits of the classes and of the mask, and the maps whose mean the logits are."""
        maps = self.pyramid(images)
        logits = self.last(functional.dropout(maps[-1].mean(dim=(2, 3)), self.dropout, self.training))
        mask = None if self.mask_head is None else self.mask_head(maps[-2])
        evidence = functional.conv2d(maps[-1], self.last.weight[:, :, None, None]) if self.has_maps else None
        return ClassifierOutput(logits, mask, evidence, maps[-1])


def after_each(stages: Iterable[nn.Module], x: Tensor) -> list[Tensor]:
    """What each of the modules in a row gives."""
    maps = []
    for stage in stages:
        x = stage(x)
        maps.append(x)
    return maps


def coarse_mask_head(channels: int) -> nn.Module:
    """Reads the mask off a feature map; begins near a probability of 5 %."""
    head = nn.Conv2d(channels, 1, 1)
    nn.init.constant_(head.bias, -3.0)
    return head


class StagedClassifier(Classifier):
    """``stages``: five modules in a row that halve the side each; ``channels``: what each of them gives."""

    has_maps = False

    def __init__(
        self, stages: Sequence[nn.Module], channels: Sequence[int], classes: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.stages = nn.ModuleList(stages)
        self.dropout = dropout
        self.last = nn.Linear(channels[-1], classes)
        self.mask_head = coarse_mask_head(channels[-2])

    def pyramid(self, images: Tensor) -> list[Tensor]:
        """What each stage gives."""
        return after_each(self.stages, (images - MEAN) / DEVIATION)


def resnet50(channels: int, width: int, **options: Any) -> ResNet:
    """MONAI's ResNet50 (He 2015) as published: the one of 4.1 GMAC, with stride 2 in the first convolution."""
    widths = [width, 2 * width, 4 * width, 8 * width]
    fixed = {"spatial_dims": 2, "shortcut_type": "B", "bias_downsample": False, "conv1_t_stride": 2}
    return ResNet("bottleneck", BLOCKS, widths, n_input_channels=channels, **fixed, **options)


def _stem_of_published(network: ResNet, width: int) -> None:
    """Give a ``network`` of any width a first convolution of ``STEM`` channels, and let its first block read them."""
    if width == STEM:
        return
    first = network.layer1[0]
    network.conv1, network.bn1 = nn.Conv2d(1, STEM, 7, 2, 3, bias=False), nn.BatchNorm2d(STEM)
    first.conv1, first.downsample[0] = nn.Conv2d(STEM, width, 1, bias=False), nn.Conv2d(STEM, 4 * width, 1, bias=False)


class ResNetClassifier(Classifier):
    """ResNet50 (He 2015) for one grey channel; a ``width`` of 64 is the published one, narrower ones train faster."""

    def __init__(self, classes: int, width: int = 64) -> None:
        super().__init__()
        self.backbone = resnet50(1, width, num_classes=classes)
        _stem_of_published(self.backbone, width)
        self.channels = (STEM, 4 * width, 8 * width, 16 * width, 32 * width)
        self.mask_head = coarse_mask_head(16 * width)
        for module in self.backbone.modules():
            if isinstance(module, ResNetBottleneck):
                # Each block starts as the identity (Goyal 2017), which steadies a start from scratch.
                nn.init.zeros_(module.bn3.weight)

    @property
    def last(self) -> nn.Linear:
        """MONAI's own last layer."""
        return self.backbone.fc

    def pyramid(self, images: Tensor) -> list[Tensor]:
        """Feature maps of the first convolution and of the four stages."""
        net = self.backbone
        first = net.act(net.bn1(net.conv1((images - MEAN) / DEVIATION)))
        return [first, *after_each((net.layer1, net.layer2, net.layer3, net.layer4), net.maxpool(first))]


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


class MultiTaskClassifier(Classifier):
    """Class and outline from one shared encoder: logits (N, K), and of the mask (N, 1, S, S)."""

    def __init__(self, encoder: Classifier, width: int = 16) -> None:
        super().__init__()
        # Its coarse mask head would learn beside the decoder for nothing.
        encoder.mask_head = None
        self.encoder = encoder
        self.channels = tuple(encoder.channels)
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
        return ClassifierOutput(self.last(maps[-1].mean(dim=(2, 3))), self.decoder(maps), features=maps[-1])
