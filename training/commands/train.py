"""``python -m training train``: one command for each kind of model, and for each kind of teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from training.commands.options import RunOption, TrainOptions, console, use_threads, with_options
from training.config import (
    ISOTROPIC_VOLUMES,
    SEGMENTER_TEACHER,
    TEACHER,
    ClassifierConfig,
    ClassifierName,
    Config,
    Preset,
    PretrainedName,
    PretrainedSegmenterName,
    SegmenterConfig,
    SegmenterName,
    VolumeSegmenterConfig,
    VolumeSegmenterName,
)
from training.data.own import labels_in

train_app = typer.Typer(no_args_is_help=True, help="Train a model; an interrupted run continues where it stopped.")

ARCHITECTURE = typer.Option("--architecture", help="Which network.")
TeacherOption = Annotated[
    list[Path] | None,
    typer.Option("--teacher", help="Run of a fine-tuned teacher to learn from; several are averaged."),
]
PresetOption = Annotated[Preset, typer.Option("--preset", help="falx: ours; paper: as the paper trains.")]
WidthOption = Annotated[int | None, typer.Option("--width", help="Channels of the first level, if not the preset's.")]


def _train(
    config: Config,
    options: TrainOptions,
    run: Path,
    teachers: Sequence[Path] | None = None,
    encoder: Path | None = None,
) -> None:
    from training.loop.running import Origins, run_training

    use_threads(options.threads)
    config = replace(config, schedule=options.applied_to(config.schedule))
    origins = Origins(options.start, encoder, teachers or ())
    run_training(config, options.data, run, options.device, origins, console)


@train_app.command("classifier")
@with_options
def train_classifier(
    options: TrainOptions,
    run: RunOption = Path("runs/classifier"),
    width: Annotated[
        int,
        typer.Option("--width", help="Channels of the first stage; 64 is the published network, others in proportion."),
    ] = 64,
    teacher: TeacherOption = None,
    architecture: Annotated[ClassifierName, ARCHITECTURE] = "resnet50",
    preset: PresetOption = "falx",
    multitask: Annotated[
        bool, typer.Option("--multitask", help="Outline the tumour as well, from the same encoder, with class weights.")
    ] = False,
) -> None:
    """A classifier on the labelled slices, with or without teachers' answers as targets."""
    config = replace(
        ClassifierConfig(), architecture=architecture, width=width, multitask=multitask, class_weights=multitask
    )
    config = replace(config, labels=labels_in(options.data, config.labels))
    if preset == "paper":
        from training.paper.presets import paper_classifier

        config = paper_classifier(config, options.data)
    _train(config, options, run, teacher)


@train_app.command("teacher")
@with_options
def train_teacher(
    options: TrainOptions,
    run: RunOption = Path("runs/teacher"),
    architecture: Annotated[PretrainedName, ARCHITECTURE] = "efficientnet-lite2",
) -> None:
    """EfficientNet-Lite from ImageNet on the labelled slices: what the classifier may learn from, and stand beside."""
    labels = labels_in(options.data, TEACHER.labels)
    _train(replace(TEACHER, architecture=architecture, labels=labels), options, run)


@train_app.command("segmenter")
@with_options
def train_segmenter(
    options: TrainOptions,
    run: RunOption = Path("runs/segmenter"),
    width: WidthOption = None,
    teacher: TeacherOption = None,
    architecture: Annotated[SegmenterName, ARCHITECTURE] = "unet",
    preset: PresetOption = "falx",
) -> None:
    """A segmenter on LGG, Figshare outlines and BraTS slices, with or without teachers' answers as targets."""
    config = replace(SegmenterConfig(), architecture=architecture)
    if preset == "paper":
        from training.paper.presets import paper_segmenter

        config = paper_segmenter(config, options.data)
    _train(replace(config, width=width or config.width), options, run, teacher)


@train_app.command("segmenter-teacher")
@with_options
def train_segmenter_teacher(
    options: TrainOptions,
    run: RunOption = Path("runs/segmenter-teacher"),
    encoder: Annotated[
        Path | None, typer.Option("--encoder", help="Run of a fine-tuned teacher of labels, to begin with its encoder.")
    ] = None,
    architecture: Annotated[
        PretrainedSegmenterName,
        typer.Option("--architecture", help="Which network; --encoder must be a run of the same."),
    ] = "efficientnet-lite2-unet",
) -> None:
    """U-Net whose encoder is an EfficientNet-Lite from ImageNet: to learn from, and to stand beside the classic one."""
    _train(replace(SEGMENTER_TEACHER, architecture=architecture), options, run, encoder=encoder)


@train_app.command("volume-segmenter")
@with_options
def train_volume_segmenter(
    options: TrainOptions,
    run: RunOption = Path("runs/volume-segmenter"),
    width: WidthOption = None,
    architecture: Annotated[VolumeSegmenterName, ARCHITECTURE] = "slices-in-volume",
    train_slices: Annotated[
        bool, typer.Option("--train-slices", help="Train the slice network as well; else it stays as it began.")
    ] = False,
) -> None:
    """A segmenter of volumes on stacks of LGG slices (whole tumour) and BraTS cases (every region)."""
    preset = ISOTROPIC_VOLUMES if architecture == "residual-attention-unet-3d" else VolumeSegmenterConfig()
    frozen = preset.frozen_slices and not train_slices
    _train(replace(preset, width=width or preset.width, frozen_slices=frozen), options, run)
