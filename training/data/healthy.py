"""Heads without tumour, made of heads with one: the half that has none, beside its mirror image.

Every case of the volume sets has a tumour, and a network that never saw a head without one finds one in any.
"""

from __future__ import annotations

from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from core.imaging.volume import Volume
from training.data.archives import BoolArray
from training.data.scans import REGIONS, LabelledScan, PreparedScan

_Number = TypeVar("_Number", bound=np.generic)
# The plane between the halves lies within this share of the width around the middle of what is cut to the brain.
_SEARCHED: Final = 0.15
# Slices without tumour that make a head of their own at least, and how many are left out beside the tumour.
_LEAST_SLICES: Final = 8
_BESIDE: Final = 1


def mirror_plane(head: BoolArray) -> int:
    """Twice the first index of the plane about which a head (i, j, k) is most like its mirror image.

    Voxel i is opposite to voxel ``plane - i``. The first axis runs from side to side.
    """
    width = len(head)
    coarse = head[:, ::2, ::2]
    reach = max(1, round(_SEARCHED * width))

    def unlike(plane: int) -> int:
        low, high = max(0, plane - (width - 1)), min(width - 1, plane)
        both = coarse[low : high + 1]
        # What has no opposite is opposed by air.
        beyond = int(np.count_nonzero(coarse)) - int(np.count_nonzero(both))
        return int(np.count_nonzero(both ^ both[::-1])) // 2 + beyond

    return min(range(width - 1 - reach, width + reach), key=unlike)


def mirrored_half(
    images: npt.NDArray[_Number], tumour: BoolArray, plane: int | None = None
) -> npt.NDArray[_Number] | None:
    """Images (c, i, j, k) whose half without tumour stands on both sides; None where both halves have some.

    ``tumour`` bool (i, j, k); ``plane`` as ``mirror_plane`` finds it. What has no opposite is 0.
    """
    plane = mirror_plane(np.asarray(images.any(axis=0))) if plane is None else plane
    places = np.arange(images.shape[1])
    of_slab = np.asarray(tumour.any(axis=(1, 2)))
    sides = (2 * places <= plane, 2 * places >= plane)
    healthy = next((side for side in sides if not of_slab[side].any()), None)
    if healthy is None:
        return None
    opposite = plane - places
    source = np.where(healthy, places, opposite)
    inside = (source >= 0) & (source < len(places))
    mirrored = images[:, np.clip(source, 0, len(places) - 1)]
    mirrored[:, ~inside] = 0
    return mirrored


def mirrored_scan(scan: LabelledScan) -> LabelledScan | None:
    """A scan of an upright grid whose tumour is gone, if it is in one half alone."""
    grids = {name: volume.affine for name, volume in scan.sequences.items()}
    images = np.stack([volume.voxels for volume in scan.sequences.values()])
    mirrored = mirrored_half(images, scan.regions[0])
    if mirrored is None:
        return None
    sequences = {name: Volume(image, grids[name]) for name, image in zip(grids, mirrored, strict=True)}
    return LabelledScan(sequences, np.zeros((len(REGIONS), *scan.regions.shape[1:]), np.bool_))


def without_tumour(scan: PreparedScan) -> PreparedScan | None:
    """A head without any region, made of one with a tumour: its mirrored half, or its longest stretch of slices.

    Of a volume the half, of a stack of slices, which knows the whole tumour alone, the stretch. None where there is
    too little.
    """
    tumour = np.asarray(scan.regions[0] > 0)
    if len(scan.regions) == len(REGIONS):
        found = mirrored_half(np.asarray(scan.images), tumour)
    else:
        free = _longest(np.asarray(~tumour.any(axis=(0, 1))))
        found = np.array(scan.images[..., free]) if free.stop - free.start >= _LEAST_SLICES else None
    if found is None:
        return None
    return PreparedScan(found, np.zeros((len(REGIONS), *found.shape[1:]), np.uint8), np.zeros((0, 3), np.intp))


def _longest(free: BoolArray) -> slice:
    """The longest run of True (n,), without what lies beside the False ones."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], free, [False]]).astype(np.int8)))
    runs = [
        slice(start + (_BESIDE if start else 0), stop - (_BESIDE if stop < len(free) else 0))
        for start, stop in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
    ]
    return max(runs, key=lambda run: run.stop - run.start, default=slice(0, 0))
