"""The values of volumes as every later step expects them, whatever tool wrote them: finite, and dark around the head.

Each sequence is judged by itself, before anything is interpolated. Whether greys are turned round is told by the
outside of the head and the shape of its histogram, so that no network has to be asked:

    score = mean rank of the head's outermost voxels among its own - w tanh(skewness / 2)

Ranks run from -1/2 to 1/2. Turning the greys round turns the sign round. See ``docs/experiments/intensities.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from core.errors import FieldError, UnusableVolume
from core.imaging.components import grown
from core.imaging.preparation.background import Surroundings, with_dark_background
from core.imaging.preparation.foreground import Foreground, find_foreground
from core.imaging.volume import FloatArray, Volume, edges_of

# How much the skewness of a sequence counts: a brain's outside is darker than its inside but for T2, which is dark with
# few bright voxels instead.
_SKEWNESS: Final[Mapping[str, float]] = {"t1": 0.15, "t1ce": 0.15, "flair": 0.15, "t2": 1.0}
# Greys with a higher score are turned round: on 144 stripped and 225 whole volumes no score was above 0.012.
_INVERTED: Final = 0.03
# A background that is as bright as the head's white, and edges that are: air never is.
_WHITE: Final = 0.9
_BRIGHT_EDGES: Final = 0.7
_PERCENTILES: Final = (0.5, 99.8)


@dataclass(frozen=True, slots=True, eq=False)
class Settled:
    """``volumes`` with dark backgrounds, and ``warnings`` that say what was taken for background or looks inverted."""

    volumes: Mapping[str, Volume]
    warnings: tuple[str, ...] = ()


def settle(volumes: Mapping[str, Volume]) -> Settled:
    """Volumes (float32, by sequence) on any grids with black around their heads; those that have it are the same.

    Raises ``UnusableVolume`` for one that holds NaN or infinity, since one such voxel would spread over all the
    network's output or vanish in it; for a head of a single value; and for greys that are surely turned round, with
    air as bright as the head's white.
    """
    settled, warnings = {}, []
    for name, volume in volumes.items():
        voxels, told = _settled(name, volume.voxels)
        settled[name] = volume if voxels is volume.voxels else Volume(voxels, volume.affine)
        warnings += [f"{name}: {words}" for words in told]
    return Settled(settled, tuple(warnings))


def _settled(name: str, given: FloatArray) -> tuple[FloatArray, list[str]]:
    # Both are NaN where any voxel is.
    if not np.isfinite((given.min(), given.max())).all():
        raise _refused(name, "the volume holds values that are no finite numbers.")
    voxels, surroundings = with_dark_background(given)
    head = find_foreground(voxels)
    greys = head.greys(voxels)
    if greys.min() == greys.max():
        raise _refused(name, "all of the head has the same value.")
    if surroundings is not None:
        # All that is no background: of a head with its skull, air whose noise is not quite the one value is among it.
        mask = voxels[:: head.step, :: head.step, :: head.step] != np.float32(surroundings.black)
        head = replace(head, mask=mask)
    inverted = polarity(name, voxels, head) > _INVERTED
    bright = _has_bright_edges(given) if surroundings is None else surroundings.brightness > _WHITE
    if bright and (inverted or surroundings is None):
        raise _refused(
            name,
            "the air around the head is as bright as its brightest tissue: the intensities are inverted. Send the"
            " volume as it was measured.",
        )
    told = [] if surroundings is None else [_words(surroundings)]
    if inverted:
        told.append(
            "the intensities look inverted, dark where this sequence is bright. If they are, the answer is wrong: send"
            " the volume as it was measured."
        )
    return voxels, told


def _refused(name: str, words: str) -> UnusableVolume:
    detail = f"{name}: {words}"
    return UnusableVolume(detail, errors=[FieldError(f"part/{name}", detail)])


def _words(surroundings: Surroundings) -> str:
    values = " and ".join(f"{value:.6g}" for value in surroundings.values)
    among = "which is a grey of" if surroundings.brightness > 0 else "far below"
    low, high = surroundings.low, surroundings.high
    return f"the background is {values}, {among} the head ({low:.6g} to {high:.6g}); it was taken as black."


def _has_bright_edges(voxels: FloatArray) -> bool:
    """Whether nearly all voxels along the edges of a volume are as bright as little else in it."""
    low, high = np.percentile(edges_of(voxels), (10, 90))
    step = max(1, max(voxels.shape) // 96)
    dark, bright = np.percentile(voxels[::step, ::step, ::step], _PERCENTILES)
    return bool(low > dark + _BRIGHT_EDGES * (bright - dark) and high > low)


def polarity(sequence: str, voxels: FloatArray, head: Foreground) -> float:
    """The score of a volume (i, j, k) with this ``head``: below 0 for greys as measured, above 0 where turned round."""
    inside = head.greys(voxels).astype(np.float64)
    low, high = np.percentile(inside, _PERCENTILES)
    if high <= low:
        return 0.0
    inside = np.clip((inside - low) / (high - low), 0.0, 1.0)
    spread = inside - inside.mean()
    skewness = float((spread**3).mean() / (spread**2).mean() ** 1.5)
    outermost = inside[grown(~head.mask)[head.mask]]
    ranks = _ranks(np.sort(inside), outermost)
    return ranks - _SKEWNESS.get(sequence, 0.0) * float(np.tanh(skewness / 2))


def _ranks(ascending: npt.NDArray[np.float64], values: npt.NDArray[np.float64]) -> float:
    """Mean place, -1/2 to 1/2, of ``values`` among those ``ascending``; equal ones share the middle of theirs."""
    if not values.size:
        return 0.0
    below, up_to = np.searchsorted(ascending, values, "left"), np.searchsorted(ascending, values, "right")
    return float((below + up_to).mean() / (2 * ascending.size) - 0.5)
