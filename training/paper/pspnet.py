"""PSPNet (Zhao 2017): a dilated ResNet50, and averages over 1, 2, 3 and 6 parts of the side as context."""

from __future__ import annotations

import torch
from monai.networks.nets.resnet import ResNet
from torch import Tensor, nn
from torch.nn import functional

from training.networks.resnet import BLOCKS

BINS = (1, 2, 3, 6)
DROPOUT = 0.1


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
    """(N, channels, S, S), S a multiple of 8 -> logits (N, 1, S, S).

    ``width`` 64 is the published network with 46.6 million weights, less the auxiliary loss's head.
    """

    def __init__(self, channels: int = 4, width: int = 16) -> None:
        super().__init__()
        self.backbone = ResNet(
            "bottleneck",
            BLOCKS,
            [width, 2 * width, 4 * width, 8 * width],
            spatial_dims=2,
            n_input_channels=channels,
            shortcut_type="B",
            bias_downsample=False,
            conv1_t_stride=2,
            feed_forward=False,
        )
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
