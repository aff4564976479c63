"""From probabilities of nested regions to one map of labels on the input's own grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from core.imaging.preparation.geometry import WorkingSpace
from core.imaging.volume import LabelArray
from segmenter_service.volumes.report import ENHANCING, NECROTIC_CORE, OEDEMA

FloatArray = npt.NDArray[np.float32]

REGIONS: Final = ("whole_tumor", "tumor_core", "enhancing_tumor")
"""Each lies within the one before it; the channels of the network, in this order."""

# What a voxel is that lies in a region and in none further in.
_LABELS: Final = (OEDEMA, NECROTIC_CORE, ENHANCING)
_BACKGROUND: Final = 0


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """``labels`` uint8 (i, j, k) on the input's grid, and the highest probability of each region anywhere on it."""

    labels: LabelArray
    max_probability: dict[str, float]


def label_voxels(probabilities: FloatArray, space: WorkingSpace, thresholds: Sequence[float]) -> Labelled:
    """Label the voxels of the input whose ``probabilities`` (regions, working voxels) exceed their ``thresholds``.

    Probabilities return to the input's grid before they are cut, one region at a time, so borders are as fine as the
    input. A voxel counts for a region only within the region around it.
    """
    labels = np.zeros(space.source.shape, np.uint8)
    highest: dict[str, float] = {}
    around = _BACKGROUND
    for region, label, channel, threshold in zip(REGIONS, _LABELS, probabilities, thresholds, strict=True):
        restored = space.restore(channel)
        highest[region] = round(float(np.clip(restored.max(), 0.0, 1.0)), 4)
        labels[(restored > threshold) & (labels == around)] = label
        around = label
    return Labelled(labels, highest)
