"""The classifier's task: slices balanced over labels and sources, with the tumour mask as a second target."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from core.contracts.manifest import ClassificationPreprocessing
from training.config import ClassifierConfig, Phase
from training.data.archives import Float64Array, FloatArray, IntArray, UInt8Array
from training.data.labelled import Slices, check_labels, load_slices, slice_rows
from training.evaluation.masks import volumetric_dice
from training.evaluation.rates import accuracy, balanced_accuracy
from training.loop.augment import augment, mix
from training.loop.losses import distillation_loss, evidence_loss, feature_loss, mask_loss
from training.networks.classifiers import MASK_STRIDE, ClassifierOutput
from training.networks.registry import make_classifier
from training.networks.together import shrunk

Strata = Sequence[Sequence[npt.NDArray[np.intp]]]


def strata(slices: Slices) -> Strata:
    """Row numbers by label and, within it, by source."""
    sources = slices.sources
    by_label = (slices.labels == label for label in np.unique(slices.labels))
    return [[np.flatnonzero(rows & (sources == s)) for s in np.unique(sources[rows])] for rows in by_label]


def label_shares(counts: IntArray, *, balanced: bool) -> Float64Array:
    """How often each label (K,) is drawn, given how often it occurs."""
    weights = np.sqrt(counts) if balanced else counts.astype(np.float64)
    return np.asarray(weights / weights.sum(), np.float64)


def class_weights(counts: IntArray, *, balanced: bool) -> FloatArray:
    """Weights (K,) that make every label count alike in the loss, 1 on average over what is drawn; 0 if it is not."""
    shares = label_shares(counts, balanced=balanced)
    known = shares > 0
    return np.where(known, 1 / (known.sum() * np.where(known, shares, 1)), 0).astype(np.float32)


def draw_balanced(groups: Strata, count: int) -> npt.NDArray[np.intp]:
    """Random rows: labels by the root of their counts, so that rare ones are seen often but not learnt by heart; within
    a label its sources evenly, so that a source tells less of the label."""
    counts = np.array([sum(map(len, sources)) for sources in groups])
    rows = np.empty(count, np.intp)
    shares = label_shares(counts, balanced=True)
    for index, label in enumerate(np.random.choice(len(groups), count, p=shares)):  # noqa: NPY002
        sources = groups[label]
        rows[index] = np.random.choice(sources[np.random.randint(len(sources))])  # noqa: NPY002
    return rows


class ClassifierTask:
    """Cross-entropy with label smoothing, an auxiliary coarse mask and, with a ``teacher``, its answers as targets."""

    def __init__(self, config: ClassifierConfig, data: Path, device: str, teacher: nn.Module | None = None) -> None:
        check_labels(data, config.labels)
        self.config = config
        self.data = data
        self.device = torch.device(device)
        torch.manual_seed(config.schedule.seed)
        self.model = make_classifier(asdict(config))
        self.teacher = None if teacher is None else teacher.to(self.device).to(memory_format=torch.channels_last)
        self._train: dict[int, Slices] = {}

    def slices(self, size: int) -> Slices:
        """The training split at one size."""
        if size not in self._train:
            spec = ClassificationPreprocessing(size=size)
            self._train = {size: load_slices(self.data, "train", spec, self.config.labels)}
        return self._train[size]

    def draw(self, slices: Slices, count: int) -> npt.NDArray[np.intp]:
        """Random rows, balanced or as they come."""
        if self.config.balanced:
            return draw_balanced(strata(slices), count)
        return np.random.randint(len(slices.labels), size=count).astype(np.intp)  # noqa: NPY002

    @cached_property
    def class_weights(self) -> Tensor | None:
        """Weights of the labels (K,) in the loss, where it has any."""
        if not self.config.class_weights:
            return None
        labels = self.config.labels
        names = [row.label for row in slice_rows(self.data, "train", labels)]
        counts = np.array([names.count(label) for label in labels])
        return torch.from_numpy(class_weights(counts, balanced=self.config.balanced)).to(self.device)

    def batch(self, phase: Phase) -> tuple[Tensor, ...]:
        """Images (N, 1, S, S), and what ``loss`` needs of them.

        Label shares (N, K), masks (N, 1, S/16, S/16), with two tasks (N, 1, S, S), whether each has a mask (N,), the
        teacher's logits (N, K), its features (N, F, s, s).
        """
        slices = self.slices(self.drawn_size(phase))
        rows = self.draw(slices, phase.batch)
        images = torch.from_numpy(slices.images[rows]).to(self.device).float()[:, None] / 255
        masks = torch.from_numpy(slices.masks[rows]).to(self.device).float()[:, None] / 255
        images, masks = augment(images, masks, self.config.augmentation)
        masks = functional.adaptive_avg_pool2d(
            masks, phase.size if self.config.multitask else phase.size // MASK_STRIDE
        )
        labels = functional.one_hot(torch.from_numpy(slices.labels[rows]), len(self.config.labels)).to(self.device)
        has_mask = torch.from_numpy(slices.has_mask[rows]).to(self.device)
        images, *targets = self.mixed(images, labels.float(), masks, has_mask)
        return shrunk(images, phase.size), *targets, *self.taught(images)

    def drawn_size(self, phase: Phase) -> int:
        """Side of the slices that a batch is made of."""
        return max(phase.size, self.config.taught_size or 0) if self.teacher is not None else phase.size

    def mixed(self, images: Tensor, labels: Tensor, masks: Tensor, has_mask: Tensor) -> tuple[Tensor, ...]:
        """MixUp within the batch; a blend has a mask where both of its slices have one."""
        if self.config.mix == 0:
            return images, labels, masks, has_mask
        count = len(images)
        order = torch.randperm(count, device=images.device)
        share = torch.from_numpy(np.random.beta(self.config.mix, self.config.mix, count)).to(images)  # noqa: NPY002
        blended = (mix(values, order, share) for values in (images, labels, masks))
        return *blended, has_mask & has_mask[order]

    @torch.no_grad()
    def taught(self, images: Tensor) -> tuple[Tensor, ...]:
        """The teacher's logits (N, K) for a batch and, where they teach, its features; nothing without a teacher."""
        if self.teacher is None:
            return ()
        output: ClassifierOutput = self.teacher(images.contiguous(memory_format=torch.channels_last))
        return (output.logits, output.features) if self.config.feature_weight > 0 else (output.logits,)

    def loss(self, output: ClassifierOutput, targets: tuple[Tensor, ...]) -> Tensor:
        """Class loss, shared with the teacher's where there is one, + weighted mask loss where a mask is known."""
        labels, masks, has_mask, *taught = targets
        return self._class_loss(output, labels, taught) + self._outline_loss(output, labels, masks, has_mask)

    def _class_loss(self, output: ClassifierOutput, labels: Tensor, taught: Sequence[Tensor]) -> Tensor:
        logits = output.logits.float()
        smoothing = self.config.label_smoothing
        loss = functional.cross_entropy(logits, labels, self.class_weights, label_smoothing=smoothing)
        if not taught:
            return loss
        answers, *features = taught
        share = self.config.distillation
        loss = (1 - share) * loss + share * distillation_loss(logits, answers, self.config.distillation_temperature)
        for wanted in features:
            loss = loss + self.config.feature_weight * feature_loss(output.features, wanted)
        return loss

    def _outline_loss(self, output: ClassifierOutput, labels: Tensor, masks: Tensor, has_mask: Tensor) -> Tensor:
        """Weighted losses of the mask and of where the evidence lies, where a mask is known."""
        loss = masks.new_zeros(())
        if not bool(has_mask.any()):
            return loss
        if self.config.mask_weight > 0 and output.mask_logits is not None:
            loss = loss + self.config.mask_weight * mask_loss(output.mask_logits[has_mask], masks[has_mask])
        if self.config.evidence_weight > 0 and output.maps is not None:
            inside = evidence_loss(output.maps[has_mask], labels[has_mask], masks[has_mask])
            loss = loss + self.config.evidence_weight * inside
        return loss

    def validate(self, model: nn.Module, size: int) -> dict[str, float]:
        """Accuracy overall, balanced, and on the Figshare part; with two tasks, volumetric Dice per patient as well."""
        slices = load_slices(self.data, "val", ClassificationPreprocessing(size=size), self.config.labels)
        outputs = outputs_of(model, slices.images, self.device)
        predicted = np.concatenate([output.logits.cpu().numpy() for output in outputs]).argmax(axis=1)
        figshare = slices.sources == "figshare"
        figures = {
            "accuracy": accuracy(predicted, slices.labels),
            "balanced": balanced_accuracy(predicted, slices.labels),
        }
        if figshare.any():
            figures["figshare"] = accuracy(predicted[figshare], slices.labels[figshare])
        return figures | (self._outline_figures(model, slices) if self.config.multitask else {})

    def _outline_figures(self, model: nn.Module, slices: Slices) -> dict[str, float]:
        rows = [index for index, row in enumerate(slices.rows) if row.mask]
        if not rows:
            return {}
        outputs = outputs_of(model, slices.images[rows], self.device)
        predicted = np.concatenate([torch.sigmoid(output.mask_logits)[:, 0].cpu().numpy() for output in outputs]) > 0.5
        scores = volumetric_dice(predicted, slices.masks[rows] > 127, [slices.rows[index].group for index in rows])
        return {"dice": float(np.mean(list(scores.values())))}


@torch.no_grad()
def outputs_of(model: nn.Module, images: UInt8Array, device: torch.device) -> Iterator[ClassifierOutput]:
    """What the network answers to uint8 inputs (n, S, S), in batches."""
    for start in range(0, len(images), 64):
        chunk = torch.from_numpy(np.array(images[start : start + 64])).to(device).float()[:, None] / 255
        yield model(chunk.contiguous(memory_format=torch.channels_last))
