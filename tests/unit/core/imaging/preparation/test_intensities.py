"""Each sequence by itself: dark around the head, told in words, and greys that are turned round noticed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from core.errors import UnusableVolume
from core.imaging.preparation.alignment import align
from core.imaging.preparation.intensities import settle
from core.imaging.preparation.volume_transforms import VolumeSpec, prepare_volume
from core.imaging.volume import Volume
from tests.fixtures.brains import make_brain
from tests.fixtures.volumes import make_affine

FloatArray = npt.NDArray[np.float32]
Change = Callable[[FloatArray, npt.NDArray[np.bool_]], npt.NDArray[np.floating]]

BRAIN = make_brain()
SEQUENCES = tuple(BRAIN)


def scores(grey: FloatArray, mask: npt.NDArray[np.bool_]) -> FloatArray:
    z: FloatArray = (grey - grey[mask].mean()) / grey[mask].std()
    return z


def changed(name: str, change: Change) -> dict[str, Volume]:
    volume = BRAIN[name]
    return {name: Volume(change(volume.voxels, volume.voxels > 0).astype(np.float32), volume.affine)}


def test_plain_volumes_are_handed_back_as_they_are() -> None:
    settled = settle(BRAIN)
    assert all(settled.volumes[name] is volume for name, volume in BRAIN.items())
    assert settled.warnings == ()


def test_each_sequence_is_judged_by_itself() -> None:
    mixed = {**BRAIN, **changed("t1", lambda g, m: np.where(m, scores(g, m), 0))}
    mixed |= changed("t2", lambda g, m: np.where(m, g, -30000))
    settled = settle(mixed)
    assert [warning.split(":")[0] for warning in settled.warnings] == ["t1", "t2"]
    assert "the background is 0, which is a grey of the head (" in settled.warnings[0]
    assert "the background is -30000, far below the head (" in settled.warnings[1]
    assert settled.volumes["flair"] is BRAIN["flair"]
    found, expected = prepare_volume(mixed, VolumeSpec()), prepare_volume(BRAIN, VolumeSpec())
    assert found.space.shape == expected.space.shape
    # Only at the rim, which is interpolated with black, is there a difference.
    assert np.abs(found.tensor - expected.tensor).mean() < 2e-3


@pytest.mark.parametrize("name", SEQUENCES)
@pytest.mark.parametrize(
    "change",
    [
        lambda g, m: np.where(m, g.max() + 1 - g, 0),
        lambda g, m: np.where(m, -scores(g, m), 0),
        lambda g, m: np.where(m, 255 * (1 - g / g.max()), -1024),
    ],
    ids=["0 outside", "minus scores", "-1024 outside"],
)
def test_greys_that_are_turned_round_in_the_brain_are_told(name: str, change: Change) -> None:
    settled = settle(changed(name, change))
    assert f"{name}: the intensities look inverted" in settled.warnings[-1]


@pytest.mark.parametrize("name", SEQUENCES)
@pytest.mark.parametrize("change", [lambda g, _: g.max() - g, lambda g, _: -g], ids=["max - v", "-v"])
def test_greys_that_are_turned_round_with_their_air_are_refused(name: str, change: Change) -> None:
    with pytest.raises(UnusableVolume, match=f"{name}: the air around the head is as bright") as caught:
        settle(changed(name, change))
    assert caught.value.errors[0].pointer == f"part/{name}"


def test_noise_that_is_brighter_than_the_head_is_refused() -> None:
    noise = np.abs(np.random.default_rng(0).normal(0, 8, BRAIN["flair"].voxels.shape))
    noisy = changed("flair", lambda g, _: g + noise)
    assert settle(noisy).warnings == ()
    with pytest.raises(UnusableVolume, match="inverted"):
        settle({"flair": Volume(-noisy["flair"].voxels, noisy["flair"].affine)})


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_brain_as_measured_on_white_is_taken_as_it_is(name: str) -> None:
    settled = settle(changed(name, lambda g, m: np.where(m, g, g.max())))
    assert len(settled.warnings) == 1
    assert "it was taken as black" in settled.warnings[0]


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_a_head_of_a_single_value_is_refused(value: float) -> None:
    """A mask that was sent for an image, and a constant volume: nothing in them can be a tumour."""
    with pytest.raises(UnusableVolume, match="flair: all of the head has the same value"):
        settle(changed("flair", lambda _, m: np.where(m, 1.0, 0.0)))
    with pytest.raises(UnusableVolume, match="flair: all of the head has the same value"):
        prepare_volume(changed("flair", lambda g, _: np.full_like(g, value)), VolumeSpec())


def test_what_lies_outside_of_a_resampled_volume_is_black() -> None:
    """Of z-scores on a grid that reaches less far than the reference's 0 would be a grey of the head."""
    flair = changed("flair", scores)["flair"]
    cut = Volume(np.ascontiguousarray(flair.voxels[:, :, 4:-4]), flair.affine @ make_moved(4))
    aligned = align(settle({"t1ce": BRAIN["t1ce"], "flair": cut}).volumes)
    tensor = prepare_volume(aligned.volumes, VolumeSpec(margin_mm=0)).tensor
    assert not tensor[3, :, :, :4].any()
    assert tensor[1, :, :, 3].any()


def make_moved(slices: int) -> npt.NDArray[np.float64]:
    moved = make_affine(shape=(1, 1, 1))
    moved[2, 3] = slices
    return moved
