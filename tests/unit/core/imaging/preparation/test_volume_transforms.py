"""Preprocessing of volumes: the head is found, values are stretched, channels stand where the model expects them."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import InvalidRequest, MissingSequence
from core.imaging.preparation.foreground import find_foreground
from core.imaging.preparation.volume_transforms import VolumeSpec, prepare_volume, stretched
from core.imaging.volume import Bounds, Volume
from tests.fixtures.volumes import ORIENTATIONS, make_affine, make_head

SHAPE = (44, 40, 36)


@pytest.mark.parametrize("stripped", [True, False], ids=["skull-stripped", "with noise around"])
def test_the_head_is_found(stripped: bool) -> None:
    head = make_head(SHAPE, stripped=stripped)
    true = make_head(SHAPE).voxels != 0
    found = find_foreground(head.voxels).bounds
    for axis in range(3):
        hits = np.flatnonzero(true.any(axis=tuple(other for other in range(3) if other != axis)))
        assert abs(found.start[axis] - hits[0]) <= 2
        assert abs(found.stop[axis] - hits[-1] - 1) <= 2


def test_a_stripped_head_is_held_whole_even_where_voxels_are_skipped() -> None:
    voxels = np.zeros((250, 210, 130), np.float32)
    voxels[31:222, 40:171, 17:116] = 5.0
    found = find_foreground(voxels)
    assert found.step > 1
    assert np.count_nonzero(voxels[found.bounds.slices]) == np.count_nonzero(voxels)
    assert np.prod(found.bounds.shape) < 1.2 * np.count_nonzero(voxels)


def test_a_background_other_than_zero_is_recognised() -> None:
    head = make_head(SHAPE)
    shifted = np.where(head.voxels == 0, -3.0, head.voxels / 100 - 4).astype(np.float32)
    assert find_foreground(shifted).bounds == find_foreground(head.voxels).bounds


@pytest.mark.parametrize("voxels", [np.zeros(SHAPE, np.float32), np.full(SHAPE, 9, np.float32)])
def test_where_nothing_stands_out_the_whole_volume_is_used(voxels: np.ndarray) -> None:
    found = find_foreground(voxels)
    assert found.bounds == Bounds.whole(SHAPE)
    assert found.window(voxels, (0.5, 99.5)) == (voxels[0, 0, 0], voxels[0, 0, 0])


def test_a_far_bright_speck_does_not_count() -> None:
    head = make_head(SHAPE, stripped=False)
    before = find_foreground(head.voxels).bounds
    head.voxels[0:2, 0:2, 0:2] = 2_000
    assert find_foreground(head.voxels).bounds == before


def test_values_are_stretched_and_clipped() -> None:
    values = np.asarray([[[-5, 0, 5, 10, 99]]], np.float32)
    assert stretched(values, (0, 10)).tolist() == [[[0, 0, 0.5, 1, 1]]]
    assert not stretched(values, (3, 3)).any()


def test_channels_stand_in_the_order_of_the_model() -> None:
    head = make_head(SHAPE)
    found = prepare_volume(
        {"flair": head, "t1": Volume(head.voxels * 3 + 7 * (head.voxels > 0), head.affine)}, VolumeSpec()
    )
    assert found.tensor.shape == (4, *found.space.shape)
    assert found.tensor.dtype == np.float32
    assert found.tensor.flags.c_contiguous
    assert not found.tensor[1].any()
    assert not found.tensor[2].any()
    # The normalisation takes scale and offset away.
    assert np.allclose(found.tensor[0], found.tensor[3], atol=0.02)
    assert found.tensor.min() == 0.0
    assert found.tensor.max() == 1.0


@pytest.mark.parametrize("orientation", ORIENTATIONS[::7])
def test_the_model_sees_one_head_however_it_is_stored(orientation: str) -> None:
    reference = prepare_volume({"flair": make_head(SHAPE, make_affine("RAS", shape=SHAPE))}, VolumeSpec())
    canonical = make_head(SHAPE, make_affine("RAS", shape=SHAPE))
    order = np.asarray([["RL", "AP", "SI"].index(next(p for p in ("RL", "AP", "SI") if c in p)) for c in orientation])
    shape = tuple(SHAPE[axis] for axis in order)
    stored = canonical.voxels.transpose(order)
    stored = stored[tuple(slice(None, None, 1 if letter in "RAS" else -1) for letter in orientation)]
    volume = Volume(np.ascontiguousarray(stored), make_affine(orientation, shape=(shape[0], shape[1], shape[2])))
    found = prepare_volume({"flair": volume}, VolumeSpec())
    assert np.allclose(found.tensor, reference.tensor, atol=1e-6)


def test_thick_slices_become_the_working_spacing() -> None:
    shape = (44, 40, 10)
    head = make_head(shape, make_affine("RAS", (1.0, 1.0, 4.0), shape))
    found = prepare_volume({"t2": head}, VolumeSpec(margin_mm=0))
    assert found.space.grid.spacing_mm == pytest.approx((1, 1, 1))
    assert found.space.shape[2] == 4 * found.space.bounds.shape[2]
    own = prepare_volume({"t2": head}, VolumeSpec(margin_mm=0, spacing_mm=None))
    assert own.space.grid.spacing_mm == pytest.approx((1, 1, 4))
    assert not own.space.resampled


def test_a_sequence_that_repeats_another_is_left_out() -> None:
    flair, other = make_head(SHAPE), make_head(SHAPE)
    texture = np.random.default_rng(4).random(SHAPE).astype(np.float32)
    t2 = Volume(other.voxels * (0.4 + 0.6 * texture), other.affine)
    # Stored again with other numbers, as archives do.
    copy = Volume(flair.voxels * 3 + 7, flair.affine)
    spec = VolumeSpec(copy_correlation=0.99)
    found = prepare_volume({"t1": copy, "t2": t2, "flair": flair}, spec)
    assert found.copies == {"t1": "flair"}
    alone = prepare_volume({"t2": t2, "flair": flair}, spec)
    assert alone.copies == {}
    assert np.array_equal(found.tensor, alone.tensor)
    assert prepare_volume({"t1": copy, "flair": flair}, VolumeSpec()).copies == {}


def test_what_the_model_does_not_take_is_refused() -> None:
    with pytest.raises(MissingSequence):
        prepare_volume({}, VolumeSpec())
    with pytest.raises(InvalidRequest, match="swi"):
        prepare_volume({"swi": make_head(SHAPE)}, VolumeSpec())
