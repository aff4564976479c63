"""The preset ``paper``: training as "Brain Tumor Classification and Segmentation Using Deep Learning" describes it.

The paper states the kinds of augmentation, 50 epochs, batches of 32 and 4, Dice loss for masks, inputs of 224 and 256.
What it leaves open is chosen here: Adam at a constant 1e-3 without averaging or decay, and for the classifiers the
ranges of zoom, shear and brightness. The preset ``falx`` is the default of each configuration and needs no code.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from training.config import Augmentation, ClassifierConfig, Phase, ScheduleConfig, SegmenterConfig, SequenceDropout
from training.data.labelled import slice_rows
from training.data.outlined import lgg_rows, outlined_rows

EPOCHS = 50
# No change but those that a preset names.
_STILL = Augmentation(rotation_deg=0, zoom=(1, 1), shift=0, flip=0, gamma=0, brightness=0, noise=0)


def _schedule(size: int, batch: int, epoch_images: int) -> ScheduleConfig:
    return ScheduleConfig(
        phases=(Phase(size, EPOCHS * epoch_images, batch),),
        learning_rate=1e-3,
        constant_rate=True,
        # AdamW without decay is Adam; an average over no earlier step is the network itself.
        weight_decay=0.0,
        ema_decay=0.0,
        clip_norm=float("inf"),
        epoch_images=epoch_images,
    )


def paper_classifier(config: ClassifierConfig, data: Path) -> ClassifierConfig:
    """``config`` trained as the paper trains its classifiers; an epoch is every slice of ``train`` once on average."""
    return replace(
        config,
        preset="paper",
        schedule=_schedule(224, 32, len(slice_rows(data, "train", config.labels))),
        augmentation=replace(
            _STILL, rotation_deg=30, zoom=(0.9, 1.1), flip=0.5, flip_vertical=0.5, shear_deg=10, brightness=0.1
        ),
        label_smoothing=0.0,
        mix=0.0,
        balanced=False,
        # Its classifiers learn no mask but where they are trained jointly.
        mask_weight=1.0 if config.multitask else 0.0,
        evidence_weight=0.0,
    )


def paper_segmenter(config: SegmenterConfig, data: Path) -> SegmenterConfig:
    """``config`` trained as the paper trains its segmenters, on the data sets there are here.

    A random crop of 90 % to all of the side is a zoom of at most 1.1 together with a shift of at most 5 %.
    """
    return replace(
        config,
        preset="paper",
        width=32,
        schedule=_schedule(256, 4, len(lgg_rows(data, "train")) + len(outlined_rows(data, "train"))),
        augmentation=replace(_STILL, rotation_deg=10, zoom=(0.9, 1.1), shift=0.05, flip=0.5, flip_vertical=0.5),
        mixture=replace(config.mixture, healthy=0.0),
        dropout=SequenceDropout(single=0.0, subset=0.0),
        loss="dice",
    )
