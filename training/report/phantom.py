"""A synthetic head with a synthetic tumour: what figures show where a patient's image may not be passed on.

Ellipsoids, sine waves and noise with grey values that order the tissues as the four sequences do. It shows no person,
and what a model says about it means nothing.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy import ndimage

from training.data.archives import FloatArray, UInt8Array
from training.data.cases import Volume

# Voxels of 1 mm towards the patient's left, back and head.
SHAPE: Final = (160, 192, 144)
# Grey values of background, scalp, skull, fluid, grey matter, white matter, oedema, necrotic core, enhancing rim.
GREYS: Final = {
    "t1": (0.0, 0.85, 0.06, 0.12, 0.42, 0.60, 0.38, 0.20, 0.46),
    "t1ce": (0.0, 0.85, 0.06, 0.12, 0.42, 0.58, 0.38, 0.20, 0.95),
    "t2": (0.0, 0.55, 0.06, 0.95, 0.58, 0.42, 0.80, 0.88, 0.62),
    "flair": (0.0, 0.55, 0.06, 0.08, 0.50, 0.40, 0.80, 0.46, 0.66),
}
_SCALP, _SKULL, _FLUID, _CORTEX, _WHITE, _OEDEMA, _CORE, _RIM = range(1, 9)
# Our codes of the regions by tissue: 1 necrotic or non-enhancing core, 2 oedema, 3 enhancing.
_REGIONS: Final = np.array([0, 0, 0, 0, 0, 0, 2, 1, 3], np.uint8)
# Voxels by which a scanner blurs, and its noise.
_BLUR: Final = 0.7
_NOISE: Final = 0.018


def _ellipsoid(
    centre: tuple[float, float, float], radii: tuple[float, float, float], ripple: float = 0.0
) -> FloatArray:
    """Distance from ``centre`` in units of ``radii``, both in half sides of the volume; 1 on the surface."""
    axes = np.meshgrid(*(np.linspace(-1, 1, side, dtype=np.float32) for side in SHAPE), indexing="ij", sparse=True)
    x, y, z = ((axis - c) / r for axis, c, r in zip(axes, centre, radii, strict=True))
    waves = np.sin(9 * x + 1) * np.sin(11 * y + 2 * z) * np.cos(9 * z - x)
    return np.asarray(np.sqrt(x**2 + y**2 + z**2) + ripple * waves, np.float32)


def _tissues() -> UInt8Array:
    head = _ellipsoid((0, 0, -0.05), (0.86, 0.90, 0.92))
    folds = _ellipsoid((0, 0, -0.05), (0.86, 0.90, 0.92), ripple=0.05)
    tissues = np.zeros(SHAPE, np.uint8)
    for limit, tissue in ((1.0, _SCALP), (0.93, _SKULL), (0.87, _FLUID)):
        tissues[head < limit] = tissue
    for limit, tissue in ((0.83, _CORTEX), (0.73, _WHITE)):
        tissues[folds < limit] = tissue
    for side in (-1, 1):
        tissues[_ellipsoid((0.14 * side, 0.02, 0.0), (0.08, 0.34, 0.20)) < 1] = _FLUID
    # Between the hemispheres.
    middle = slice(SHAPE[0] // 2 - 1, SHAPE[0] // 2 + 1)
    tissues[middle][(tissues[middle] == _CORTEX) & (head[middle] > 0.6)] = _FLUID
    centre = (0.38, -0.22, 0.12)
    inside = np.isin(tissues, (_CORTEX, _WHITE))
    tissues[(_ellipsoid(centre, (0.30, 0.32, 0.34), ripple=0.14) < 1) & inside] = _OEDEMA
    for radius, tissue in ((0.5, _RIM), (0.36, _CORE)):
        tissues[(_ellipsoid(centre, (0.30, 0.32, 0.34), ripple=0.06) < radius)] = tissue
    return tissues


def phantom(seed: int = 0) -> Volume:
    """The head as a volume of ``SHAPE`` in four sequences with its regions; the same seed, the same voxels."""
    generator = np.random.default_rng(seed)
    tissues = _tissues()
    head = tissues > 0
    sequences = {}
    for name, greys in GREYS.items():
        clean = ndimage.gaussian_filter(np.array(greys, np.float32)[tissues], _BLUR)
        noise: FloatArray = generator.standard_normal(SHAPE, np.float32) * np.float32(_NOISE)
        sequences[name] = np.clip(clean + noise * head, 0, 1)
    return Volume(sequences, _REGIONS[tissues], (1.0, 1.0, 1.0))
