"""From probabilities of nested regions to one map of labels on the input's own grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from core.contracts.regions import CHANNELS
from core.imaging.preparation.geometry import WorkingSpace
from core.imaging.region_labels import label_nested
from core.imaging.volume import LabelArray

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """``labels`` uint8 (i, j, k) on the input's grid, and of each channel what the network says anywhere on it.

    ``max_probability`` is the highest, and ``certainty`` how much of what may be the region surely is, both in [0, 1].
    """

    labels: LabelArray
    max_probability: dict[str, float]
    certainty: dict[str, float]


def label_voxels(
    probabilities: FloatArray, space: WorkingSpace, thresholds: Sequence[float], least_mm3: float
) -> Labelled:
    """Label the voxels of the input whose ``probabilities`` (regions, working voxels) exceed their ``thresholds``.

    Probabilities return to the input's grid before they are cut, one region at a time, so borders are as fine as the
    input. A voxel counts for a region only within the region around it. What may be a region but is smaller than
    ``least_mm3`` in all is surely none.
    """
    highest: dict[str, float] = {}
    certainty: dict[str, float] = {}

    def regions() -> Iterator[BoolArray]:
        for name, channel, threshold in zip(CHANNELS, probabilities, thresholds, strict=True):
            restored = space.restore(channel)
            highest[name] = round(float(np.clip(restored.max(), 0.0, 1.0)), 4)
            certainty[name] = round(_certainty(restored, threshold, least_mm3 / space.source.voxel_mm3), 4)
            yield restored > threshold

    return Labelled(label_nested(regions(), space.source.shape), highest, certainty)


def _certainty(probability: FloatArray, threshold: float, least_voxels: float) -> float:
    """Voxels halfway from the threshold to 1 and above, as a share of those halfway from it to 0 and above.

    Outlines that hardly move with the threshold are sure. On validation it is as large as the Dice that they reach
    (docs/experiments/volumes.md).
    """
    possible = np.count_nonzero(probability > np.float32(threshold / 2))
    if possible == 0 or possible < least_voxels:
        return 1.0
    return float(np.count_nonzero(probability > np.float32((1 + threshold) / 2)) / possible)
