"""The kinds of model that are trained, behind one protocol: what every step asks of a kind.

A kind is written down in its own room (``classification``, ``segmentation``, ``volumes``) and in no other place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

from torch import nn

from core.contracts.manifest import Preprocessing
from core.contracts.tensors import Task
from training.networks.registry import title
from training.records import Evaluate, Export, KindName

if TYPE_CHECKING:
    from training.bundle.quantize import Comparison
    from training.data.archives import FloatArray
    from training.data.cases import Volume
    from training.evaluation.answers import Answers
    from training.evaluation.evaluate import Subject
    from training.loop.checkpoints import Trained
    from training.loop.running import Origins
    from training.loop.trainer import Task as LoopTask
    from training.report.page import Section
    from training.report.scored import Scored

# A configuration's dataclass as a dictionary, as checkpoints hold it.
Described = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of model, from its configuration to its pages in the report: words, and a function for each step."""

    name: KindName
    task: Task
    # Of a bundle without a recipe, and what it is called, around the name of its network.
    bundle_name: str
    titled: str
    # Which answers are shown as failures.
    worst: str
    # Class names in the order of the logits, or regions.
    labels: Callable[[Described], tuple[str, ...]]
    # An untrained network, and what the loop trains of (configuration, data, device, earlier runs).
    network: Callable[[Described], nn.Module]
    training: Callable[[Any, Path, str, Origins], LoopTask]
    # What an exported graph's input is made by.
    preprocessing: Callable[[Export], Preprocessing]
    # Writes ``model.onnx`` of (network, run, data, input sizes to choose from), everything chosen on validation.
    export: Callable[[Trained, Path, Path, Sequence[int] | None], Export]
    # Of (data, export): what activations are measured on to quantise them.
    calibration: Callable[[Path, Export], FloatArray]
    # Of (run, data, export): how the int8 graph that lies in the run when it is called compares with the reference.
    comparison: Callable[[Path, Path, Export], Comparison]
    # What a trained network itself answers to (data, split) at the size that it knows, nothing chosen yet; None where
    # nothing is made of such answers.
    answers: Callable[[Trained, Path, str], Answers] | None = None
    # Scores every file of (subject, data, split); writes answers and figures.
    evaluate: Callable[[Subject, Path, str], Evaluate]
    # Figures of a bundle, drawn into a folder, with what is said of them; the volume is what pictures may show.
    sections: Callable[[Scored, Path, Volume], list[Section]]
    # The same pictures of patients of (bundle, folder, data, split).
    draw_patients: Callable[[Scored, Path, Path, str], None] | None = None
    # Whether the report scores its bundles anew, or takes the figures that their manifests state.
    scored_by_report: bool = True
    # A trained network as others learn from it.
    as_teacher: Callable[[Trained], nn.Module] = lambda trained: trained.model
    # What an exported graph needs besides, once its parity is known: of (export, run, data).
    finish: Callable[[Export, Path, Path], None] = lambda _export, _run, _data: None
    # Names of networks that manifests write otherwise.
    manifest_names: Mapping[str, str] = field(default_factory=dict)

    def title(self, config: Described) -> str:
        """What a bundle is called; ``config`` names its ``architecture``."""
        return self.titled.format(title(config["architecture"]))

    def manifest_architecture(self, architecture: str) -> str:
        """The network's name in manifests."""
        return self.manifest_names.get(architecture, architecture)


_ROOMS: Final[Mapping[KindName, str]] = {
    "classifier": "training.classification.kind",
    "segmenter": "training.segmentation.kind",
    "volume-segmenter": "training.volumes.kind",
}


@cache
def kind_named(name: KindName) -> Kind:
    """The kind of that name; its room is read when it is asked for."""
    kind: Kind = import_module(_ROOMS[name]).KIND
    return kind


def kind_of(task: Task) -> Kind:
    """The kind whose bundles do a task."""
    return next(kind for kind in map(kind_named, get_args(KindName)) if kind.task == task)
