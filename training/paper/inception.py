"""InceptionV3 (Szegedy 2016) for one grey channel, without the auxiliary classifier, as a table of its branches.

Every convolution is padded, where the published one crops: the side then halves exactly five times, for any multiple
of 32, and a map's cells lie on the image evenly. The weights are the same in number and shape.
"""

from __future__ import annotations

from typing import Final

from torch import Tensor, cat, nn

from training.networks.classifiers import StagedClassifier
from training.paper.classifiers import start_from_noise

# A convolution is its channels and its kernel (one side for both); "average" and "largest" pool over 3x3; a list stands
# for branches side by side. The stride of a block is that of the last layer of each branch.
Layer = tuple[int, int | tuple[int, int]] | str | list[list["Layer"]]
_ACROSS, _DOWN = (1, 7), (7, 1)
_SPLIT: Final[Layer] = [[(384, (1, 3))], [(384, (3, 1))]]
# The first reduction, to half the side with 480 more channels, and the second, with 512 more.
_TO_17: Final[list[list[Layer]]] = [[(384, 3)], [(64, 1), (96, 3), (96, 3)], ["largest"]]
_TO_8: Final[list[list[Layer]]] = [
    [(192, 1), (320, 3)],
    [(192, 1), (192, _ACROSS), (192, _DOWN), (192, 3)],
    ["largest"],
]
# Figure 7: 3x3 split into 1x3 beside 3x1; 2048 channels.
_WIDENED: Final[list[list[Layer]]] = [
    [(320, 1)],
    [(384, 1), _SPLIT],
    [(448, 1), (384, 3), _SPLIT],
    ["average", (192, 1)],
]


def _square(pooled: int) -> list[list[Layer]]:
    """Figure 5: 1x1, 5x5, two 3x3 and pooling; 224 + ``pooled`` channels."""
    return [[(64, 1)], [(48, 1), (64, 5)], [(64, 1), (96, 3), (96, 3)], ["average", (pooled, 1)]]


def _factorised(inner: int) -> list[list[Layer]]:
    """Figure 6: 7x7 as 1x7 and 7x1; 768 channels."""
    twice: list[Layer] = [(inner, 1), (inner, _DOWN), (inner, _ACROSS), (inner, _DOWN), (192, _ACROSS)]
    return [[(192, 1)], [(inner, 1), (inner, _ACROSS), (192, _DOWN)], twice, ["average", (192, 1)]]


class Branches(nn.ModuleList):
    """The same input through each branch, the results side by side in the channels."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, sum of the branches' channels, h', w')."""
        return cat([branch(x) for branch in self], dim=1)


class Builder:
    """Makes layers out of the table one after another; ``channels`` is what the last one gives."""

    def __init__(self, channels: int, width: int) -> None:
        self.channels, self.width = channels, width

    def chain(self, layers: list[Layer], stride: int = 1) -> nn.Sequential:
        """Layers in a row; the last one has the stride."""
        strides = [1] * (len(layers) - 1) + [stride]
        return nn.Sequential(*(part for item in zip(layers, strides, strict=True) for part in self._layer(*item)))

    def branches(self, block: list[list[Layer]], stride: int = 1) -> Branches:
        """Branches side by side."""
        given, made, total = self.channels, Branches(), 0
        for layers in block:
            self.channels = given
            made.append(self.chain(layers, stride))
            total += self.channels
        self.channels = total
        return made

    def _layer(self, layer: Layer, stride: int) -> list[nn.Module]:
        if isinstance(layer, list):
            return [self.branches(layer)]
        if isinstance(layer, str):
            average = nn.AvgPool2d(3, 1, padding=1, count_include_pad=False)
            return [average if layer == "average" else nn.MaxPool2d(3, stride, padding=1)]
        published, kernel = layer
        rows, columns = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        before, self.channels = self.channels, max(1, published * self.width // 64)
        padding = rows // 2, columns // 2
        convolution = nn.Conv2d(before, self.channels, (rows, columns), stride, padding, bias=False)
        return [convolution, nn.BatchNorm2d(self.channels, eps=1e-3), nn.ReLU()]


def inception_v3(classes: int, width: int = 64) -> StagedClassifier:
    """21.8 million weights before the last layer at a ``width`` of 64, the published one."""
    make, stages, channels = Builder(1, width), [], []
    for parts in (
        lambda: [make.chain([(32, 3)], 2), make.chain([(32, 3), (64, 3)])],
        lambda: [make.chain(["largest"], 2), make.chain([(80, 1), (192, 3)])],
        lambda: [make.chain(["largest"], 2), *(make.branches(_square(pooled)) for pooled in (32, 64, 64))],
        lambda: [make.branches(_TO_17, 2), *(make.branches(_factorised(inner)) for inner in (128, 160, 160, 192))],
        lambda: [make.branches(_TO_8, 2), make.branches(_WIDENED), make.branches(_WIDENED)],
    ):
        stages.append(nn.Sequential(*parts()))
        channels.append(make.channels)
    return StagedClassifier(start_from_noise(stages), channels, classes)
