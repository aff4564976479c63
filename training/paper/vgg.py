"""VGG16 (Simonyan 2015): its thirteen convolutions, with global average pooling in place of the two wide layers.

With batch normalisation: the published network does not start from noise and was grown from a shallower one.
"""

from __future__ import annotations

from torch import nn

from training.networks.pooled import StagedClassifier

# Convolutions of each block, and their channels in units of the first block's.
BLOCKS = ((2, 1), (2, 2), (3, 4), (3, 8), (3, 8))


def vgg_stages(inputs: int, width: int) -> tuple[list[nn.Module], list[int]]:
    """The five blocks, each ending in 2x2 max pooling, and their channels; a ``width`` of 64 is the published one."""
    stages: list[nn.Module] = []
    channels = [width * factor for _, factor in BLOCKS]
    for (depth, _), outputs in zip(BLOCKS, channels, strict=True):
        layers: list[nn.Module] = []
        for _ in range(depth):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
            inputs = outputs
        stages.append(nn.Sequential(*layers, nn.MaxPool2d(2)))
    for layer in (layer for stage in stages for layer in stage.modules()):
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return stages, channels


def vgg16(classes: int, width: int = 64) -> StagedClassifier:
    """14.7 million weights before the last layer."""
    return StagedClassifier(*vgg_stages(1, width), classes)
