"""InceptionV3 (Szegedy 2016) for one grey channel, without the auxiliary classifier.

Every convolution is padded, where the published one crops: the side then halves exactly five times, for any multiple
of 32, and a map's cells lie on the image evenly. The weights are the same in number and shape.
"""

from __future__ import annotations

from torch import Tensor, cat, nn

from training.networks.pooled import StagedClassifier


class Unit(nn.Sequential):
    """Convolution, batch normalisation, ReLU; ``kernel`` is (rows, columns) or one side for both."""

    def __init__(self, inputs: int, outputs: int, kernel: int | tuple[int, int] = 1, stride: int = 1) -> None:
        rows, columns = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        super().__init__(
            nn.Conv2d(inputs, outputs, (rows, columns), stride, (rows // 2, columns // 2), bias=False),
            nn.BatchNorm2d(outputs, eps=1e-3),
            nn.ReLU(),
        )


class Branches(nn.ModuleList):
    """The same input through each branch, the results side by side in the channels."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, sum of the branches' channels, h', w')."""
        return cat([branch(x) for branch in self], dim=1)


def _average() -> nn.Module:
    return nn.AvgPool2d(3, 1, padding=1, count_include_pad=False)


class Inception:
    """Builds the blocks of the paper's figures 5 to 7 with all channels in proportion to ``width``; 64 is published."""

    def __init__(self, width: int) -> None:
        self.width = width

    def c(self, published: int) -> int:
        """Channels in proportion."""
        return max(1, published * self.width // 64)

    def chain(self, inputs: int, *units: tuple[int, int | tuple[int, int]], stride: int = 1) -> nn.Sequential:
        """Units in a row, given as (channels as published, kernel); the stride is the last one's."""
        layers, before = [], inputs
        for index, (published, kernel) in enumerate(units):
            own = stride if index == len(units) - 1 else 1
            layers.append(Unit(before, self.c(published), kernel, own))
            before = self.c(published)
        return nn.Sequential(*layers)

    def square(self, inputs: int, pooled: int) -> Branches:
        """Figure 5: 1x1, 5x5, two 3x3 and pooling; 224 + ``pooled`` channels."""
        return Branches(
            [
                self.chain(inputs, (64, 1)),
                self.chain(inputs, (48, 1), (64, 5)),
                self.chain(inputs, (64, 1), (96, 3), (96, 3)),
                nn.Sequential(_average(), Unit(inputs, self.c(pooled))),
            ]
        )

    def first_reduction(self, inputs: int) -> Branches:
        """Half the side; 480 more channels."""
        return Branches(
            [
                self.chain(inputs, (384, 3), stride=2),
                self.chain(inputs, (64, 1), (96, 3), (96, 3), stride=2),
                nn.MaxPool2d(3, 2, padding=1),
            ]
        )

    def factorised(self, inputs: int, inner: int) -> Branches:
        """Figure 6: 7x7 as 1x7 and 7x1; 768 channels."""
        across, down = (1, 7), (7, 1)
        return Branches(
            [
                self.chain(inputs, (192, 1)),
                self.chain(inputs, (inner, 1), (inner, across), (192, down)),
                self.chain(inputs, (inner, 1), (inner, down), (inner, across), (inner, down), (192, across)),
                nn.Sequential(_average(), Unit(inputs, self.c(192))),
            ]
        )

    def second_reduction(self, inputs: int) -> Branches:
        """Half the side; 512 more channels."""
        return Branches(
            [
                self.chain(inputs, (192, 1), (320, 3), stride=2),
                self.chain(inputs, (192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3), stride=2),
                nn.MaxPool2d(3, 2, padding=1),
            ]
        )

    def widened(self, inputs: int) -> Branches:
        """Figure 7: 3x3 split into 1x3 beside 3x1; 2048 channels."""

        def split() -> Branches:
            return Branches([Unit(self.c(384), self.c(384), (1, 3)), Unit(self.c(384), self.c(384), (3, 1))])

        return Branches(
            [
                self.chain(inputs, (320, 1)),
                nn.Sequential(*self.chain(inputs, (384, 1)), split()),
                nn.Sequential(*self.chain(inputs, (448, 1), (384, 3)), split()),
                nn.Sequential(_average(), Unit(inputs, self.c(192))),
            ]
        )


def inception_v3(classes: int, width: int = 64) -> StagedClassifier:
    """21.8 million weights before the last layer at a ``width`` of 64, the published one."""
    make = Inception(width)
    c = make.c
    square = c(64) + c(64) + c(96)
    middle = 4 * c(192)
    reduced = c(384) + c(96) + square + c(64)
    deep = c(320) + c(192) + middle
    last = c(320) + 4 * c(384) + c(192)
    pool = nn.MaxPool2d(3, 2, padding=1)
    stages = [
        nn.Sequential(Unit(1, c(32), 3, 2), Unit(c(32), c(32), 3), Unit(c(32), c(64), 3)),
        nn.Sequential(pool, Unit(c(64), c(80)), Unit(c(80), c(192), 3)),
        nn.Sequential(pool, make.square(c(192), 32), make.square(square + c(32), 64), make.square(square + c(64), 64)),
        nn.Sequential(
            make.first_reduction(square + c(64)),
            make.factorised(reduced, 128),
            *(make.factorised(middle, inner) for inner in (160, 160, 192)),
        ),
        nn.Sequential(make.second_reduction(middle), make.widened(deep), make.widened(last)),
    ]
    for layer in (layer for stage in stages for layer in stage.modules()):
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return StagedClassifier(stages, [c(64), c(192), square + c(64), middle, last], classes)
