"""Trained classifiers as one run whose network answers with the mean of theirs (``training.models.side_by_side``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from core.contracts.manifest import ClassificationPreprocessing, Manifest
from training.checkpoints import load_trained, make_classifier
from training.config import ClassifierConfig
from training.models.restore import restore
from training.models.side_by_side import SideBySide
from training.records import REFERENCE_FILE
from training.trainer import CHECKPOINT

_FEWEST: Final = 2
_MANIFEST: Final = "manifest.json"


@dataclass(frozen=True, eq=False)
class Member:
    """A trained classifier and the configuration that makes its like; of bundles, ``images_seen`` is not known."""

    model: nn.Module
    config: Mapping[str, Any]
    images_seen: int = 0

    @property
    def labels(self) -> tuple[str, ...]:
        """In the order of the logits."""
        return tuple(self.config["labels"])

    @property
    def size(self) -> int:
        """Side of the input that it was trained on last."""
        return int(self.config["schedule"]["phases"][-1]["size"])


def combine(members: Sequence[Path], run: Path, shares: Sequence[float] | None = None, size: int | None = None) -> None:
    """Write the checkpoint of a run that ``export`` and what follows it take like any other.

    ``size`` is the side of the input that all are shown; None: the one that they were trained at. Raises ValueError
    where there are fewer than two members, their labels differ, or their sizes do and none is given.
    """
    found = [load_member(member) for member in members]
    if len(found) < _FEWEST:
        raise ValueError("one network alone has nothing to stand beside")
    sizes = {item.size for item in found} if size is None else {size}
    if len({item.labels for item in found}) > 1 or len(sizes) > 1:
        told = "; ".join(f"{item.size} pixels, {', '.join(item.labels)}" for item in found)
        raise ValueError(f"the members differ in what they take or answer: {told}")
    config = _config(found, shares or [1.0] * len(found), sizes.pop())
    weights = SideBySide([item.model for item in found], config["shares"]).state_dict()
    about = {"kind": "classifier", "config": config, "members": [str(member) for member in members]}
    seen = sum(item.images_seen for item in found)
    state = {"step": 0, "images_seen": seen, "elapsed_s": 0.0, "history": []}
    run.mkdir(parents=True, exist_ok=True)
    torch.save({"about": about, "model": weights, "average": weights, "state": state}, run / CHECKPOINT)


def load_member(path: Path) -> Member:
    """A classifier out of a run, or of a bundle whose graph is that of one network."""
    if not (path / _MANIFEST).exists():
        trained = load_trained(path)
        return Member(trained.model, trained.config, trained.images_seen)
    manifest = Manifest.model_validate_json((path / _MANIFEST).read_text())
    config = _config_of(manifest, path)
    model = make_classifier(config)
    # Without batches the normalisation that the graph has folded stays folded, and the network is the graph's exactly.
    restore(model, path / REFERENCE_FILE, ())
    return Member(model.eval(), config)


def _config_of(manifest: Manifest, path: Path) -> dict[str, Any]:
    """What made the network of a bundle. Raises TypeError where it is no classifier, ValueError for other labels."""
    spec = manifest.preprocessing
    if not isinstance(spec, ClassificationPreprocessing):
        raise TypeError(f"{path} is no classifier")
    labels = ClassifierConfig().labels
    if tuple(labels[index] for index in manifest.logit_indices) != manifest.labels:
        raise ValueError(f"{path} answers with {', '.join(manifest.labels)}, in another order than {', '.join(labels)}")
    config = asdict(ClassifierConfig()) | {"architecture": manifest.architecture}
    return config | {"schedule": {"phases": [{"size": spec.size}]}}


def _config(members: Sequence[Member], shares: Sequence[float], size: int) -> dict[str, Any]:
    return {
        "architecture": "+".join(member.config["architecture"] for member in members),
        "preset": "falx",
        "labels": members[0].labels,
        "members": [dict(member.config) for member in members],
        "shares": list(shares),
        "schedule": {"phases": [{"size": size}]},
    }
