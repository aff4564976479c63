"""DenseNet121 (Huang 2017) for one grey channel, cut into stages from MONAI's network."""

from __future__ import annotations

from monai.networks.nets.densenet import DenseNet
from torch import nn

from training.networks.pooled import StagedClassifier

# Layers of each dense block.
BLOCKS = (6, 12, 24, 16)


def densenet121(classes: int, width: int = 64) -> StagedClassifier:
    """7.0 million weights before the last layer at a ``width`` of 64 (growth 32), the published one."""
    growth = width // 2
    body = DenseNet(2, 1, classes, init_features=width, growth_rate=growth, block_config=BLOCKS).features
    stages = [
        nn.Sequential(body.conv0, body.norm0, body.relu0),
        nn.Sequential(body.pool0, body.denseblock1),
        nn.Sequential(body.transition1, body.denseblock2),
        nn.Sequential(body.transition2, body.denseblock3),
        nn.Sequential(body.transition3, body.denseblock4, body.norm5, nn.ReLU()),
    ]
    channels = [width]
    for index, depth in enumerate(BLOCKS):
        # A transition halves the channels before every block but the first.
        channels.append((channels[-1] // 2 if index else width) + depth * growth)
    return StagedClassifier(stages, channels, classes)
