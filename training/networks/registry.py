"""Every network that can be trained, exported and served, by the name that the command line takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

from torch import nn

from core.contracts.sequences import SEQUENCES
from training.data.scans import REGIONS
from training.networks.classifiers import Classifier, MultiTaskClassifier, ResNetClassifier
from training.networks.slices_in_volume import SlicesInVolume, SlicesInVolumeHeads
from training.networks.together import SecondReader, SideBySide
from training.networks.unet import ResidualAttentionUNet3d, UNet
from training.networks.volumetric import ResidualUNet3d, SlicesOfThreePlanes
from training.paper.classifiers import densenet121, efficientnet_b0, inception_v3, resnet50_v2, vgg16
from training.paper.segmenters import FCN8s, PSPNet, ResidualUNet, attention_unet

# Called with the number of classes and a width: 64 is the published network, others have channels in proportion.
CLASSIFIERS: Final[Mapping[str, Callable[[int, int], Classifier]]] = {
    "resnet50": ResNetClassifier,
    "resnet50v2": resnet50_v2,
    "densenet121": densenet121,
    "efficientnet-b0": efficientnet_b0,
    "inception-v3": inception_v3,
    "vgg16": vgg16,
}
# Called with the number of sequences and the channels of the first level.
SEGMENTERS: Final[Mapping[str, Callable[[int, int], nn.Module]]] = {
    "unet": UNet,
    "residual-unet": ResidualUNet,
    "attention-unet": attention_unet,
    "fcn-8s": FCN8s,
    "pspnet": PSPNet,
}
# Called with the number of sequences, of regions, and the channels of the first level.
VOLUME_SEGMENTERS: Final[Mapping[str, Callable[[int, int, int], nn.Module]]] = {
    "residual-attention-unet-3d": ResidualAttentionUNet3d,
    "slices-in-volume": SlicesInVolume,
    "slices-in-volume-heads": SlicesInVolumeHeads,
    "residual-unet-3d": ResidualUNet3d,
    "slices-of-three-planes": SlicesOfThreePlanes,
}
# As people write them.
TITLES: Final[Mapping[str, str]] = {
    "resnet50": "ResNet50",
    "resnet50v2": "ResNet50V2",
    "densenet121": "DenseNet121",
    "efficientnet-b0": "EfficientNetB0",
    "inception-v3": "InceptionV3",
    "vgg16": "VGG16",
    "efficientnet-lite0": "EfficientNet-Lite0",
    "efficientnet-lite2": "EfficientNet-Lite2",
    "unet": "classic U-Net",
    "efficientnet-lite0-unet": "U-Net with an EfficientNet-Lite0 encoder",
    "efficientnet-lite2-unet": "U-Net with an EfficientNet-Lite2 encoder",
    "residual-unet": "residual U-Net",
    "attention-unet": "attention U-Net",
    "fcn-8s": "FCN-8s",
    "pspnet": "PSPNet",
    "residual-attention-unet-3d": "3D U-Net with residual blocks and attention",
    "slices-in-volume": "3D U-Net with residual blocks and attention over a U-Net of slices",
    "slices-in-volume-heads": "3D U-Net with residual blocks and attention over a U-Net of slices, with inner heads",
    "residual-unet-3d": "residual 3D U-Net",
    "slices-of-three-planes": "U-Net of slices along three axes",
}


def title(architecture: str) -> str:
    """A network's name as people write it; of several side by side their names. Raises KeyError for another name."""
    names = Counter(TITLES[name] for name in architecture.split("+"))
    *others, last = (name if count == 1 else f"{count} x {name}" for name, count in names.items())
    return f"{', '.join(others)} and {last}" if others else last


def build_classifier(architecture: str, classes: int, width: int, *, multitask: bool = False) -> Classifier:
    """A classifier by name; with ``multitask`` it outlines the tumour as well. Raises KeyError for another name."""
    network = CLASSIFIERS[architecture](classes, width)
    return MultiTaskClassifier(network) if multitask else network


def make_classifier(config: Mapping[str, Any]) -> nn.Module:
    """The classifier that a ``ClassifierConfig``, as a dictionary, describes, or ``combine`` of several."""
    if "members" in config:
        return SideBySide([make_classifier(member) for member in config["members"]])
    architecture, labels = config["architecture"], config["labels"]
    if architecture.startswith("efficientnet-lite"):
        # Imported where it is needed: nothing but these need their packages.
        from training.networks.lite import LiteClassifier

        return LiteClassifier(len(labels), architecture)
    return build_classifier(architecture, len(labels), config["width"], multitask=config["multitask"])


def make_segmenter(config: Mapping[str, Any]) -> nn.Module:
    """The segmenter that a ``SegmenterConfig``, as a dictionary, describes, or ``training.bundle.combine`` of two."""
    if "second" in config:
        return SecondReader(make_segmenter(config["first"]), make_segmenter(config["second"]))
    if config["architecture"].startswith("efficientnet-lite"):
        from training.networks.lite import LiteUNet

        return LiteUNet(config["architecture"].removesuffix("-unet"))
    return SEGMENTERS[config["architecture"]](len(SEQUENCES), config["width"])


def make_volume_segmenter(config: Mapping[str, Any]) -> nn.Module:
    """The segmenter of volumes that a ``VolumeSegmenterConfig``, as a dictionary, describes."""
    return VOLUME_SEGMENTERS[config["architecture"]](len(SEQUENCES), len(REGIONS), config["width"])
