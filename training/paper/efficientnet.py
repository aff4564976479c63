"""EfficientNetB0 (Tan 2019) for one grey channel, cut into stages from MONAI's network."""

from __future__ import annotations

from monai.networks.nets.efficientnet import EfficientNet
from torch import nn

from training.networks.pooled import StagedClassifier

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
DROPOUT = 0.2


def efficientnet_b0(classes: int, width: int = 64) -> StagedClassifier:
    """4.0 million weights before the last layer at a ``width`` of 64; others scale all channels, in eights."""
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
