"""The paper's way of training: its epochs, its augmentation, its losses, and weights for two tasks."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from training.classification.task import ClassifierTask, class_weights, label_shares
from training.config import Augmentation, ClassifierConfig, Phase, SegmenterConfig
from training.loop.augment import resample
from training.loop.losses import soft_dice_loss
from training.loop.schedule import learning_rate_at
from training.loop.trainer import Trainer
from training.paper.presets import paper_classifier, paper_segmenter
from training.segmentation.task import SegmenterTask

STILL = Augmentation(rotation_deg=0, zoom=(1, 1), shift=0, flip=0, gamma=0, brightness=0, noise=0)
TINY = ClassifierConfig(width=8, multitask=True, class_weights=True)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test draws the same samples."""
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)


def test_fifty_epochs_of_the_slices_there_are(data: Path) -> None:
    classifier = paper_classifier(ClassifierConfig(), data).schedule
    # 24 slices of four labels; the CT head is left out.
    assert (classifier.phases, classifier.epoch_images) == ((Phase(224, 50 * 24, 32),), 24)
    segmenter = paper_segmenter(SegmenterConfig(), data).schedule
    # 9 LGG slices and 18 outlined ones.
    assert (segmenter.phases, segmenter.epoch_images) == ((Phase(256, 50 * 27, 4),), 27)
    for schedule in (classifier, segmenter):
        assert {learning_rate_at(schedule, progress) for progress in (0.0, 0.04, 0.5, 1.0)} == {1e-3}


@pytest.mark.usefixtures("in_workspace")
def test_the_optimiser_is_plain_adam(data: Path, tmp_path: Path) -> None:
    config = paper_classifier(ClassifierConfig(width=8), data)
    task = ClassifierTask(config, data, "cpu")
    ours, theirs = Trainer(task, config.schedule, tmp_path, "cpu", {}), ClassifierTask(config, data, "cpu").model
    adam = torch.optim.Adam(theirs.parameters(), lr=1e-3)
    phase = Phase(64, 8, 8)
    for step in range(2):
        np.random.seed(step)  # noqa: NPY002
        torch.manual_seed(step)
        ours.step(phase)
        np.random.seed(step)  # noqa: NPY002
        torch.manual_seed(step)
        images, *targets = task.batch(phase)
        adam.zero_grad()
        task.loss(theirs.train()(images.contiguous(memory_format=torch.channels_last)), tuple(targets)).backward()
        adam.step()
    # What validation and export see is the network as it stands, not an average.
    averaged = ours.averaged().state_dict()
    for name, value in theirs.state_dict().items():
        # Adam steps by the sign of a gradient at first, and rounding decides that of the few that are next to zero.
        elsewhere = (averaged[name] - value).abs() > 1e-4
        assert float(elsewhere.float().mean()) < 0.05, name


def test_images_lean_and_stand_on_their_heads_only_when_asked() -> None:
    images = torch.zeros(64, 1, 64, 64)
    images[:, :, 8:16, 30:34] = 1
    turned = resample(images, dataclasses.replace(STILL, flip_vertical=0.5))
    below = (turned[:, 0, 32:].sum(dim=(1, 2)) > 0).float().mean()
    assert float(below) == pytest.approx(0.5, abs=0.2)
    assert not resample(images, STILL)[:, 0, 32:].any()
    leaning = resample(images, dataclasses.replace(STILL, shear_deg=30))
    columns = torch.arange(64).float()
    centres = (leaning[:, 0].sum(dim=1) * columns).sum(dim=1) / leaning[:, 0].sum(dim=(1, 2))
    rows = (leaning[:, 0].sum(dim=2) * columns).sum(dim=1) / leaning[:, 0].sum(dim=(1, 2))
    # Twenty rows above the centre: at thirty degrees up to 11.5 pixels aside, and never up or down.
    assert 4 < float((centres - 31.5).abs().max()) <= 12
    torch.testing.assert_close(rows, torch.full_like(rows, 11.5), atol=0.1, rtol=0)


@pytest.mark.usefixtures("in_workspace")
def test_segmenters_learn_from_dice_alone(data: Path) -> None:
    config = dataclasses.replace(paper_segmenter(SegmenterConfig(), data), width=4)
    task = SegmenterTask(config, data, "cpu")
    images, masks = task.batch(Phase(64, 16, 16))
    # Nothing is hidden, so the three sequences of every LGG slice are there.
    assert {int(n) for n in (images.amax(dim=(2, 3)) > 0).sum(dim=1)} == {1, 3}
    logits = torch.randn_like(masks)
    expected = soft_dice_loss(torch.sigmoid(logits), masks)
    torch.testing.assert_close(task.loss(logits, (masks,)), expected)
    ours = SegmenterTask(SegmenterConfig(width=4), data, "cpu")
    assert float(ours.loss(logits, (masks,))) > float(expected)


def test_weights_undo_how_often_labels_are_drawn() -> None:
    counts = np.array([400, 100, 0])
    for balanced, shares in ((False, [0.8, 0.2, 0.0]), (True, [2 / 3, 1 / 3, 0.0])):
        np.testing.assert_allclose(label_shares(counts, balanced=balanced), shares)
        weights = class_weights(counts, balanced=balanced)
        np.testing.assert_allclose(weights * np.array(shares), [0.5, 0.5, 0.0], rtol=1e-6)


@pytest.mark.usefixtures("in_workspace")
def test_two_tasks_learn_from_whole_masks(data: Path) -> None:
    task = ClassifierTask(TINY, data, "cpu")
    images, *targets = task.batch(Phase(64, 16, 16))
    labels, masks, has_mask = targets
    assert masks.shape == images.shape
    output = task.model(images)
    assert output.mask_logits.shape == masks.shape
    loss = task.loss(output, (labels, masks, has_mask))
    loss.backward()
    assert task.model.decoder.head.weight.grad.abs().sum() > 0
    # Masks count even where the labels are the same.
    assert float(task.loss(output, (labels, 1 - masks, has_mask)).detach()) > float(loss.detach())
    assert 0 <= task.validate(task.model.eval(), 64)["dice"] <= 1


@pytest.mark.usefixtures("in_workspace")
def test_the_paper_teaches_masks_only_where_they_are_asked_for(data: Path) -> None:
    task = ClassifierTask(paper_classifier(ClassifierConfig(width=8), data), data, "cpu")
    images, *targets = task.batch(Phase(64, 8, 8))
    task.loss(task.model(images), tuple(targets)).backward()
    assert task.model.mask_head.weight.grad is None
    assert paper_classifier(TINY, data).mask_weight == 1
