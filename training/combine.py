"""Trained networks as one run whose network answers with the mean of theirs (``training.models.side_by_side``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from core.contracts.manifest import ClassificationPreprocessing, Manifest, SegmentationPreprocessing
from training.bundle import ARCHITECTURES
from training.checkpoints import MAKERS, labels_of, load_trained
from training.config import ClassifierConfig, SegmenterConfig
from training.models.restore import restore
from training.models.side_by_side import SegmentersSideBySide, SideBySide
from training.records import REFERENCE_FILE, Kind
from training.trainer import CHECKPOINT

_FEWEST: Final = 2
_SIDE_BY_SIDE: Final[Mapping[Kind, Callable[[Sequence[nn.Module], Sequence[float]], nn.Module]]] = {
    "classifier": SideBySide,
    "segmenter": SegmentersSideBySide,
}
_MANIFEST: Final = "manifest.json"


@dataclass(frozen=True, eq=False)
class Member:
    """A trained network and the configuration that makes its like; of bundles, ``images_seen`` is not known."""

    kind: Kind
    model: nn.Module
    config: Mapping[str, Any]
    images_seen: int = 0

    @property
    def labels(self) -> tuple[str, ...]:
        """In the order of the logits."""
        return labels_of(self.kind, self.config)

    @property
    def size(self) -> int:
        """Side of the input that it was trained on last."""
        return int(self.config["schedule"]["phases"][-1]["size"])


def combine(members: Sequence[Path], run: Path, shares: Sequence[float] | None = None, size: int | None = None) -> None:
    """Write the checkpoint of a run that ``export`` and what follows it take like any other.

    ``size`` is the side of the input that all are shown; None: the one that they were trained at. Raises ValueError
    where there are fewer than two members, they are no slice networks of one kind, their labels differ, or their sizes
    do and none is given.
    """
    found = [load_member(member) for member in members]
    if len(found) < _FEWEST:
        raise ValueError("one network alone has nothing to stand beside")
    kind = found[0].kind
    if kind not in _SIDE_BY_SIDE or any(item.kind != kind for item in found):
        raise ValueError(f"no network is made of these side by side: {', '.join(item.kind for item in found)}")
    sizes = {item.size for item in found} if size is None else {size}
    if len({item.labels for item in found}) > 1 or len(sizes) > 1:
        told = "; ".join(f"{item.size} pixels, {', '.join(item.labels)}" for item in found)
        raise ValueError(f"the members differ in what they take or answer: {told}")
    config = _config(found, shares or [1.0] * len(found), sizes.pop())
    weights = _SIDE_BY_SIDE[kind]([item.model for item in found], config["shares"]).state_dict()
    about = {"kind": kind, "config": config, "members": [str(member) for member in members]}
    seen = sum(item.images_seen for item in found)
    state = {"step": 0, "images_seen": seen, "elapsed_s": 0.0, "history": []}
    run.mkdir(parents=True, exist_ok=True)
    torch.save({"about": about, "model": weights, "average": weights, "state": state}, run / CHECKPOINT)


def load_member(path: Path) -> Member:
    """A network out of a run, or of a bundle whose graph is that of one network."""
    if not (path / _MANIFEST).exists():
        trained = load_trained(path)
        return Member(trained.kind, trained.model, trained.config, trained.images_seen)
    manifest = Manifest.model_validate_json((path / _MANIFEST).read_text())
    kind, config = _described(manifest, path)
    model = MAKERS[kind](config)
    # Without batches the normalisation that the graph has folded stays folded, and the network is the graph's exactly.
    restore(model, path / REFERENCE_FILE, ())
    return Member(kind, model.eval(), config)


def _described(manifest: Manifest, path: Path) -> tuple[Kind, dict[str, Any]]:
    """What made the network of a bundle. Raises TypeError where that reads no slices, ValueError for other labels."""
    spec = manifest.preprocessing
    if isinstance(spec, SegmentationPreprocessing):
        # Of a U-Net, manifests name the channels as well.
        known = {} if manifest.architecture == ARCHITECTURES["segmenter"] else {"architecture": manifest.architecture}
        return "segmenter", asdict(SegmenterConfig()) | known | _trained_at(spec.size)
    if not isinstance(spec, ClassificationPreprocessing):
        raise TypeError(f"{path} reads no slices")
    labels = ClassifierConfig().labels
    if tuple(labels[index] for index in manifest.logit_indices) != manifest.labels:
        raise ValueError(f"{path} answers with {', '.join(manifest.labels)}, in another order than {', '.join(labels)}")
    config = asdict(ClassifierConfig()) | {"architecture": manifest.architecture}
    return "classifier", config | _trained_at(spec.size)


def _trained_at(size: int) -> dict[str, Any]:
    return {"schedule": {"phases": [{"size": size}]}}


def _config(members: Sequence[Member], shares: Sequence[float], size: int) -> dict[str, Any]:
    return {
        "architecture": "+".join(member.config["architecture"] for member in members),
        "preset": "falx",
        "labels": members[0].labels,
        "members": [dict(member.config) for member in members],
        "shares": list(shares),
        **_trained_at(size),
    }
