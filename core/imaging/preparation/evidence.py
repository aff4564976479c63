"""Class activation maps laid over the slice that they speak of."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from core.contracts.manifest import MapGeometry
from core.imaging.preparation.transforms import Placement

FloatArray = npt.NDArray[np.float32]

# Spread of one cell's evidence in cells. A cell sees far more than its own square, so its evidence has no sharp edge,
# and the maximum may lie between cells.
_SPREAD: Final = 0.8


def place_evidence(evidence: FloatArray, placement: Placement, size: int, geometry: MapGeometry | None) -> FloatArray:
    """Evidence for a class (h', w') laid over the original (h, w), in [0, 1].

    ``size`` is the side of the model's square in pixels and ``geometry`` tells where in it the cells are centred; None:
    they tile it. Each cell becomes a Gaussian. Evidence against the class counts as none. The map is scaled by its own
    maximum: it tells where the evidence lies, not how strong it is. All zeros when nothing speaks for the class.
    """
    positive = np.maximum(evidence, 0.0).astype(np.float32)
    down, across = (_spread(cells, size, geometry) for cells in positive.shape)
    restored = placement.restore(np.asarray(down @ positive @ across.T, np.float32))
    strongest = float(restored.max(initial=0.0))
    return restored / np.float32(strongest) if strongest > 0.0 else restored


def _spread(cells: int, size: int, geometry: MapGeometry | None) -> FloatArray:
    """(size, cells): the share that each pixel of one side takes of each cell."""
    step = size / cells if geometry is None else geometry.step
    first = (step - 1) / 2 if geometry is None else geometry.first
    centres = first + step * np.arange(cells)
    distance = (np.arange(size)[:, None] - centres[None]) / (_SPREAD * step)
    return np.exp(-0.5 * distance**2).astype(np.float32)
