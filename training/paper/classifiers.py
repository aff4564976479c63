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
from torch import Tensor, nn

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
