"""Trained networks out of run folders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

import torch
from torch import nn

from training.config import PretrainedSegmenterName
from training.data.multisequence import SEQUENCES
from training.data.scans import REGIONS
from training.loop.trainer import CHECKPOINT
from training.networks.registry import SEGMENTERS, VOLUME_SEGMENTERS, build_classifier
from training.networks.second_reader import SecondReader
from training.networks.side_by_side import SideBySide
from training.records import Kind


@dataclass(frozen=True)
class Trained:
    """A network with its averaged weights in evaluation mode, what it was trained with, and its history."""

    kind: Kind
    model: nn.Module
    config: dict[str, Any]
    images_seen: int
    history: tuple[dict[str, float], ...]

    @property
    def architecture(self) -> str:
        """Name of the network; runs from before there was a choice name none."""
        return str(self.config.get("architecture", "unet"))

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names, or regions."""
        return labels_of(self.kind, self.config)


def labels_of(kind: Kind, config: Mapping[str, Any]) -> tuple[str, ...]:
    """What a network of ``config`` tells apart: class names, or regions."""
    if kind == "classifier":
        return tuple(config["labels"])
    return REGIONS if kind == "volume-segmenter" else ("tumor",)


def make_classifier(config: Mapping[str, Any]) -> nn.Module:
    """The classifier that a ``ClassifierConfig``, as a dictionary, describes, or ``combine`` of several."""
    if "members" in config:
        return SideBySide([make_classifier(member) for member in config["members"]])
    if config["architecture"].startswith("efficientnet-lite"):
        # Imported where it is needed: nothing but these need their packages.
        from training.networks.lite import LiteClassifier

        return LiteClassifier(len(config["labels"]), config["architecture"])
    # Runs from before there was a choice name no task.
    multitask = bool(config.get("multitask", False))
    return build_classifier(config["architecture"], len(config["labels"]), config["width"], multitask=multitask)


def make_segmenter(config: Mapping[str, Any]) -> nn.Module:
    """The segmenter that a ``SegmenterConfig``, as a dictionary, describes, or ``training.bundle.combine`` of two."""
    if "second" in config:
        return SecondReader(make_segmenter(config["first"]), make_segmenter(config["second"]))
    # Runs from before there was a choice name no network.
    architecture = config.get("architecture", "unet")
    if architecture in get_args(PretrainedSegmenterName):
        from training.networks.lite_unet import LiteUNet

        return LiteUNet(architecture.removesuffix("-unet"))
    return SEGMENTERS[architecture](len(SEQUENCES), config["width"])


def make_volume_segmenter(config: Mapping[str, Any]) -> nn.Module:
    """The segmenter of volumes that a ``VolumeSegmenterConfig``, as a dictionary, describes."""
    return VOLUME_SEGMENTERS[config["architecture"]](len(SEQUENCES), len(REGIONS), config["width"])


MAKERS: Final[Mapping[Kind, Callable[[Mapping[str, Any]], nn.Module]]] = {
    "classifier": make_classifier,
    "segmenter": make_segmenter,
    "volume-segmenter": make_volume_segmenter,
}


def _images_seen(content: dict[str, Any]) -> int:
    """Inputs shown in a run and, where it began from one of its kind that is still there, in that one too."""
    seen = int(content["state"]["images_seen"])
    start = content["about"].get("start")
    if start is None or not (Path(start) / CHECKPOINT).exists():
        return seen
    earlier = torch.load(Path(start) / CHECKPOINT, map_location="cpu", weights_only=False)
    return seen + (_images_seen(earlier) if earlier["about"]["kind"] == content["about"]["kind"] else 0)


def load_trained(run: Path) -> Trained:
    """The last checkpoint of a run."""
    content = torch.load(run / CHECKPOINT, map_location="cpu", weights_only=False)
    about = content["about"]
    kind, config = about["kind"], about["config"]
    model = MAKERS[kind](config)
    model.load_state_dict(content["average"])
    return Trained(kind, model.eval(), config, _images_seen(content), tuple(content["state"]["history"]))
