"""The paper's classifiers for one grey channel, by name: cut into stages out of MONAI's networks where it has them.

Of all of them a ``width`` of 64 is the published one; others have channels in proportion. MONAI has no ResNet50V2,
VGG16 or InceptionV3 (docs/adr/0026).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from monai.networks.nets.densenet import DenseNet
from monai.networks.nets.efficientnet import EfficientNet
from torch import Tensor, cat, nn

from training.networks.classifiers import BLOCKS, StagedClassifier

# Layers of each dense block.
DENSE_BLOCKS: Final = (6, 12, 24, 16)
# Repeats, kernel, stride, expansion, input and output channels and squeeze ratio of each stack: table 1 of the paper.
STACKS = (
    "r1_k3_s11_e1_i32_o16_se0.25",
    "r2_k3_s22_e6_i16_o24_se0.25",
    "r2_k5_s22_e6_i24_o40_se0.25",
    "r3_k3_s22_e6_i40_o80_se0.25",
    "r3_k5_s11_e6_i80_o112_se0.25",
    "r4_k5_s22_e6_i112_o192_se0.25",
    "r1_k3_s11_e6_i192_o320_se0.25",
)
DROPOUT: Final = 0.2
# Convolutions of each block of a VGG16, and their channels in units of the first block's.
VGG_BLOCKS: Final = ((2, 1), (2, 2), (3, 4), (3, 8), (3, 8))


def start_from_noise(stages: Sequence[nn.Module]) -> Sequence[nn.Module]:
    """The stages with convolutions drawn for rectified layers (He 2015)."""
    for layer in (layer for stage in stages for layer in stage.modules()):
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return stages


def densenet121(classes: int, width: int = 64) -> StagedClassifier:
    """DenseNet121 (Huang 2017): 7.0 million weights before the last layer; its growth is half the width."""
    growth = width // 2
    body = DenseNet(2, 1, classes, init_features=width, growth_rate=growth, block_config=DENSE_BLOCKS).features
    stages = [
        nn.Sequential(body.conv0, body.norm0, body.relu0),
        nn.Sequential(body.pool0, body.denseblock1),
        nn.Sequential(body.transition1, body.denseblock2),
        nn.Sequential(body.transition2, body.denseblock3),
        nn.Sequential(body.transition3, body.denseblock4, body.norm5, nn.ReLU()),
    ]
    channels = [width]
    for index, depth in enumerate(DENSE_BLOCKS):
        # A transition halves the channels before every block but the first.
        channels.append((channels[-1] // 2 if index else width) + depth * growth)
    return StagedClassifier(stages, channels, classes)


def efficientnet_b0(classes: int, width: int = 64) -> StagedClassifier:
    """EfficientNetB0 (Tan 2019): 4.0 million weights before the last layer; widths scale in eights."""
    # The padding that MONAI works out for one size suits every multiple of 32: all strides meet even sides.
    body = EfficientNet(list(STACKS), 2, 1, classes, width_coefficient=width / 64, image_size=224)
    # The memory-saving Swish is a function of its own that the exporter does not know.
    body.set_swish(memory_efficient=False)
    stem = [body._conv_stem_padding, body._conv_stem, body._bn0, nn.SiLU()]
    head = [body._conv_head_padding, body._conv_head, body._bn1, nn.SiLU()]
    blocks = body._blocks
    stages = [
        nn.Sequential(*stem, blocks[0]),
        nn.Sequential(blocks[1]),
        nn.Sequential(blocks[2]),
        nn.Sequential(blocks[3], blocks[4]),
        nn.Sequential(blocks[5], blocks[6], *head),
    ]
    outputs = [body._blocks_args[index].output_filters for index in (0, 1, 2, 4)]
    return StagedClassifier(stages, [*outputs, body._fc.in_features], classes, DROPOUT)


class PreActivationBlock(nn.Module):
    """Bottleneck whose shortcut is the identity, or one convolution where size or channels change.

    Each normalisation is registered after the convolution that feeds it, so that export may fold it.
    """

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.shortcut = (
            nn.Conv2d(inputs, outputs, 1, stride, bias=False) if stride > 1 or inputs != outputs else nn.Identity()
        )
        self.relu = nn.ReLU()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.norm3 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, h, w) -> (N, 4 width, h/stride, w/stride)."""
        active = self.relu(self.norm1(x))
        # A changed shortcut starts from the activated input, an unchanged one from the raw sum.
        kept = x if isinstance(self.shortcut, nn.Identity) else self.shortcut(active)
        y = self.conv2(self.relu(self.norm2(self.conv1(active))))
        return kept + self.conv3(self.relu(self.norm3(y)))


def resnet50_v2(classes: int, width: int = 64) -> StagedClassifier:
    """ResNet50V2 (He 2016, Identity Mappings): 23.5 million weights before the last layer.

    Normalisation and ReLU come before each convolution. The first stage halves the side by pooling, others by a stride.
    """
    channels = [width] + [4 * width * 2**index for index in range(len(BLOCKS))]
    stages: list[nn.Module] = [nn.Sequential(nn.Conv2d(1, width, 7, 2, padding=3, bias=False))]
    for index, ((inputs, outputs), depth) in enumerate(zip(pairwise(channels), BLOCKS, strict=True)):
        stage = [] if index else [nn.MaxPool2d(3, 2, padding=1)]
        stage.append(PreActivationBlock(inputs, outputs // 4, 2 if index else 1))
        stage += [PreActivationBlock(outputs, outputs // 4, 1) for _ in range(depth - 1)]
        stages.append(nn.Sequential(*stage))
    stages[-1].extend([nn.BatchNorm2d(channels[-1]), nn.ReLU()])
    return StagedClassifier(start_from_noise(stages), channels, classes)


def vgg_stages(inputs: int, width: int) -> tuple[Sequence[nn.Module], list[int]]:
    """The five blocks of a VGG16, each ending in 2x2 max pooling, and their channels.

    With batch normalisation: the published network does not start from noise and was grown from a shallower one.
    """
    stages: list[nn.Module] = []
    channels = [width * factor for _, factor in VGG_BLOCKS]
    for (depth, _), outputs in zip(VGG_BLOCKS, channels, strict=True):
        layers: list[nn.Module] = []
        for _ in range(depth):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
            inputs = outputs
        stages.append(nn.Sequential(*layers, nn.MaxPool2d(2)))
    return start_from_noise(stages), channels


def vgg16(classes: int, width: int = 64) -> StagedClassifier:
    """VGG16 (Simonyan 2015): 14.7 million weights in thirteen convolutions; pooled instead of two wide layers."""
    return StagedClassifier(*vgg_stages(1, width), classes)


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
