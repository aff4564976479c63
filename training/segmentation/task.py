"""The segmenter's task: mixed batches of three data sets with sequence dropout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from core.contracts.manifest import SegmentationPreprocessing
from training.config import Phase, SegmenterConfig, SequenceDropout
from training.data.archives import BoolArray, Float64Array, FloatArray, UInt8Array
from training.data.multisequence import SequenceSlices
from training.data.outlined import lgg_rows, load_brats, load_healthy, load_lgg, load_outlined
from training.evaluation.masks import volumetric_dice
from training.loop.augment import augment
from training.loop.checkpoints import load_trained
from training.loop.losses import mask_loss, soft_dice_loss
from training.loop.running import Origins
from training.networks.registry import make_segmenter


def drop_sequences(present: BoolArray, settings: SequenceDropout) -> tuple[BoolArray, int | None]:
    """Which of the present sequences (4,) are shown, and which one fills all channels (None: none does)."""
    there = np.flatnonzero(present)
    if not len(there):
        return present, None
    draw = np.random.random()  # noqa: NPY002  (the checkpoint holds the global state)
    if draw < settings.single:
        return present, int(np.random.choice(there))  # noqa: NPY002
    shown = present.copy()
    if draw < settings.single + settings.subset and len(there) > 1:
        count = np.random.randint(1, len(there))  # noqa: NPY002
        shown[:] = False
        shown[np.random.choice(there, count, replace=False)] = True  # noqa: NPY002
    return shown, None


def show(images: Tensor, shown: list[BoolArray], singles: list[int | None]) -> Tensor:
    """Zero what is not shown and repeat what stands alone: (N, 4, S, S) -> (N, 4, S, S)."""
    keep = torch.from_numpy(np.stack(shown)).to(images.device)
    images = images * keep[:, :, None, None]
    for index, channel in enumerate(singles):
        if channel is not None:
            images[index] = images[index, channel].clone()
    return images


@dataclass(frozen=True)
class Pool:
    """One data set to draw from: row numbers with and without tumour, and how likely each with tumour is drawn."""

    slices: SequenceSlices
    tumour: npt.NDArray[np.intp]
    healthy: npt.NDArray[np.intp]
    chances: Float64Array

    @classmethod
    def of(cls, slices: SequenceSlices) -> Pool:
        """Split the rows by tumour; each kind of tumour is as likely as another."""
        tumour = np.flatnonzero(slices.has_tumour)
        kinds = np.zeros(len(tumour)) if slices.kinds is None else slices.kinds[tumour]
        _, kind, counts = np.unique(kinds, return_inverse=True, return_counts=True)
        return cls(slices, tumour, np.flatnonzero(~slices.has_tumour), 1 / (len(counts) * counts[kind]))

    def draw(self, count: int, tumour_share: float) -> npt.NDArray[np.intp]:
        """Random rows, ``tumour_share`` of them with tumour where both kinds exist."""
        with_tumour = count if not len(self.healthy) else round(count * tumour_share * bool(len(self.tumour)))
        parts = []
        if with_tumour:
            parts.append(np.random.choice(self.tumour, with_tumour, p=self.chances))  # noqa: NPY002
        if count > with_tumour:
            parts.append(np.random.choice(self.healthy, count - with_tumour))  # noqa: NPY002
        return np.concatenate(parts)


def dice_alone(logits: Tensor, target: Tensor) -> Tensor:
    """The paper's loss; ``target`` in [0, 1], both (N, 1, h, w)."""
    return soft_dice_loss(torch.sigmoid(logits.float()), target)


class SegmenterTask:
    """Dice, with or without cross-entropy; targets are the outline and, with a ``teacher``, its probabilities."""

    def __init__(self, config: SegmenterConfig, data: Path, device: str, teacher: nn.Module | None = None) -> None:
        self.config = config
        self.data = data
        self.device = torch.device(device)
        torch.manual_seed(config.schedule.seed)
        self.model = make_segmenter(asdict(config))
        self.teacher = None if teacher is None else teacher.to(self.device).to(memory_format=torch.channels_last)
        self._pools: dict[int, Mapping[str, Pool]] = {}

    def pools(self, size: int) -> Mapping[str, Pool]:
        """The training data at one size, held in memory from its first use on."""
        if size not in self._pools:
            spec = SegmentationPreprocessing(size=size)
            sets = {
                "lgg": load_lgg(self.data, "train", spec),
                "outlined": load_outlined(self.data, "train", spec),
                "brats": load_brats(self.data, spec),
                "healthy": load_healthy(self.data, "train", spec),
            }
            self._pools = {size: {name: Pool.of(slices) for name, slices in sets.items() if len(slices.images)}}
        return self._pools[size]

    def batch(self, phase: Phase) -> tuple[Tensor, ...]:
        """Images (N, 4, S, S), masks (N, 1, S, S) and, with a teacher, its probabilities (N, 1, S, S)."""
        pools = self.pools(phase.size)
        shares = np.array([getattr(self.config.mixture, name) for name in pools])
        counts = np.random.multinomial(phase.batch, shares / shares.sum())  # noqa: NPY002
        images, masks, shown, singles = [], [], [], []
        sure = np.repeat([name == "healthy" for name in pools], counts)
        for pool, count in zip(pools.values(), counts, strict=True):
            rows = np.sort(pool.draw(count, self.config.tumour_share)) if count else np.zeros(0, np.intp)
            present = np.asarray(pool.slices.images[rows].any(axis=(2, 3)))
            images.append(pool.slices.images[rows])
            masks.append(pool.slices.masks[rows])
            for there in present:
                keep, single = drop_sequences(there, self.config.dropout)
                shown.append(keep)
                singles.append(single)
        stack = torch.from_numpy(np.concatenate(images)).to(self.device).float() / 255
        target = torch.from_numpy(np.concatenate(masks)).to(self.device).float()[:, None] / 255
        stack, target = augment(stack, target, self.config.augmentation)
        images_shown = show(stack, shown, singles)
        return images_shown, target, *self.taught(images_shown, torch.from_numpy(sure))

    @torch.no_grad()
    def taught(self, images: Tensor, healthy: Tensor) -> tuple[Tensor, ...]:
        """The teacher's probabilities (N, 1, S, S) for a batch, or nothing without a teacher.

        Where the head is ``healthy`` (N,) they are 0: any that it gives are its mistakes.
        """
        if self.teacher is None:
            return ()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.schedule.bfloat16):
            logits = self.teacher(images.contiguous(memory_format=torch.channels_last))
        known = (~healthy).float().to(self.device)
        return (torch.sigmoid(logits.float()) * known[:, None, None, None],)

    def loss(self, output: Tensor, targets: tuple[Tensor, ...]) -> Tensor:
        """The configured loss, shared between the outline and the teacher where there is one."""
        mask, *taught = targets
        measure = dice_alone if self.config.loss == "dice" else mask_loss
        loss = measure(output, mask)
        for probability in taught:
            share = self.config.distillation
            loss = (1 - share) * loss + share * measure(output, probability)
        return loss

    def validate(self, model: nn.Module, size: int) -> dict[str, float]:
        """Mean volumetric Dice per LGG patient, and mean Dice of outlined slices, on the model's own grid.

        Quick: ``evaluate`` scores original pixels.
        """
        spec = SegmentationPreprocessing(size=size)
        slices = load_lgg(self.data, "val", spec)
        patients = [row.unit for row in lgg_rows(self.data, "val")]

        def mean_dice(images: UInt8Array, masks: UInt8Array, units: Sequence[str]) -> float:
            scores = volumetric_dice(predict_masks(model, images, self.device) > 0.5, masks > 127, units)
            return float(np.mean(list(scores.values())))

        figures = {"dice": mean_dice(slices.images, slices.masks, patients)}
        if slices.present[3]:
            single = np.repeat(slices.images[:, 3:], slices.images.shape[1], axis=1)
            figures["dice_single_flair"] = mean_dice(single, slices.masks, patients)
        outlined = load_outlined(self.data, "val", spec)
        if len(outlined.images):
            each = [str(row) for row in range(len(outlined.images))]
            figures["dice_outlined"] = mean_dice(outlined.images, outlined.masks, each)
        return figures


@torch.no_grad()
def predict_masks(model: nn.Module, images: UInt8Array, device: torch.device) -> FloatArray:
    """Probabilities (n, S, S) for uint8 inputs (n, 4, S, S)."""
    parts = []
    for start in range(0, len(images), 32):
        chunk = torch.from_numpy(np.array(images[start : start + 32])).to(device).float() / 255
        logits = model(chunk.contiguous(memory_format=torch.channels_last))
        parts.append(torch.sigmoid(logits.float())[:, 0].cpu().numpy())
    return np.concatenate(parts)


def segmenter_training(config: SegmenterConfig, data: Path, device: str, origins: Origins) -> SegmenterTask:
    """The task, its encoder begun as a classifier's where one is given."""
    task = SegmenterTask(config, data, device, origins.taught())
    if origins.encoder:
        if not hasattr(task.model, "take_encoder"):
            raise ValueError(f"{config.architecture}: only a U-Net on an EfficientNet-Lite takes an encoder")
        task.model.take_encoder(load_trained(origins.encoder).model.state_dict())
    return task
