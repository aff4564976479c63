"""A network's answer for a whole volume from overlapping windows, in batches, with bounded memory.

    plan = WindowPlan.over(volume.shape[1:], size=(96, 96, 96), overlap=0.5)
    probabilities = slide(forward, volume, plan, channels=3, batch_size=2)

Windows count more in their middle, where the network sees all around: weights are a Gaussian along each axis. What
several windows say of a voxel is their weighted mean. Since windows form a lattice and the Gaussian is a product of
three, so is the sum of all weights: it is divided out along each axis beforehand, and no volume of weights is kept.

``ColumnPlan`` is for a network that reads what neighbouring windows share once: it is shown columns of windows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, product
from typing import Final

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Shape = tuple[int, int, int]
Forward = Callable[[FloatArray], FloatArray]

SIGMA: Final = 0.125
"""Standard deviation of the weights as a share of the window's side."""

BLOCK: Final = 16
"""In-plane voxels that a network's deepest layer sees as one: a column is shown in whole blocks."""

# The least weight along one axis; in a corner of the window it counts cubed.
_LEAST_WEIGHT: Final = 0.1


@dataclass(frozen=True, slots=True)
class Batch:
    """Windows run together. ``starts`` are their first voxels, ``done`` counts all windows up to the batch's end."""

    starts: tuple[Shape, ...]
    done: int


@dataclass(frozen=True)
class WindowPlan:
    """Where windows of ``size`` lie over a volume of ``shape``: along each axis at ``starts``.

    A window larger than the volume is centred over it and starts below 0; what it sees outside is 0.
    """

    shape: Shape
    size: Shape
    starts: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]

    @classmethod
    def over(cls, shape: Sequence[int], size: Shape, overlap: float = 0.5) -> WindowPlan:
        """As few windows as overlap by at least ``overlap``, a share of their side in [0, 1), evenly spread."""
        if not 0 <= overlap < 1:
            raise ValueError("overlap is a share in [0, 1)")
        i, j, k = (_starts(length, side, overlap) for length, side in zip(shape, size, strict=True))
        return cls((shape[0], shape[1], shape[2]), size, (i, j, k))

    @property
    def count(self) -> int:
        """Windows in all."""
        return math.prod(len(starts) for starts in self.starts)

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """All windows, ``batch_size`` at a time; the last batch may be smaller."""
        done, windows = 0, product(*self.starts)
        while starts := tuple(islice(windows, batch_size)):
            done += len(starts)
            yield Batch(starts, done)

    def cut(self, volume: FloatArray, batch: Batch) -> FloatArray:
        """The windows (n, channels, *size) of a volume (channels, *shape), C-contiguous float32.

        A view where one window is the whole volume, else a copy.
        """
        if len(batch.starts) == 1 and self.size == self.shape and volume.flags.c_contiguous:
            return volume[None]
        windows = np.zeros((len(batch.starts), len(volume), *self.size), np.float32)
        for window, start in zip(windows, batch.starts, strict=True):
            _fill(window, volume, start)
        return windows

    @cached_property
    def weights(self) -> tuple[dict[int, FloatArray], dict[int, FloatArray], dict[int, FloatArray]]:
        """For each axis, the weights (side,) of the window at a start; those of all windows at a voxel sum to 1."""
        i, j, k = (
            _axis_weights(length, side, starts)
            for length, side, starts in zip(self.shape, self.size, self.starts, strict=True)
        )
        return i, j, k


@dataclass(frozen=True)
class ColumnPlan(WindowPlan):
    """Windows in columns along the third axis, for a network that answers for every window of a column.

    In a column neighbours overlap by half a side, an even number, so that a column of n windows has (n + 1) / 2 sides.
    Columns reach out of the volume equally at both ends. Where a window is wider than the volume, the network is shown
    the blocks in its middle that the volume lies in, and knows that the others are empty.
    """

    @classmethod
    def over(cls, shape: Sequence[int], size: Shape, overlap: float = 0.5) -> ColumnPlan:
        """As few columns side by side as overlap by at least ``overlap``."""
        lattice = WindowPlan.over(shape, size, overlap)
        length, half = shape[2], size[2] // 2
        count = max(1, math.ceil(length / half) - 1)
        first = -(((count + 1) * half - length) // 2)
        starts = tuple(first + index * half for index in range(count))
        return cls(lattice.shape, size, (lattice.starts[0], lattice.starts[1], starts))

    @cached_property
    def shown(self) -> tuple[slice, slice]:
        """The part of a window that the network is shown, along the first two axes."""
        i, j = (_shown(length, side) for length, side in zip(self.shape[:2], self.size[:2], strict=True))
        return i, j

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """Parts of columns of up to ``batch_size`` windows."""
        done = 0
        for i, j in product(*self.starts[:2]):
            rising = iter(self.starts[2])
            while part := tuple((i, j, k) for k in islice(rising, batch_size)):
                done += len(part)
                yield Batch(part, done)

    def cut(self, volume: FloatArray, batch: Batch) -> FloatArray:
        """The batch's part of a column (1, channels, *``shown``, slices), C-contiguous float32."""
        i, j = self.shown
        first, last = batch.starts[0], batch.starts[-1]
        sides = i.stop - i.start, j.stop - j.start, last[2] - first[2] + self.size[2]
        column = np.zeros((1, len(volume), *sides), np.float32)
        _fill(column[0], volume, (first[0] + i.start, first[1] + j.start, first[2]))
        return column


def plan_windows(shape: Sequence[int], size: Shape, overlap: float, *, columns: bool) -> WindowPlan:
    """The windows over a volume, in columns for a network that is shown those."""
    return (ColumnPlan if columns else WindowPlan).over(shape, size, overlap)


def _inside(shape: Shape, start: Shape, size: tuple[int, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """The part of a volume of ``shape`` that a block shows, and the part of the block that it fills."""
    inside = tuple(
        slice(max(0, first), min(length, first + side)) for first, side, length in zip(start, size, shape, strict=True)
    )
    within = tuple(slice(part.start - first, part.stop - first) for part, first in zip(inside, start, strict=True))
    return inside, within


def _fill(block: FloatArray, volume: FloatArray, start: Shape) -> None:
    """Copy what a block (channels, ...) shows of a volume (channels, *shape), from ``start`` on."""
    i, j, k = volume.shape[1:]
    inside, within = _inside((i, j, k), start, block.shape[1:])
    block[(slice(None), *within)] = volume[(slice(None), *inside)]


class Blend:
    """The weighted mean of what windows say, gathered batch by batch into ``result`` (channels, *shape), float32."""

    def __init__(self, plan: WindowPlan, channels: int) -> None:
        self._plan = plan
        self.result: FloatArray = np.zeros((channels, *plan.shape), np.float32)

    def add(self, batch: Batch, predictions: FloatArray) -> None:
        """Add the network's answers (n, channels, *size) for the windows of ``batch``; they are left unchanged."""
        for prediction, start in zip(predictions, batch.starts, strict=True):
            inside, within = _inside(self._plan.shape, start, self._plan.size)
            i, j, k = (axis[first][part] for axis, first, part in zip(self._plan.weights, start, within, strict=True))
            plane = j[:, None] * k
            for channel, values in zip(self.result, prediction, strict=True):
                part = values[within] * plane
                part *= i[:, None, None]
                channel[inside] += part


def slide(
    forward: Forward,
    volume: FloatArray,
    plan: WindowPlan,
    channels: int,
    *,
    batch_size: int = 1,
    progress: Callable[[float], None] | None = None,
) -> FloatArray:
    """The network's answer (``channels``, *shape) for a volume (inputs, *shape), ``batch_size`` windows at a time.

    ``progress`` is told the share of windows that are done after each run. Memory is that of the result and one run.
    """
    blend = Blend(plan, channels)
    for batch in plan.batches(batch_size):
        blend.add(batch, forward(plan.cut(volume, batch)))
        if progress is not None:
            progress(batch.done / plan.count)
    return blend.result


def mirrored(forward: Forward, axes: Sequence[tuple[int, ...]] = ((), (0,))) -> Forward:
    """``forward`` averaged over mirror images of its windows (n, channels, *size).

    ``axes`` lists which of the three spatial axes to mirror each time, () for none: by default the plain window and the
    one with left and right exchanged. Takes len(axes) times as long.
    """

    def run(windows: FloatArray) -> FloatArray:
        total: FloatArray | None = None
        for flips in axes:
            spatial = tuple(axis + 2 for axis in flips)
            answer = np.flip(forward(np.ascontiguousarray(np.flip(windows, spatial))), spatial)
            total = answer.copy() if total is None else np.add(total, answer, out=total)
        if total is None:
            raise ValueError("axes is empty")
        total /= np.float32(len(axes))
        return total

    return run


def _starts(length: int, side: int, overlap: float) -> tuple[int, ...]:
    if side >= length:
        return (-((side - length) // 2),)
    stride = max(1, int(side * (1 - overlap)))
    steps = math.ceil((length - side) / stride)
    return tuple(round(step * (length - side) / steps) for step in range(steps + 1))


def _shown(length: int, side: int) -> slice:
    """Of a window of ``side`` the blocks in its middle that hold a volume of ``length``; all of a smaller window.

    As many are left out on either side: a window shown mirrored then lies where the plain one does.
    """
    around = (math.ceil(side / BLOCK) - math.ceil(min(length, side) / BLOCK)) // 2 * BLOCK
    return slice(around, side - around)


def _axis_weights(length: int, side: int, starts: tuple[int, ...]) -> dict[int, FloatArray]:
    from_centre = (np.arange(side) - (side - 1) / 2) / (SIGMA * side)
    gaussian = np.maximum(np.exp(-(from_centre**2) / 2), _LEAST_WEIGHT)
    # Room on both sides for a window that reaches out of the volume.
    total = np.zeros(length + 2 * side)
    for start in starts:
        total[side + start : 2 * side + start] += gaussian
    return {start: (gaussian / total[side + start : 2 * side + start]).astype(np.float32) for start in starts}
