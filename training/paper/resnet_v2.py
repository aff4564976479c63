"""ResNet50V2 (He 2016, Identity Mappings): normalisation and ReLU come before each convolution."""

from __future__ import annotations

from torch import Tensor, nn

from training.networks.pooled import StagedClassifier

BLOCKS = (3, 4, 6, 3)
# The last convolution of a block gives this many times the channels of the others.
EXPANSION = 4


class PreActivationBlock(nn.Module):
    """Bottleneck whose shortcut is the identity, or one convolution where size or channels change.

    Each normalisation is registered after the convolution that feeds it, so that export may fold it.
    """

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = EXPANSION * width
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


def _stage(inputs: int, width: int, depth: int, stride: int) -> list[nn.Module]:
    first = PreActivationBlock(inputs, width, stride)
    return [first, *(PreActivationBlock(EXPANSION * width, width, 1) for _ in range(depth - 1))]


def resnet50_v2(classes: int, width: int = 64) -> StagedClassifier:
    """23.5 million weights before the last layer at a ``width`` of 64, the published one."""
    widths = [width * 2**index for index in range(len(BLOCKS))]
    outputs = [EXPANSION * w for w in widths]
    stages: list[nn.Module] = [nn.Sequential(nn.Conv2d(1, width, 7, 2, padding=3, bias=False))]
    for index, (inputs, own, depth) in enumerate(zip([width, *outputs], widths, BLOCKS, strict=False)):
        # The first stage halves the side by pooling, the others by a stride.
        before = [] if index else [nn.MaxPool2d(3, 2, padding=1)]
        blocks = _stage(inputs, own, depth, 2 if index else 1)
        after = [nn.BatchNorm2d(outputs[-1]), nn.ReLU()] if index == len(BLOCKS) - 1 else []
        stages.append(nn.Sequential(*before, *blocks, *after))
    for layer in (layer for stage in stages for layer in stage.modules()):
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return StagedClassifier(stages, [width, *outputs], classes)
