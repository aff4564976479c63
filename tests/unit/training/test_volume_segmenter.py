"""The volume segmenter's parts: stacks, patches, sequence dropout, what the loss teaches, and what is chosen."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.imaging.preparation.geometry import Reorientation, WorkingSpace
from core.imaging.volume import Grid, Volume
from training.config import (
    ISOTROPIC_VOLUMES,
    Phase,
    ScheduleConfig,
    VolumeAugmentation,
    VolumeDropout,
)
from training.data.multisequence import SequenceSlice
from training.data.scans import (
    STACK_COVERAGE_MM,
    LabelledScan,
    PreparedScan,
    Scan,
    nested,
    stacked,
)
from training.loop.augment import change_greys
from training.loop.losses import mask_loss, partial_mask_loss
from training.loop.trainer import Trainer, fast_layout
from training.volumes import task as volume_segmenter
from training.volumes.augment import block_shape, resample
from training.volumes.evaluate import OperatingPoint, views_of, without_specks
from training.volumes.export import USUAL_THRESHOLD, Answer, choose_smallest, choose_thresholds
from training.volumes.inputs import predict_volume, preprocessing_of
from training.volumes.task import Scans, VolumeSegmenterTask, centre_of, cut_block, shown_sequences

STILL = VolumeAugmentation(
    rotation_deg=0,
    tilt_deg=0,
    zoom=(1, 1),
    stretch=(1, 1),
    flip=0,
    gamma=0,
    brightness=0,
    noise=0,
    bias_field=0,
    elastic_mm=0,
    scaled=0,
    clipped=0,
    matched=0,
    coarse=0,
    cut=0,
)
CUBE = (8, 8, 8)
MM = (1.0, 1.0, 1.0)
THREE = np.array([True, True, False, True])


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test draws the same samples, on one thread."""
    torch.set_num_threads(1)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)


def test_a_stack_has_the_axes_of_the_patient() -> None:
    lowest = np.zeros((6, 5), np.float32)
    lowest[0, 0] = 1  # the face is up and the patient's left on the right: this is in front, to the right
    slices = [SequenceSlice({"flair": image}, image > 0, "p") for image in (lowest, np.zeros((6, 5), np.float32))]
    scan = stacked(slices)
    flair = scan.sequences["flair"]
    assert flair.grid.spacing_mm == (1.0, 1.0, STACK_COVERAGE_MM / 2)
    upright = Reorientation.of(flair.affine)
    # Right, anterior, superior.
    assert np.argwhere(upright.apply(flair.voxels)).tolist() == [[4, 5, 0]]
    assert np.argwhere(upright.apply(scan.regions[0])).tolist() == [[4, 5, 0]]


def test_slices_with_different_sequences_make_no_stack() -> None:
    image = np.zeros((4, 4), np.float32)
    slices = [SequenceSlice({name: image}, image > 0, "p7") for name in ("flair", "t1")]
    with pytest.raises(ValueError, match="p7"):
        stacked(slices)


def test_regions_are_nested() -> None:
    whole, core, enhancing = nested(np.array([0, 1, 2, 3], np.uint8).reshape(1, 1, 4))
    assert whole.ravel().tolist() == [False, True, True, True]
    assert core.ravel().tolist() == [False, True, False, True]
    assert enhancing.ravel().tolist() == [False, False, False, True]


def test_flair_alone_is_shown_as_often_as_asked_and_every_subset_at_times() -> None:
    settings = VolumeDropout(flair=0.3, single=0.1, subset=0.3)
    draws = [tuple(np.flatnonzero(shown_sequences(THREE, settings)).tolist()) for _ in range(3000)]
    assert set(draws) == {(0,), (1,), (3,), (0, 1), (0, 3), (1, 3), (0, 1, 3)}
    assert draws.count((0, 1, 3)) / 3000 == pytest.approx(0.3, abs=0.04)
    # FLAIR for itself, as a third of the single ones, and as a sixth of the subsets.
    assert draws.count((3,)) / 3000 == pytest.approx(0.3 + 0.1 / 3 + 0.3 / 6, abs=0.04)
    only = np.array([False, False, False, True])
    assert (shown_sequences(only, settings) == only).all()


def test_blocks_are_black_beyond_the_volume() -> None:
    volume = np.random.default_rng(1).integers(1, 255, (2, 7, 8, 9), np.uint8)
    block = cut_block(volume, np.array([0, 7, 4]), (6, 6, 6))
    padded = np.pad(volume, ((0, 0), (6, 6), (6, 6), (6, 6)))
    np.testing.assert_array_equal(block, padded[:, 3:9, 10:16, 7:13])


def test_the_middle_of_a_block_is_the_patch() -> None:
    blocks = torch.rand(2, 3, 12, 12, 12)
    patches = resample(blocks, CUBE, MM, STILL)
    torch.testing.assert_close(patches, blocks[..., 2:10, 2:10, 2:10], atol=1e-5, rtol=0)
    mirrored = resample(blocks, CUBE, MM, dataclasses.replace(STILL, flip=1))
    torch.testing.assert_close(mirrored, patches.flip(2), atol=1e-5, rtol=0)


def test_stretching_moves_things_from_feet_to_head_alone() -> None:
    ramps = torch.stack(torch.meshgrid(*[torch.arange(16.0) - 7.5] * 3, indexing="ij"))[None]
    right, anterior, superior = resample(ramps, CUBE, MM, dataclasses.replace(STILL, stretch=(2, 2)))[0]
    plain = torch.arange(8.0) - 3.5
    torch.testing.assert_close(right[:, 0, 0], plain, atol=1e-4, rtol=0)
    torch.testing.assert_close(anterior[0, :, 0], plain, atol=1e-4, rtol=0)
    torch.testing.assert_close(superior[0, 0, :], plain / 2, atol=1e-4, rtol=0)


def test_turns_are_turns_in_millimetres() -> None:
    spacing = (1.0, 2.0, 4.0)
    axes = [torch.arange(size) - (size - 1) / 2 for size in (40, 30, 8)]
    places = torch.stack(torch.meshgrid(*(mm * axis for mm, axis in zip(spacing, axes, strict=True)), indexing="ij"))
    turning = dataclasses.replace(STILL, rotation_deg=40)
    turned = resample(places[None].repeat(16, 1, 1, 1, 1), (12, 8, 4), spacing, turning)
    # A voxel to the right is 1 mm of the scan away, one to the front 2 mm, whatever the turn.
    for axis, mm in enumerate(spacing):
        step = turned.diff(dim=axis + 2).norm(dim=1)
        torch.testing.assert_close(step, torch.full_like(step, mm), atol=1e-3, rtol=0)
    assert float((turned[:, 1, -1] - turned[:, 1, 0]).abs().max()) > 1


def test_slices_stay_as_they_are_where_height_is_not_to_change() -> None:
    blocks = torch.rand(4, 1, 20, 20, 6)
    sharp = VolumeAugmentation(tilt_deg=0, stretch=None, gamma=0, brightness=0, noise=0, bias_field=0)
    levels = torch.arange(6.0).view(1, 1, 1, 1, 6).expand(4, 1, 20, 20, 6)
    moved = resample(torch.cat([blocks, levels], dim=1), (8, 8, 6), (1.5, 1.5, 8.0), sharp)
    torch.testing.assert_close(moved[:, 1, 3:5, 3:5], levels[:, 0, 3:5, 3:5], atol=1e-4, rtol=0)


@pytest.mark.parametrize("settings", [VolumeAugmentation(tilt_deg=0), VolumeAugmentation(tilt_deg=0, stretch=None)])
def test_no_patch_sees_beyond_its_block(settings: VolumeAugmentation) -> None:
    window = (24, 40, 12)
    blocks = torch.ones(400, 1, *block_shape(window, settings))
    # Half a voxel at the edge of the block fades.
    assert float((resample(blocks, window, MM, settings) > 0.49).float().mean()) > 0.999


def test_patches_stay_within_the_scan_nearly() -> None:
    scan = scan_of(1, 60)
    window = (32, 80, 16)
    centres = np.array([centre_of(scan, window, 0.5) for _ in range(500)])
    assert centres[:, 0].min() >= 16 - 2
    assert centres[:, 0].max() <= 44 + 2
    # Wider than the scan: centred over it, as a window is.
    assert abs(centres[:, 1] - 30).max() <= 5
    assert (centres[:, 2].min() < 12, centres[:, 2].max() > 44) == (True, True)


def test_turning_is_about_the_upright_axis() -> None:
    ramps = torch.stack(torch.meshgrid(*[torch.arange(16.0) - 7.5] * 3, indexing="ij"))[None].repeat(64, 1, 1, 1, 1)
    turned = resample(ramps, CUBE, MM, dataclasses.replace(STILL, rotation_deg=30))
    torch.testing.assert_close(turned[:, 2], resample(ramps, CUBE, MM, STILL)[:, 2], atol=1e-4, rtol=0)
    # A step to the right looks up a step of the same length, in a direction of its own for each patch.
    step = turned[:, :, 5, 4, 4] - turned[:, :, 4, 4, 4]
    torch.testing.assert_close(step.norm(dim=1), torch.ones(64), atol=1e-4, rtol=0)
    degrees = torch.rad2deg(torch.atan2(step[:, 1], step[:, 0]))
    assert 20 < float(degrees.abs().max()) < 30
    assert float(degrees.min()) < 0 < float(degrees.max())


def test_greys_stay_in_range_and_zero_settings_change_nothing() -> None:
    images = torch.rand(2, 4, 6, 6, 6)
    torch.testing.assert_close(change_greys(images, STILL), images, atol=2e-4, rtol=0)
    changed = change_greys(images, VolumeAugmentation(noise=0.5))
    assert 0 <= float(changed.min()) < float(changed.max()) <= 1
    assert not torch.allclose(changed, images, atol=0.01)


def test_what_is_unknown_teaches_nothing() -> None:
    logits = torch.randn(2, 3, 4, 4, 4, requires_grad=True)
    target = (torch.rand(2, 3, 4, 4, 4) > 0.5).float()
    known = torch.tensor([[1.0, 0, 0], [1, 1, 1]])
    partial_mask_loss(logits, target, known).backward()
    gradient = logits.grad
    assert gradient is not None
    assert float(gradient[0, 1:].abs().max()) == 0
    assert float(gradient[0, 0].abs().min()) > 0
    assert float(gradient[1].abs().min()) > 0


def test_one_known_region_is_the_loss_of_a_mask() -> None:
    logits, target = torch.randn(3, 3, 4, 4, 4), (torch.rand(3, 3, 4, 4, 4) > 0.5).float()
    known = torch.tensor([[1.0, 0, 0]]).repeat(3, 1)
    expected = mask_loss(logits[:, :1], target[:, :1])
    torch.testing.assert_close(partial_mask_loss(logits, target, known), expected)


def scan_of(regions: int, size: int = 20) -> PreparedScan:
    """A prepared scan whose FLAIR is its tumour."""
    region = np.zeros((regions, size, size, size), np.uint8)
    region[:, 12:16, 3:9, 10:18] = 255
    images = np.zeros((4, size, size, size), np.uint8)
    images[[0, 1]] = 40
    images[3] = region[0]
    return PreparedScan(images, region, np.argwhere(region[0] > 127))


def test_draws_keep_the_shares() -> None:
    found = Scans.of([scan_of(1), scan_of(3), scan_of(1)])
    assert (len(found.full), len(found.partial)) == (1, 2)
    full = [len(found.draw(0.25, 0.0).regions) == 3 for _ in range(2000)]
    assert np.mean(full) == pytest.approx(0.25, abs=0.04)
    assert len(Scans.of([scan_of(1)]).draw(1.0, 0.0).regions) == 1
    # Heads without tumour, made of all three.
    healthy = [found.draw(0.25, 0.4) in found.healthy for _ in range(2000)]
    assert len(found.healthy) == 3
    assert np.mean(healthy) == pytest.approx(0.4, abs=0.04)


def test_half_of_the_patches_lie_on_tumour() -> None:
    scan = scan_of(1, 60)
    centres = np.array([centre_of(scan, CUBE, 0.5) for _ in range(1000)])
    middle = scan.places.mean(axis=0)
    near = (np.abs(centres - middle) <= np.array([4, 5, 6])).all(axis=1)
    assert 0.42 < near.mean() < 0.58


def still_task(monkeypatch: pytest.MonkeyPatch, workspace: Path, *, dropout: VolumeDropout) -> VolumeSegmenterTask:
    """A task on one scan that knows every region, without random changes."""

    def read() -> LabelledScan:
        affine = np.diag([-4.0, -4.0, 4.0, 1.0])
        grey = np.random.default_rng(3).uniform(0.2, 1, (24, 26, 28)).astype(np.float32)
        tumour = np.zeros((3, 24, 26, 28), np.bool_)
        tumour[:, 4:12, 10:16, 6:20] = True
        flair = np.where(tumour[0], np.float32(1), grey / 50)
        return LabelledScan({"t1": Volume(grey, affine), "flair": Volume(flair, affine)}, tumour)

    monkeypatch.chdir(workspace)
    monkeypatch.setattr(volume_segmenter, "scans", lambda data, split: [Scan("one", "one", "x", {"still": 1}, read)])
    schedule = ScheduleConfig(phases=(Phase(16, 8, 4),))
    config = dataclasses.replace(
        ISOTROPIC_VOLUMES,
        width=2,
        spacing_mm=(4.0, 4.0, 4.0),
        in_plane=(16, 16),
        schedule=schedule,
        augmentation=STILL,
        dropout=dropout,
        tumour_share=1.0,
    )
    return VolumeSegmenterTask(config, workspace, "cpu")


@pytest.mark.parametrize("frozen", [True, False])
def test_the_slice_network_is_trained_where_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, frozen: bool
) -> None:
    plain = still_task(monkeypatch, tmp_path, dropout=VolumeDropout()).config
    config = dataclasses.replace(plain, architecture="slices-in-volume", width=4, frozen_slices=frozen)
    task = VolumeSegmenterTask(config, tmp_path, "cpu")
    trainer = Trainer(task, config.schedule, tmp_path / "run", "cpu", {})
    before = {name: value.clone() for name, value in task.model.state_dict().items()}
    for _ in range(2):
        trainer.step(config.schedule.phases[0])
    moved = {name for name, value in task.model.state_dict().items() if not torch.equal(before[name], value)}
    assert any(name.startswith("context.") for name in moved)
    assert any(name.startswith("inner.") for name in moved)
    assert any(name.startswith("slices.") for name in moved) is not frozen


def test_images_and_regions_move_together(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    task = still_task(monkeypatch, tmp_path, dropout=VolumeDropout(0, 0, 0))
    task.config = dataclasses.replace(task.config, augmentation=dataclasses.replace(STILL, rotation_deg=40, flip=0.5))
    images, regions, known = task.batch(Phase(16, 8, 4))
    assert images.shape == (4, 4, 16, 16, 16)
    assert regions.shape == (4, 3, 16, 16, 16)
    assert known.tolist() == [[1, 1, 1]] * 4
    torch.testing.assert_close(images[:, 3], regions[:, 0], atol=0.03, rtol=0)
    assert 0.1 < float(regions[:, 0].mean()) < 0.9


def test_hidden_sequences_are_black(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    task = still_task(monkeypatch, tmp_path, dropout=VolumeDropout(flair=1.0, single=0, subset=0))
    images, _, _ = task.batch(Phase(16, 8, 4))
    assert images.amax(dim=(0, 2, 3, 4)).gt(0).tolist() == [False, False, False, True]


def test_validation_scores_a_perfect_network_perfectly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Perfect(nn.Module):
        """FLAIR is the tumour."""

        def forward(self, volumes: Tensor) -> Tensor:
            """Certain everywhere."""
            return (volumes[:, 3:].repeat(1, 3, 1, 1, 1) - 0.5) * 40

    task = still_task(monkeypatch, tmp_path, dropout=VolumeDropout())
    assert task.validate(Perfect(), 16) == {
        "dice": 1.0, "dice_core": 1.0, "dice_enhancing": 1.0, "dice_flair": 1.0,
    }  # fmt: skip


def test_specks_go_and_tumours_stay() -> None:
    mask = np.zeros((10, 10, 10), np.bool_)
    mask[0, 0, 0] = True
    mask[4:7, 4:7, 4:7] = True
    mask[7, 7, 7] = True  # touches a corner
    cleaned = without_specks(mask, 0.01, 0.001)
    assert cleaned.sum() == 28
    assert not cleaned[0, 0, 0]
    np.testing.assert_array_equal(without_specks(mask, 0.0, 0.001), mask)


def test_masks_are_nested_on_the_own_grid() -> None:
    space = WorkingSpace.over(Grid((8, 8, 8), np.diag([-2.0, 2.0, 2.0, 1.0])), spacing_mm=2.0)
    probabilities = np.zeros((3, 8, 8, 8), np.float32)
    probabilities[0, :4] = 0.6
    probabilities[1, 2:6] = 0.6
    probabilities[2, :, :2] = 0.3
    point = OperatingPoint(
        preprocessing_of(dataclasses.asdict(ISOTROPIC_VOLUMES)), ("a", "b", "c"), (0.5, 0.5, 0.2), 0.0
    )
    whole, core, enhancing = point.masks(probabilities, space)
    # The first axis runs the other way in the scan.
    assert np.flatnonzero(whole.any(axis=(1, 2))).tolist() == [4, 5, 6, 7]
    assert np.flatnonzero(core.any(axis=(1, 2))).tolist() == [4, 5]
    assert np.flatnonzero(enhancing.any(axis=(0, 2))).tolist() == [0, 1]
    assert not (enhancing & ~core).any()
    larger = dataclasses.replace(point, smallest_component_ml=100.0)
    assert not larger.masks(probabilities, space).any()


def test_thresholds_are_the_best_of_what_is_known() -> None:
    true = np.zeros((1, 6, 6, 6), np.bool_)
    true[:, :3] = True
    probabilities = np.where(true, 0.42, 0.33).astype(np.float16)
    chosen = choose_thresholds([Answer(probabilities, true, 0.001)])
    assert chosen == (0.35, USUAL_THRESHOLD, USUAL_THRESHOLD)
    probabilities[0, 5, 5, 5] = 0.9
    by_smallest = choose_smallest([Answer(probabilities, true, 0.15)], 0.35)
    assert by_smallest[0.2] == 1.0 > by_smallest[0.1]


def test_views_are_all_that_is_there_and_flair_alone() -> None:
    assert views_of(["flair", "t1", "t1ce"]) == {
        "t1+t1ce+flair": ("t1", "t1ce", "flair"),
        "flair alone": ("flair",),
    }
    assert views_of(["t2"]) == {"t2": ("t2",)}


def test_windows_answer_for_every_voxel() -> None:
    tensor = np.random.default_rng(0).random((4, 21, 30, 17), np.float32)
    answer = predict_volume(lambda windows: windows[:, :3], tensor, (16, 16, 16), 0.5, 3)
    np.testing.assert_allclose(answer, tensor[:3], atol=1e-6)


def test_the_layout_suits_the_network_and_the_device() -> None:
    volumes, slices = nn.Sequential(nn.Conv3d(1, 1, 3)), nn.Sequential(nn.Conv2d(1, 1, 3))
    assert fast_layout(slices, torch.device("cpu")) == torch.channels_last
    assert fast_layout(volumes, torch.device("cpu")) == torch.contiguous_format
    assert fast_layout(volumes, torch.device("cuda")) == torch.channels_last_3d
