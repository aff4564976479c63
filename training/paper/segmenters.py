"""The paper's segmenters of slices, beside the classic U-Net: on MONAI's networks and blocks where it has them.

MONAI's residual U-Net computes its finest level in one channel, so its blocks stand in ours; FCN-8s it has not.
"""

from __future__ import annotations

from typing import Final

import torch
from monai.networks.blocks.convolutions import ResidualUnit
from monai.networks.nets.attentionunet import AttentionUnet
from torch import Tensor, nn
from torch.nn import functional

from training.networks.classifiers import after_each, resnet50
from training.networks.unet import UNet
from training.paper.classifiers import vgg_stages

BINS: Final = (1, 2, 3, 6)
DROPOUT: Final = 0.1


class ResidualUNet(UNet):
    """The paper's "upgraded" U-Net: every pair of convolutions has a shortcut around it (as Zhang 2018)."""

    @staticmethod
    def block(inputs: int, outputs: int) -> nn.Module:
        """Two convolutions and their shortcut."""
        return ResidualUnit(2, inputs, outputs, act="relu", norm="batch", bias=False)


def attention_unet(channels: int = 4, width: int = 16) -> nn.Module:
    """Attention U-Net (Oktay 2018): each skip connection passes a gate that the level below controls."""
    network = AttentionUnet(2, channels, 1, [width * 2**level for level in range(5)], [2] * 4)
    nn.init.constant_(network.model[-1].conv.bias, -4.0)
    return network


def bilinear_upsampling(factor: int) -> nn.ConvTranspose2d:
    """One channel, ``factor`` times the side; starts as bilinear interpolation and may learn."""
    layer = nn.ConvTranspose2d(1, 1, 2 * factor, factor, factor // 2, bias=False)
    line = 1 - (torch.arange(2 * factor) - factor + 0.5).abs() / factor
    with torch.no_grad():
        layer.weight.copy_(line[:, None] * line[None, :])
    return layer


class FCN8s(nn.Module):
    """FCN-8s (Long 2015) on VGG16: wide layers become convolutions, scores of three strides are added up.

    (N, channels, S, S), S a multiple of 32 -> logits (N, 1, S, S).
    ``width`` 64 is the published network with 134 million weights, most of them in the 7x7 layer.
    """

    def __init__(self, channels: int = 4, width: int = 16) -> None:
        super().__init__()
        stages, outputs = vgg_stages(channels, width)
        self.stages = nn.ModuleList(stages)
        wide = 64 * width
        self.classifier = nn.Sequential(
            nn.Conv2d(outputs[-1], wide, 7, padding=3),
            nn.ReLU(),
            nn.Dropout2d(),
            nn.Conv2d(wide, wide, 1),
            nn.ReLU(),
            nn.Dropout2d(),
            nn.Conv2d(wide, 1, 1),
        )
        self.score4 = nn.Conv2d(outputs[3], 1, 1)
        self.score3 = nn.Conv2d(outputs[2], 1, 1)
        self.from32 = bilinear_upsampling(2)
        self.from16 = bilinear_upsampling(2)
        self.from8 = bilinear_upsampling(8)
        # The two finer scores start at zero, as published: they only refine what the deepest says.
        for layer in (self.score4, self.score3):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.constant_(self.classifier[-1].bias, -4.0)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, 1, S, S)."""
        maps = after_each(self.stages, images)
        x = self.from32(self.classifier(maps[-1])) + self.score4(maps[3])
        return self.from8(self.from16(x) + self.score3(maps[2]))


def dilate(layer: nn.Module, rate: int) -> None:
    """Take the strides out of a ResNet stage and spread its 3x3 convolutions instead (``rate`` pixels apart)."""
    for module in layer.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
            if module.kernel_size == (3, 3):
                module.dilation = module.padding = (rate, rate)


def pooling_matrix(size: int, bins: int) -> Tensor:
    """(bins, size): row i averages part i of a line, parts overlapping where ``bins`` does not divide ``size``."""
    matrix = torch.zeros(bins, size)
    for index in range(bins):
        first, end = index * size // bins, -(-(index + 1) * size // bins)
        matrix[index, first:end] = 1 / (end - first)
    return matrix


class Context(nn.Module):
    """(N, C, h, w) -> (N, 2 C, h, w): the input and its averages over parts, each in C / 4 channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        own = channels // len(BINS)
        self.units = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, own, 1, bias=False), nn.BatchNorm2d(own), nn.ReLU()) for _ in BINS
        )

    def forward(self, x: Tensor) -> Tensor:
        """The input first, then the coarsest average."""
        rows, columns = x.shape[-2:]
        parts = [x]
        for bins, unit in zip(BINS, self.units, strict=True):
            # The same as adaptive pooling, which exporters know only where the bins divide the size.
            down, across = pooling_matrix(rows, bins).to(x), pooling_matrix(columns, bins).to(x)
            pooled = unit(down @ x @ across.T)
            parts.append(functional.interpolate(pooled, (rows, columns), mode="bilinear", align_corners=False))
        return torch.cat(parts, dim=1)


class PSPNet(nn.Module):
    """PSPNet (Zhao 2017): a dilated ResNet50, and averages over 1, 2, 3 and 6 parts of the side as context.

    (N, channels, S, S), S a multiple of 8 -> logits (N, 1, S, S).
    ``width`` 64 is the published network with 46.6 million weights, less the auxiliary loss's head.
    """

    def __init__(self, channels: int = 4, width: int = 16) -> None:
        super().__init__()
        self.backbone = resnet50(channels, width, feed_forward=False)
        dilate(self.backbone.layer3, 2)
        dilate(self.backbone.layer4, 4)
        deep = 32 * width
        self.context = Context(deep)
        self.head = nn.Sequential(
            nn.Conv2d(2 * deep, deep // 4, 3, padding=1, bias=False),
            nn.BatchNorm2d(deep // 4),
            nn.ReLU(),
            nn.Dropout2d(DROPOUT),
            nn.Conv2d(deep // 4, 1, 1),
        )
        nn.init.constant_(self.head[-1].bias, -4.0)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, 1, S, S), interpolated from an eighth of the side."""
        net = self.backbone
        x = net.maxpool(net.act(net.bn1(net.conv1(images))))
        x = net.layer4(net.layer3(net.layer2(net.layer1(x))))
        return functional.interpolate(
            self.head(self.context(x)), images.shape[-2:], mode="bilinear", align_corners=False
        )
