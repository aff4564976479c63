"""Trained networks as one run.

Classifiers that answer with their mean (``networks.together``), and a segmenter that asks another one where much
is shown (likewise there).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from core.contracts.manifest import ClassificationPreprocessing, Manifest, SegmentationPreprocessing
from core.runtime.bundle import MANIFEST_NAME
from training.config import ClassifierConfig, SegmenterConfig
from training.kinds import kind_of
from training.loop.checkpoints import Trained, load_trained
from training.loop.trainer import CHECKPOINT
from training.networks.starts import restore
from training.networks.together import SecondReader, SideBySide
from training.records import REFERENCE_FILE, KindName
from training.segmentation.kind import CLASSIC_NAME


def combine(members: Sequence[Path], run: Path, shares: Sequence[float] | None = None, size: int | None = None) -> None:
    """Write the checkpoint of a run that ``export`` and what follows it take like any other.

    ``size`` is the side of the input that all are shown; None: the one that they were trained at. Raises ValueError
    where there are fewer than two members, one is no classifier, their labels differ, or their sizes do and none is
    given.
    """
    found = [load_member(member) for member in members]
    if len(found) < 2:
        raise ValueError("one network alone has nothing to stand beside")
    _all_are("classifier", found)
    sizes = {item.size for item in found} if size is None else {size}
    if len({item.labels for item in found}) > 1 or len(sizes) > 1:
        told = "; ".join(f"{item.size} pixels, {', '.join(item.labels)}" for item in found)
        raise ValueError(f"the members differ in what they take or answer: {told}")
    # How much each counts is in the layer that reads them all.
    parts = [dict(part) for item in found for part in item.config.get("members", [item.config])]
    config = {"labels": found[0].labels, "members": parts, **_trained_at(sizes.pop())}
    _write(run, SideBySide([item.model for item in found], shares), config, members, found)


def second_reader(first: Path, second: Path, run: Path) -> None:
    """Write the checkpoint of the segmenter ``first`` that asks ``second`` where every sequence of TCGA-LGG is shown.

    Both are shown what ``first`` was trained at. Raises ValueError where one is no segmenter of slices.
    """
    found = [load_member(member) for member in (first, second)]
    _all_are("segmenter", found)
    one, other = found
    config = {"first": one.config, "second": other.config, **_trained_at(one.size)}
    _write(run, SecondReader(one.model, other.model), config, (first, second), found)


def _all_are(kind: KindName, members: Sequence[Trained]) -> None:
    given = [member.kind.name for member in members]
    if set(given) != {kind}:
        raise ValueError(f"wanted is the kind {kind}, given are {', '.join(given)}")


def _write(
    run: Path, network: nn.Module, config: Mapping[str, Any], paths: Sequence[Path], members: Sequence[Trained]
) -> None:
    whole = {"architecture": "+".join(member.architecture for member in members), "preset": "falx", **config}
    about = {"kind": members[0].kind.name, "config": whole, "members": [str(path) for path in paths]}
    seen = sum(item.images_seen for item in members)
    state = {"step": 0, "images_seen": seen, "elapsed_s": 0.0, "history": []}
    weights = network.state_dict()
    run.mkdir(parents=True, exist_ok=True)
    torch.save({"about": about, "model": weights, "average": weights, "state": state}, run / CHECKPOINT)


def load_member(path: Path) -> Trained:
    """A network of slices out of a run, or out of a bundle of one network or of classifiers side by side."""
    if not (path / MANIFEST_NAME).exists():
        return load_trained(path)
    manifest = Manifest.model_validate_json((path / MANIFEST_NAME).read_text())
    kind, config = kind_of(manifest.task), _described(manifest, path)
    model = kind.network(config)
    # Without batches the normalisation that the graph has folded stays folded, and the network is the graph's exactly.
    restore(model, path / REFERENCE_FILE, ())
    return Trained(kind, model.eval(), config, images_seen=0)


def _described(manifest: Manifest, path: Path) -> dict[str, Any]:
    """What made the network of a bundle.

    Raises TypeError where that reads no slices, ValueError for other labels or slices prepared in another way.
    """
    spec = manifest.preprocessing
    if isinstance(spec, SegmentationPreprocessing):
        # Of the classic U-Net, manifests name the channels as well.
        own = {} if manifest.architecture == CLASSIC_NAME else {"architecture": manifest.architecture}
        return asdict(SegmenterConfig()) | own | _trained_at(spec.size)
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
    return one | {"architecture": manifest.architecture, "members": [one, *others]} if others else one


def _trained_at(size: int) -> dict[str, Any]:
    return {"schedule": {"phases": [{"size": size}]}}
