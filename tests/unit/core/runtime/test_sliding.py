"""Sliding windows: exact for an identity, equal to a naive reference, bounded in memory, stoppable."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.runtime.sliding import (
    BLOCK,
    Blend,
    ColumnPlan,
    FloatArray,
    Forward,
    Shape,
    WindowPlan,
    mirrored,
    plan_windows,
)

SIDES = st.tuples(*[st.integers(1, 17)] * 3)
WINDOWS = st.tuples(*[st.integers(2, 9)] * 3)


def noise(shape: Shape, channels: int = 2, seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).normal(size=(channels, *shape)).astype(np.float32)


def run(volume: FloatArray, plan: WindowPlan, forward: Forward, channels: int, batch_size: int = 3) -> FloatArray:
    blend = Blend(plan, channels)
    for batch in plan.batches(batch_size):
        blend.add(batch, forward(plan.cut(volume, batch)))
    return blend.result


def naive(volume: FloatArray, plan: WindowPlan, forward: Forward) -> FloatArray:
    """Padded volume, explicit weight volume, one window at a time, in float64."""
    size = np.asarray(plan.size)
    padded = np.pad(volume.astype(np.float64), [(0, 0), *[(side, side) for side in size]])
    total, weight = np.zeros_like(padded), np.zeros(padded.shape[1:])
    axes = [np.maximum(np.exp(-(((np.arange(n) - (n - 1) / 2) / (0.125 * n)) ** 2) / 2), 0.1) for n in size]
    gaussian = axes[0][:, None, None] * axes[1][:, None] * axes[2]
    for start in itertools.product(*plan.starts):
        place = tuple(slice(first + side, first + 2 * side) for first, side in zip(start, size, strict=True))
        answer = forward(padded[(slice(None), *place)][None].astype(np.float32))[0]
        total[(slice(None), *place)] += answer * gaussian
        weight[place] += gaussian
    inner = tuple(slice(side, side + n) for side, n in zip(size, plan.shape, strict=True))
    return (total[(slice(None), *inner)] / weight[inner]).astype(np.float32)


@settings(max_examples=80, deadline=None)
@given(shape=SIDES, size=WINDOWS, overlap=st.floats(0, 0.9), batch_size=st.integers(1, 5))
def test_an_identity_gives_the_volume_back(shape: Shape, size: Shape, overlap: float, batch_size: int) -> None:
    volume = noise(shape)
    plan = WindowPlan.over(shape, size, overlap)
    assert np.allclose(run(volume, plan, lambda windows: windows, 2, batch_size), volume, rtol=0, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(shape=SIDES, size=WINDOWS, overlap=st.floats(0, 0.9))
def test_weights_add_up_to_one_and_are_never_zero(shape: Shape, size: Shape, overlap: float) -> None:
    plan = WindowPlan.over(shape, size, overlap)
    for axis, length, side in zip(plan.weights, shape, size, strict=True):
        total = np.zeros(length + 2 * side)
        for start, weights in axis.items():
            assert weights.min() > 0
            total[side + start : 2 * side + start] += weights
        assert total[side : side + length] == pytest.approx(1.0, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(shape=SIDES, size=WINDOWS, overlap=st.floats(0, 0.9))
def test_it_equals_the_naive_reference(shape: Shape, size: Shape, overlap: float) -> None:
    """With a forward pass whose answer depends on where in its window a voxel is."""
    place = np.linspace(-1, 1, int(np.prod(size)), dtype=np.float32).reshape(size)

    def forward(windows: FloatArray) -> FloatArray:
        return np.concatenate([windows * place, windows[:, :1] ** 2], axis=1).astype(np.float32)[:, :2]

    volume = noise(shape, 2, seed=3)
    plan = WindowPlan.over(shape, size, overlap)
    assert np.allclose(run(volume, plan, forward, 2), naive(volume, plan, forward), rtol=0, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(length=st.integers(1, 200), side=st.integers(1, 64), overlap=st.floats(0, 0.95))
def test_windows_cover_the_volume_and_overlap_as_asked(length: int, side: int, overlap: float) -> None:
    starts = WindowPlan.over((length, 1, 1), (side, 1, 1), overlap).starts[0]
    covered = np.zeros(length, np.bool_)
    for start in starts:
        covered[max(0, start) : start + side] = True
    assert covered.all()
    assert len(set(starts)) == len(starts)
    if len(starts) > 1:
        assert starts[0] == 0
        assert starts[-1] == length - side
        assert max(np.diff(starts)) <= max(1, int(side * (1 - overlap)))


def every_window(size: Shape, forward: Forward) -> Forward:
    """What answers for windows of ``size``, shown the middle of columns of them."""
    side = size[2]

    def run(middle: FloatArray) -> FloatArray:
        beside = [(whole - shown) // 2 for whole, shown in zip(size, middle.shape[2:4], strict=False)]
        column = np.pad(middle, [(0, 0), (0, 0), *((width, width) for width in beside), (0, 0)])
        starts = range(0, column.shape[-1] - side + 1, side // 2)
        return np.concatenate([forward(column[..., start : start + side]) for start in starts])

    return run


# In plane smaller and larger than the volume, of one block and of several.
COLUMNS = st.tuples(*[st.sampled_from([4, 9, 16, 32, 48, 80])] * 2, st.integers(1, 4).map(lambda half: 2 * half))


@settings(max_examples=80, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 50), st.integers(1, 50), st.integers(1, 17)),
    size=COLUMNS,
    overlap=st.floats(0, 0.6),
    batch_size=st.integers(1, 5),
)
def test_columns_answer_as_their_windows_do(shape: Shape, size: Shape, overlap: float, batch_size: int) -> None:
    place = np.linspace(-1, 1, int(np.prod(size)), dtype=np.float32).reshape(size)

    def forward(windows: FloatArray) -> FloatArray:
        return (windows * place).astype(np.float32)

    volume = noise(shape, 2, seed=3)
    plan = ColumnPlan.over(shape, size, overlap)
    found = run(volume, plan, every_window(size, forward), 2, batch_size)
    assert np.allclose(found, naive(volume, plan, forward), rtol=0, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(length=st.integers(1, 200), half=st.integers(1, 32))
def test_columns_cover_the_volume_and_reach_out_alike_at_both_ends(length: int, half: int) -> None:
    starts = ColumnPlan.over((1, 1, length), (1, 1, 2 * half)).starts[2]
    assert set(np.diff(starts)) <= {half}
    before, after = -starts[0], starts[-1] + 2 * half - length
    assert 0 <= after - before <= 1
    assert len(starts) == 1 or before + after < half


@settings(max_examples=80, deadline=None)
@given(shape=st.tuples(st.integers(1, 200), st.integers(1, 200), st.integers(1, 17)), blocks=st.integers(1, 11))
def test_columns_show_the_volume_in_no_more_blocks_than_it_needs(shape: Shape, blocks: int) -> None:
    side = blocks * BLOCK
    plan = ColumnPlan.over(shape, (side, side, 4))
    for length, shown, starts in zip(shape, plan.shown, plan.starts, strict=False):
        # The window's middle, in whole blocks; no two of them could be left out.
        assert shown.start == side - shown.stop
        assert shown.start % BLOCK == 0
        assert shown.stop - shown.start < length + 2 * BLOCK or length >= side
        if length <= side:
            assert starts[0] + shown.start <= 0
            assert starts[0] + shown.stop >= length


def test_columns_are_where_they_are_asked_for() -> None:
    assert type(plan_windows((9, 9, 9), (4, 4, 4), 0.5, columns=False)) is WindowPlan
    assert type(plan_windows((9, 9, 9), (4, 4, 4), 0.5, columns=True)) is ColumnPlan


def test_the_middle_of_a_window_counts_most() -> None:
    plan = WindowPlan.over((12, 12, 12), (8, 8, 8), 0.5)
    left, right = plan.weights[0][0], plan.weights[0][4]
    assert left[4] > right[0]
    assert left[7] < right[3]


def test_batches_tell_how_far_they_are_and_can_be_left() -> None:
    plan = WindowPlan.over((20, 20, 20), (8, 8, 8), 0.5)
    done = [batch.done for batch in plan.batches(10)]
    assert done == [*range(10, plan.count, 10), plan.count]
    seen = []

    def forward(windows: FloatArray) -> FloatArray:
        seen.append(len(windows))
        return windows

    batches = plan.batches(4)
    forward(plan.cut(noise((20, 20, 20)), next(batches)))
    assert seen == [4]


def test_a_window_that_is_the_volume_is_not_copied() -> None:
    volume = noise((8, 8, 8))
    plan = WindowPlan.over((8, 8, 8), (8, 8, 8))
    (batch,) = plan.batches(4)
    assert np.shares_memory(plan.cut(volume, batch), volume)


def test_predictions_are_left_unchanged() -> None:
    volume = noise((9, 9, 9))
    plan = WindowPlan.over((9, 9, 9), (6, 6, 6))
    (batch,) = plan.batches(100)
    windows = plan.cut(volume, batch)
    before = windows.copy()
    Blend(plan, 2).add(batch, windows)
    assert np.array_equal(windows, before)


def peak_bytes(overlap: float) -> tuple[int, int]:
    shape, size = (64, 64, 64), (16, 16, 16)
    volume = noise(shape, 1)
    plan = WindowPlan.over(shape, size, overlap)
    peaks = []
    # Whatever else the process allocates meanwhile only adds: the least of three is the windows' own.
    for _ in range(3):
        tracemalloc.start()
        run(volume, plan, lambda windows: windows, 1, batch_size=2)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    return plan.count, min(peaks)


def test_memory_does_not_grow_with_the_number_of_windows() -> None:
    (few, small), (many, large) = peak_bytes(0.0), peak_bytes(0.6)
    assert many > 8 * few
    assert large < 1.05 * small
    # The result, and little more.
    assert large < 64**3 * 4 * 1.3


def test_mirroring_averages_over_mirror_images() -> None:
    slope = np.linspace(0, 1, 6, dtype=np.float32)[:, None, None]
    windows = noise((6, 5, 4))[None]
    assert mirrored(lambda w: w)(windows) == pytest.approx(windows)
    # An answer that leans to one side is set upright.
    leaning = mirrored(lambda w: np.broadcast_to(slope, w.shape).astype(np.float32))
    assert leaning(windows) == pytest.approx(np.full(windows.shape, 0.5), abs=1e-6)
    calls = []
    mirrored(lambda w: calls.append(1) or w, [(), (0,), (1, 2)])(windows)  # type: ignore[func-returns-value]
    assert len(calls) == 3


@pytest.mark.parametrize("overlap", [1.0, -0.1])
def test_an_overlap_that_never_ends_is_a_mistake(overlap: float) -> None:
    with pytest.raises(ValueError, match="overlap"):
        WindowPlan.over((9, 9, 9), (4, 4, 4), overlap)
