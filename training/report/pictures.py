"""Figures of slices: sequences, planes, augmented slices and masks. Whose slices, the caller decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from core.contracts.sequences import SEQUENCES
from training.config import Augmentation
from training.data.archives import BoolArray, FloatArray, UInt8Array
from training.data.cases import Volume
from training.loop.augment import augment
from training.report.style import BLUE, ORANGE, RED, SKY, figure, legend, show_grey

SEQUENCE_TITLES: Final = {"t1": "T1", "t1ce": "T1 post-contrast", "t2": "T2", "flair": "FLAIR"}
# By region code, in the order of the legend.
REGIONS: Final = {2: ("oedema", ORANGE), 3: ("enhancing", RED), 1: ("necrotic or non-enhancing core", BLUE)}
# Changed slices in a row, beside the one they come from.
VARIANTS: Final = 5


@dataclass(frozen=True)
class Outlined:
    """A FLAIR slice (h, w) in [0, 1] with the true and the predicted mask, bool (h, w)."""

    title: str
    flair: FloatArray
    true: BoolArray
    predicted: BoolArray


def largest_cut(volume: Volume) -> tuple[int, int, int]:
    """Along each axis the position that shows most tumour; the middle where there is none."""
    tumour = volume.regions > 0
    if not tumour.any():
        return tumour.shape[0] // 2, tumour.shape[1] // 2, tumour.shape[2] // 2
    x, y, z = (int(tumour.sum(axis=tuple({0, 1, 2} - {axis})).argmax()) for axis in range(3))
    return x, y, z


def planes_through(voxels: npt.NDArray[Any], at: tuple[int, int, int]) -> dict[str, npt.NDArray[Any]]:
    """Axial, coronal and sagittal slice of voxels (x, y, z) along left, back and head, as radiology shows them.

    Head and face point upwards; the patient's left is on the right of axial and coronal slices, the face on the left
    of sagittal ones.
    """
    x, y, z = at
    return {"axial": voxels[:, :, z].T, "coronal": voxels[:, y, ::-1].T, "sagittal": voxels[x, :, ::-1].T}


def _outline_regions(axes: Any, regions: UInt8Array) -> None:
    for code, (_, colour) in REGIONS.items():
        mask = regions == code
        if mask.any():
            axes.contour(mask, levels=[0.5], colors=[colour], linewidths=1.1)


def _region_legend(drawn: Any) -> None:
    legend(drawn, {name: {"color": colour} for name, colour in REGIONS.values()})


def draw_sequences(path: Path, volume: Volume) -> None:
    """One axial slice in every sequence; the last panel has its regions."""
    position = largest_cut(volume)[2]
    cut = volume.axial(position)
    shown = [name for name in SEQUENCES if name in cut.sequences]
    with figure(path, 1.9 * len(shown) + 1.9, 2.85) as drawn:
        row = drawn.subplots(1, len(shown) + 1)
        for axes, name in zip(row, shown, strict=False):
            show_grey(axes, cut.sequences[name])
            axes.set_title(SEQUENCE_TITLES[name])
        show_grey(row[-1], cut.sequences["flair"])
        row[-1].set_title("regions over FLAIR")
        _outline_regions(row[-1], volume.regions[:, :, position].T)
        _region_legend(drawn)


def draw_planes(path: Path, volume: Volume) -> None:
    """Three planes of T1 post-contrast through the tumour, with its regions."""
    at = largest_cut(volume)
    grey, regions = planes_through(volume.sequences["t1ce"], at), planes_through(volume.regions, at)
    with figure(path, 8.0, 3.5) as drawn:
        # One scale for all three.
        row = drawn.subplots(1, 3, width_ratios=[cut.shape[1] for cut in grey.values()])
        for axes, (name, cut) in zip(row, grey.items(), strict=True):
            show_grey(axes, cut)
            axes.set_anchor("N")
            axes.set_title(name)
            _outline_regions(axes, regions[name])
        _region_legend(drawn)


def augmented(image: FloatArray, settings: Augmentation, count: int, seed: int = 0) -> FloatArray:
    """``count`` changed copies (count, s, s) of a prepared slice (s, s), both in [0, 1]; the same for the same seed."""
    batch = torch.from_numpy(np.ascontiguousarray(image, np.float32))[None, None].repeat(count, 1, 1, 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        changed, _ = augment(batch, torch.zeros_like(batch), settings)
    return np.asarray(changed[:, 0].numpy(), np.float32)


def draw_augmented(path: Path, image: FloatArray, presets: Mapping[str, Augmentation]) -> None:
    """A prepared slice (s, s), and as training shows it with each preset."""
    with figure(path, 1.35 * (VARIANTS + 1), 1.55 * len(presets)) as drawn:
        rows = drawn.subplots(len(presets), VARIANTS + 1, squeeze=False)
        for row, (name, settings) in zip(rows, presets.items(), strict=True):
            for axes, changed in zip(row, (image, *augmented(image, settings, VARIANTS)), strict=True):
                show_grey(axes, changed)
            row[0].set_title("as prepared")
            row[1].set_title(f"preset {name}", loc="left")


def draw_masks(path: Path, slices: Sequence[Outlined]) -> None:
    """FLAIR slices with what was outlined and what a model answers."""
    with figure(path, 2.6 * len(slices), 3.2) as drawn:
        for axes, item in zip(drawn.subplots(1, len(slices), squeeze=False)[0], slices, strict=True):
            show_grey(axes, item.flair)
            for mask, colour, line in ((item.true, ORANGE, "solid"), (item.predicted, SKY, "dashed")):
                if mask.any():
                    axes.contour(mask, levels=[0.5], colors=[colour], linewidths=1.4, linestyles=line)
            axes.set_title(item.title)
        legend(drawn, {"outline": {"color": ORANGE}, "answer of the model": {"color": SKY, "linestyle": "dashed"}})
