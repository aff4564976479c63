"""The volume segmenter's task: patches of scans whose labels are known in part, with sequence dropout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from core.contracts.sequences import SEQUENCES
from core.imaging.preparation.volume_transforms import VolumeSpec
from core.imaging.volume import Shape
from training.config import Phase, VolumeDropout, VolumeSegmenterConfig
from training.data.archives import BoolArray, FloatArray, UInt8Array
from training.data.healthy import without_tumour
from training.data.scans import REGIONS, PreparedScan, prepared, scans
from training.evaluation.masks import dice
from training.loop.augment import apply_curves, change_greys
from training.loop.losses import partial_mask_loss
from training.networks.registry import make_volume_segmenter
from training.volumes.augment import block_shape, resample
from training.volumes.inputs import predict_volume, preprocessing_of
from training.volumes.pipelines import fields_of_view, random_curves, thick_slices

FLAIR = SEQUENCES.index("flair")
# Figures of the regions within the whole tumour.
_INNER = ("dice_core", "dice_enhancing")
# Windows barely overlap, unlike in serving: validation is part of the training's time.
_VALIDATION_OVERLAP = 0.0
# A patch reaches out of the scan by this part of its side at most.
_BEYOND = 16


def shown_sequences(present: BoolArray, settings: VolumeDropout) -> BoolArray:
    """Which of the present sequences (4,) are shown, one at least where there is one."""
    there = np.flatnonzero(present)
    if len(there) < 2:
        return present
    draw = np.random.random()  # noqa: NPY002  (the checkpoint holds the global state)
    if draw < settings.flair and present[FLAIR]:
        chosen = np.array([FLAIR])
    elif draw < settings.flair + settings.single:
        chosen = np.random.choice(there, 1)  # noqa: NPY002
    elif draw < settings.flair + settings.single + settings.subset:
        chosen = np.random.choice(there, np.random.randint(1, len(there)), replace=False)  # noqa: NPY002
    else:
        return present
    shown = np.zeros_like(present)
    shown[chosen] = True
    return shown


def cut_block(volume: npt.NDArray[Any], centre: npt.NDArray[np.intp], shape: Shape) -> npt.NDArray[Any]:
    """(C, *shape) around a voxel of a volume (C, i, j, k); 0 beyond it."""
    block = np.zeros((len(volume), *shape), volume.dtype)
    start = centre - np.floor_divide(shape, 2)
    low, high = np.maximum(start, 0), np.minimum(start + shape, volume.shape[1:])
    high = np.maximum(low, high)
    inside = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    within = tuple(slice(a, b) for a, b in zip(low - start, high - start, strict=True))
    block[(slice(None), *within)] = volume[(slice(None), *inside)]
    return block


@dataclass(frozen=True)
class Scans:
    """Prepared scans to draw patches from: those that know every region, those that know the whole tumour, and heads
    without tumour.
    """

    full: Sequence[PreparedScan]
    partial: Sequence[PreparedScan]
    healthy: Sequence[PreparedScan]

    @classmethod
    def of(cls, found: Sequence[PreparedScan]) -> Scans:
        """Part the scans by what they know."""
        return cls(
            [scan for scan in found if len(scan.regions) == len(REGIONS)],
            [scan for scan in found if len(scan.regions) < len(REGIONS)],
            [healthy for healthy in map(without_tumour, found) if healthy is not None],
        )

    def draw(self, full_share: float, healthy_share: float) -> PreparedScan:
        """A random scan: of the healthy ones in ``healthy_share`` of the draws, of the full ones in ``full_share`` of
        the others; of another kind where there is none.
        """
        if self.healthy and np.random.random() < healthy_share:  # noqa: NPY002
            return self.healthy[np.random.randint(len(self.healthy))]  # noqa: NPY002
        full = bool(np.random.random() < full_share)  # noqa: NPY002
        chosen = (self.full if full else self.partial) or self.full or self.partial
        return chosen[np.random.randint(len(chosen))]  # noqa: NPY002


def centre_of(scan: PreparedScan, window: Shape, tumour_share: float) -> npt.NDArray[np.intp]:
    """A voxel for a patch's centre: up to a quarter of a side from a tumour's voxel, or anywhere.

    Patches reach hardly further out of the scan than windows do in serving, which lie in it or are centred over it.
    """
    sides, sizes = np.array(window), np.array(scan.images.shape[1:])
    if len(scan.places) and np.random.random() < tumour_share:  # noqa: NPY002
        place = scan.places[np.random.randint(len(scan.places))]  # noqa: NPY002
        wanted = place + np.random.randint(-(sides // 4), sides // 4 + 1)  # noqa: NPY002
    else:
        wanted = np.random.randint(sizes)  # noqa: NPY002
    margin = np.minimum(sides, sizes) // 2
    beyond = sides // _BEYOND
    inside = np.clip(wanted, margin, sizes - margin)
    return np.asarray(inside + np.random.randint(-beyond, beyond + 1), np.intp)  # noqa: NPY002


class VolumeSegmenterTask:
    """Dice and cross-entropy of the regions that a scan knows."""

    def __init__(self, config: VolumeSegmenterConfig, data: Path, device: str) -> None:
        self.config = config
        self.data = data
        self.device = torch.device(device)
        torch.manual_seed(config.schedule.seed)
        self.model = make_volume_segmenter(asdict(config))
        if config.frozen_slices:
            self.model.get_submodule("slices").requires_grad_(requires_grad=False)
        spec = VolumeSpec.of(preprocessing_of(asdict(config)))
        self.training = Scans.of([prepared(scan, spec) for scan in scans(data, "train")])
        self.held_out = [prepared(scan, spec) for scan in scans(data, "val")]

    def patch(self, window: Shape) -> tuple[UInt8Array, BoolArray, FloatArray, FloatArray]:
        """One block (4 + 3, I, J, K), images and regions; sequences shown (4,); weights of regions (3,); curves (4, K)
        of greys.
        """
        scan = self.training.draw(self.config.regions_share, self.config.healthy_share)
        centre = centre_of(scan, window, self.config.tumour_share)
        shape = block_shape(window, self.config.augmentation)
        block = np.zeros((len(SEQUENCES) + len(REGIONS), *shape), np.uint8)
        block[: len(SEQUENCES)] = cut_block(scan.images, centre, shape)
        block[len(SEQUENCES) : len(SEQUENCES) + len(scan.regions)] = cut_block(scan.regions, centre, shape)
        # Another set's scanners are as likely as the own.
        other = self.training.draw(0.5, 0.0)
        curves = random_curves(scan.quantiles, other.quantiles, self.config.augmentation)
        return block, shown_sequences(scan.present, self.config.dropout), scan.known, curves

    def batch(self, phase: Phase) -> tuple[Tensor, ...]:
        """Images (N, 4, I, J, K), regions (N, 3, I, J, K) in [0, 1], and how much each of those teaches (N, 3)."""
        window, settings = self.config.window(phase.size), self.config.augmentation
        parts = zip(*(self.patch(window) for _ in range(phase.batch)), strict=True)
        stack, shown, known, curves = (torch.from_numpy(np.stack(part)).to(self.device) for part in parts)
        # Scaled after the resampling: a block has several times a patch's voxels.
        moved = resample(stack.float(), window, self.config.spacing_mm, settings) / 255
        greys = apply_curves(moved[:, : len(SEQUENCES)].clamp(0, 1), curves)
        images = change_greys(thick_slices(greys, self.config.spacing_mm, settings), settings)
        seen = fields_of_view(images, settings) * shown.view(phase.batch, -1, 1, 1, 1)
        # What no sequence shows is none of the answer.
        regions = moved[:, len(SEQUENCES) :].clamp(0, 1) * seen.amax(dim=1, keepdim=True)
        return images * seen, regions, known

    def loss(self, output: Tensor, targets: tuple[Tensor, ...]) -> Tensor:
        """Of what is known; of several answers (N, A, 3, I, J, K), as under deep supervision, each half the one before.

        A network that is supervised deeply gives its own answer first, then those of its coarser levels.
        """
        regions, known = targets
        answers = output.unbind(1) if output.ndim > regions.ndim else (output,)
        weights = [0.5**level for level in range(len(answers))]
        losses = (partial_mask_loss(answer, regions, known) for answer in answers)
        total = sum((weight * loss for weight, loss in zip(weights, losses, strict=True)), regions.new_zeros(()))
        return total / sum(weights)

    def validate(self, model: nn.Module, size: int) -> dict[str, float]:
        """Mean Dice a scan on working voxels (quick; ``evaluate`` scores the scans' own): of the whole tumour, shown
        with all sequences and with FLAIR alone, and of the inner regions of what knows them, with all sequences.
        """
        scores: dict[str, list[float]] = {}
        for scan in self.held_out:
            views = {"dice": np.ones(len(SEQUENCES), np.bool_)}
            if scan.present[FLAIR]:
                views["dice_flair"] = np.arange(len(SEQUENCES)) == FLAIR
            for name, shown in views.items():
                images = np.array(scan.images, np.float32) * shown[:, None, None, None] / np.float32(255)
                probability = self._predict(model, images, size)
                scores.setdefault(name, []).append(dice(probability[0] >= 0.5, scan.regions[0] > 127))
                if name == "dice" and len(scan.regions) == len(REGIONS):
                    for region, inner, true in zip(_INNER, probability[1:], scan.regions[1:], strict=True):
                        scores.setdefault(region, []).append(dice(inner >= 0.5, true > 127))
        return {name: float(np.mean(values)) for name, values in scores.items()}

    def _predict(self, model: nn.Module, images: FloatArray, size: int) -> FloatArray:
        @torch.no_grad()
        def forward(windows: FloatArray) -> FloatArray:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.schedule.bfloat16):
                logits = model(torch.from_numpy(windows).to(self.device))
            return np.asarray(torch.sigmoid(logits.float()).cpu().numpy())

        return predict_volume(forward, images, self.config.window(size), _VALIDATION_OVERLAP, len(REGIONS))
