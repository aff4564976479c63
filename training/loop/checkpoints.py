"""Trained networks out of run folders, and the mean of several of one network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from training.kinds import Kind, kind_named
from training.loop.trainer import CHECKPOINT


@dataclass(frozen=True)
class Trained:
    """A network with its averaged weights in evaluation mode, what it was trained with, and its history."""

    kind: Kind
    model: nn.Module
    config: dict[str, Any]
    images_seen: int
    history: tuple[dict[str, float], ...] = ()

    @property
    def architecture(self) -> str:
        """Name of the network."""
        return str(self.config["architecture"])

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the logits, or regions."""
        return self.kind.labels(self.config)

    @property
    def size(self) -> int:
        """Side of the input that it was trained on last."""
        return int(self.config["schedule"]["phases"][-1]["size"])

    def about(self) -> dict[str, Any]:
        """What an ``Export`` says of the network itself."""
        return {
            "kind": self.kind.name,
            "architecture": self.architecture,
            "preset": self.config["preset"],
            "labels": self.labels,
            "images_seen": self.images_seen,
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
    kind, config = kind_named(about["kind"]), about["config"]
    model = kind.network(config)
    model.load_state_dict(content["average"])
    return Trained(kind, model.eval(), config, _images_seen(content), tuple(content["state"]["history"]))


def average(runs: Sequence[Path], run: Path) -> None:
    """Write the last checkpoint of the last of ``runs`` into ``run``, its averaged weights the mean of all of them.

    Networks from one start lie in one valley, and the middle of it generalises better than its edge (Izmailov 2018,
    "Averaging weights leads to wider optima and better generalization"). Raises ValueError where there are fewer than
    two, or the networks have other weights.
    """
    found = [torch.load(item / CHECKPOINT, map_location="cpu", weights_only=False) for item in runs]
    shapes = [{name: value.shape for name, value in content["average"].items()} for content in found]
    if len(found) < 2 or any(other != shapes[0] for other in shapes):
        raise ValueError("only two or more runs of one network can be averaged")
    last = found[-1]
    for name, value in last["average"].items():
        if value.is_floating_point():
            value.copy_(torch.stack([content["average"][name] for content in found]).mean(dim=0))
    last["about"]["averaged"] = [str(item) for item in runs]
    # What was measured on the way was measured of other weights.
    last["state"]["history"] = []
    run.mkdir(parents=True, exist_ok=True)
    torch.save(last, run / CHECKPOINT)
