"""Trained networks as one run.

Classifiers that answer with their mean (``networks.side_by_side``), and a segmenter that asks another one where much
is shown (``networks.second_reader``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from core.contracts.manifest import ClassificationPreprocessing, Manifest, SegmentationPreprocessing
from training.bundle.bundle import ARCHITECTURES
from training.config import ClassifierConfig, SegmenterConfig
from training.loop.checkpoints import MAKERS, labels_of, load_trained
from training.loop.trainer import CHECKPOINT
from training.networks.restore import restore
from training.networks.second_reader import SecondReader
from training.networks.side_by_side import SideBySide
from training.records import REFERENCE_FILE, Kind

_FEWEST: Final = 2
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
    where there are fewer than two members, one is no classifier, their labels differ, or their sizes do and none is
    given.
    """
    found = [load_member(member) for member in members]
    if len(found) < _FEWEST:
        raise ValueError("one network alone has nothing to stand beside")
    _all_are("classifier", found)
    sizes = {item.size for item in found} if size is None else {size}
    if len({item.labels for item in found}) > 1 or len(sizes) > 1:
        told = "; ".join(f"{item.size} pixels, {', '.join(item.labels)}" for item in found)
        raise ValueError(f"the members differ in what they take or answer: {told}")
    network = SideBySide([item.model for item in found], shares)
    _write(run, _config(found, sizes.pop()), network.state_dict(), members, found)


def second_reader(first: Path, second: Path, run: Path) -> None:
    """Write the checkpoint of the segmenter ``first`` that asks ``second`` where every sequence of TCGA-LGG is shown.

    Both are shown what ``first`` was trained at. Raises ValueError where one is no segmenter of slices.
    """
    found = [load_member(member) for member in (first, second)]
    _all_are("segmenter", found)
    one, other = found
    config = {
        "architecture": _joined(found),
        "preset": "falx",
        "first": dict(one.config),
        "second": dict(other.config),
        **_trained_at(one.size),
    }
    _write(run, config, SecondReader(one.model, other.model).state_dict(), (first, second), found)


def _all_are(kind: Kind, members: Sequence[Member]) -> None:
    if any(member.kind != kind for member in members):
        raise ValueError(f"wanted is the kind {kind}, given are {', '.join(member.kind for member in members)}")


def _write(
    run: Path, config: Mapping[str, Any], weights: Mapping[str, Any], paths: Sequence[Path], members: Sequence[Member]
) -> None:
    about = {"kind": members[0].kind, "config": dict(config), "members": [str(path) for path in paths]}
    seen = sum(item.images_seen for item in members)
    state = {"step": 0, "images_seen": seen, "elapsed_s": 0.0, "history": []}
    run.mkdir(parents=True, exist_ok=True)
    torch.save({"about": about, "model": weights, "average": weights, "state": state}, run / CHECKPOINT)


def load_member(path: Path) -> Member:
    """A network of slices out of a run, or out of a bundle of one network or of classifiers side by side."""
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
    """What made the network of a bundle.

    Raises TypeError where that reads no slices, ValueError for other labels or slices prepared in another way.
    """
    spec = manifest.preprocessing
    if isinstance(spec, SegmentationPreprocessing):
        # Of the classic U-Net, manifests name the channels as well.
        own = {} if manifest.architecture == ARCHITECTURES["segmenter"] else {"architecture": manifest.architecture}
        return "segmenter", asdict(SegmenterConfig()) | own | _trained_at(spec.size)
    if not isinstance(spec, ClassificationPreprocessing):
        raise TypeError(f"{path} reads no slices")
    if spec != ClassificationPreprocessing(size=spec.size):
        raise ValueError(f"{path} was trained on slices that were cut or stretched in another way than they are now")
    labels = ClassifierConfig().labels
    if tuple(labels[index] for index in manifest.logit_indices) != manifest.labels:
        raise ValueError(f"{path} answers with {', '.join(manifest.labels)}, in another order than {', '.join(labels)}")
    one, *others = [
        asdict(ClassifierConfig()) | {"architecture": name} | _trained_at(spec.size)
        for name in str(manifest.architecture).split("+")
    ]
    if not others:
        return "classifier", one
    return "classifier", one | {"architecture": manifest.architecture, "members": [one, *others]}


def _trained_at(size: int) -> dict[str, Any]:
    return {"schedule": {"phases": [{"size": size}]}}


def _joined(members: Sequence[Member]) -> str:
    return "+".join(member.config["architecture"] for member in members)


def _config(members: Sequence[Member], size: int) -> dict[str, Any]:
    # How much each counts is in the layer that reads them all.
    return {
        "architecture": _joined(members),
        "preset": "falx",
        "labels": members[0].labels,
        "members": [dict(part) for member in members for part in member.config.get("members", [member.config])],
        **_trained_at(size),
    }
