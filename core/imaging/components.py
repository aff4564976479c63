"""What touches what in a mask of three dimensions: connected components, and growth."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import numpy.typing as npt

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]


def label_components(mask: BoolArray, *, corners: bool) -> tuple[IntArray, int]:
    """Components of a mask (i, j, k), numbered from 1, as (i, j, k) with 0 outside of them, and how many there are.

    Voxels that touch in a face belong together; with ``corners`` so do those that touch in an edge or a corner.
    """
    # Planes are labelled one by one, and then those of their regions joined that touch.
    numbers = np.zeros(mask.shape, np.int64)
    count = 0
    pairs = [np.zeros((0, 2), np.int64)]
    for at, plane in enumerate(mask):
        found, regions = cv2.connectedComponents(plane.astype(np.uint8), connectivity=8 if corners else 4)
        numbers[at] = np.where(plane, regions + count, 0)
        count += found - 1
        if at:
            pairs.append(_touching(numbers[at - 1], numbers[at], corners))
    roots = _roots(count + 1, np.concatenate(pairs))
    names, own = np.unique(roots, return_inverse=True)
    return own[numbers], len(names) - 1


def grown(mask: BoolArray) -> BoolArray:
    """A mask (i, j, k) and all voxels that touch it in a face."""
    grown = mask.copy(order="K")
    for axis in range(3):
        before, behind = np.moveaxis(mask, axis, 0), np.moveaxis(grown, axis, 0)
        behind[1:] |= before[:-1]
        behind[:-1] |= before[1:]
    return grown


def joined_to_border(mask: BoolArray) -> BoolArray:
    """The voxels of a mask (i, j, k) that lie on the border of the volume, or are joined to it over faces of others."""
    # Whole planes lie together in memory then.
    turned = mask.T if mask.flags.f_contiguous else mask
    regions, count = label_components(turned, corners=False)
    outside = np.zeros(count + 1, np.bool_)
    for axis in range(3):
        outside[regions.take((0, -1), axis)] = True
    # What is of no region has number 0.
    outside[0] = False
    found: BoolArray = outside[regions]
    return found.T if turned is not mask else found


def _touching(one: IntArray, other: IntArray, corners: bool) -> IntArray:
    """Pairs (n, 2) of the regions of two neighbouring planes that touch, each once."""
    reach = (-1, 0, 1) if corners else (0,)
    found = []
    for down, across in itertools.product(reach, reach):
        here = one[max(0, down) : one.shape[0] + min(0, down), max(0, across) : one.shape[1] + min(0, across)]
        there = other[max(0, -down) : one.shape[0] + min(0, -down), max(0, -across) : one.shape[1] + min(0, -across)]
        both = (here > 0) & (there > 0)
        found.append(np.stack([here[both], there[both]], axis=1))
    pairs = np.concatenate(found)
    base = int(other.max(initial=0)) + 1
    single = np.unique(pairs[:, 0] * base + pairs[:, 1])
    return np.stack([single // base, single % base], axis=1)


def _roots(count: int, pairs: IntArray) -> IntArray:
    """The smallest region (count,) that each region is joined to, by any number of ``pairs``."""
    roots = np.arange(count)
    while len(pairs):
        ends = np.sort(roots[pairs], axis=1)
        pairs = pairs[ends[:, 0] < ends[:, 1]]
        np.minimum.at(roots, ends[:, 1], ends[:, 0])
        while (roots != roots[roots]).any():
            roots = roots[roots]
    return roots
