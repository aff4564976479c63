"""Which of several images are one under several names: archives fill gaps in a study with copies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

# At most about twice as many values a side are compared: more does not change which images are alike.
_SAMPLE_SIDE: Final = 256


def find_copies(images: Mapping[str, FloatArray], order: Sequence[str], correlation: float) -> dict[str, str]:
    """Names of images that repeat another one, each with the name that is kept: they correlate above ``correlation``.

    Slices (h, w) or volumes (i, j, k) of one size; names that are not in ``order`` are not looked at. Of two alike the
    one later in ``order`` is kept: models name FLAIR last, which shows most of a tumour.
    """
    names = [name for name in reversed(order) if name in images]
    samples = {name: _sample(images[name]) for name in names}
    copies: dict[str, str] = {}
    for index, name in enumerate(names):
        for kept in names[:index]:
            if kept not in copies and float(samples[name] @ samples[kept]) > correlation:
                copies[name] = kept
                break
    return copies


def _sample(values: FloatArray) -> FloatArray:
    """Evenly taken values less their mean as a vector of length 1, 0 where all are alike: products are correlations."""
    step = max(1, max(values.shape) // _SAMPLE_SIDE)
    taken = values[(slice(None, None, step),) * values.ndim].ravel()
    taken = taken - taken.mean()
    length = float(np.linalg.norm(taken))
    return np.asarray(taken / length if length > 0 else taken, np.float32)
