"""``python -m training train BASE``: a training from the command line, whatever the kind of model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from training.commands.options import DataOption, DeviceOption, ThreadsOption, console, refusing, use_threads
from training.config import (
    ClassifierConfig,
    ClassifierName,
    Config,
    Preset,
    PretrainedName,
    PretrainedSegmenterName,
    ScheduleConfig,
    SegmenterConfig,
    SegmenterName,
    VolumeSegmenterName,
)
from training.data.own import labels_in
from training.paper.presets import paper_classifier, paper_segmenter
from training.recipe import BASES, Base, Train

Architecture = Literal[ClassifierName, PretrainedName, SegmenterName, PretrainedSegmenterName, VolumeSegmenterName]
_VOLUMES: Final[tuple[Base, ...]] = ("volume-segmenter", "isotropic-volumes", "residual-volumes", "planes-of-volumes")
# Networks of volumes whose voxels and windows are those of another base.
_BASE_OF: Final[Mapping[str, Base]] = {
    BASES[base].architecture: base for base in _VOLUMES if base != "volume-segmenter"
}
# Options that only some bases have.
FITTING: Final[Mapping[str, tuple[Base, ...]]] = {
    "--width": ("classifier", "segmenter", *_VOLUMES),
    "--preset": ("classifier", "segmenter"),
    "--teacher": ("classifier", "segmenter"),
    "--multitask": ("classifier",),
    "--encoder": ("segmenter-teacher",),
    "--train-slices": _VOLUMES,
}


def check_fits(base: Base, architecture: str | None, given: Mapping[str, object]) -> None:
    """Raise ValueError for an option that the base does not have, or a network that starts from other weights."""
    for option, value in given.items():
        if value and base not in FITTING[option]:
            raise ValueError(f"{option} is for {', '.join(FITTING[option])}")
    asked, usual = (str(name).startswith("efficientnet-lite") for name in (architecture, BASES[base].architecture))
    if architecture and asked != usual:
        raise ValueError(f"{base} starts {'from ImageNet' if usual else 'from noise'}, {architecture} does not")


def configured(base: Base, changes: Mapping[str, Any], data: Path, preset: Preset) -> Config:
    """A base with ``changes``, on the labels of the data, by a preset. Raises ValueError for what it does not take."""
    config = Train(name=base, do="train", base=base, config=dict(changes)).configuration()
    if isinstance(config, ClassifierConfig):
        config = replace(config, labels=labels_in(data, config.labels))
    if preset == "paper":
        if isinstance(config, ClassifierConfig):
            return paper_classifier(config, data)
        if isinstance(config, SegmenterConfig):
            own = paper_segmenter(config, data)
            return replace(own, width=changes.get("width", own.width))
    return config


def train_command(
    base: Annotated[Base, typer.Argument(metavar="BASE", help="A model, or a teacher that one may learn from.")],
    data: DataOption,
    run: Annotated[Path | None, typer.Option("--run", help="Run folder; by default runs/BASE.")] = None,
    architecture: Annotated[
        Architecture | None, typer.Option("--architecture", help="Which network, if not the base's usual one.")
    ] = None,
    width: Annotated[
        int | None, typer.Option("--width", help="Channels of the first stage or level, if not the preset's.")
    ] = None,
    preset: Annotated[Preset, typer.Option("--preset", help="falx: ours; paper: as the paper trains.")] = "falx",
    teacher: Annotated[
        list[Path] | None, typer.Option("--teacher", help="Run of a teacher to learn from; several take turns.")
    ] = None,
    multitask: Annotated[
        bool, typer.Option("--multitask", help="Outline the tumour as well, from the same encoder, with class weights.")
    ] = False,
    encoder: Annotated[
        Path | None, typer.Option("--encoder", help="Run of a teacher of labels, like it, to begin with its encoder.")
    ] = None,
    train_slices: Annotated[
        bool, typer.Option("--train-slices", help="Train the slice network as well; else it stays as it began.")
    ] = False,
    start: Annotated[
        Path | None,
        typer.Option("--start-from", help="Run, shipped bundle or photograph network (.onnx) to begin from."),
    ] = None,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = 0,
    time_limit: Annotated[
        float | None, typer.Option("--time-limit", help="Minutes that the schedule is squeezed into.")
    ] = None,
    scale: Annotated[float, typer.Option("--scale", help="Factor on the number of images of every phase.")] = 1.0,
    bf16: Annotated[bool, typer.Option("--bf16", help="bfloat16 autocast: for CUDA and CPUs with AMX.")] = False,
    skip: Annotated[int, typer.Option("--skip", help="Phases of the schedule to leave out at its beginning.")] = 0,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", help="Peak of the cycle, if not the preset's.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Of everything random, if not the preset's: for a second of a kind.")
    ] = None,
) -> None:
    """Train a model; an interrupted run continues where it stopped."""
    from training.loop.running import Origins, run_training

    run = run or Path("runs", base)
    if base == "volume-segmenter" and architecture is not None:
        base = _BASE_OF.get(architecture, base)
    own = {"--width": width, "--preset": preset == "paper", "--teacher": teacher, "--multitask": multitask}
    changes = given(architecture=architecture, width=width)
    changes |= {"multitask": True, "class_weights": True} if multitask else {}
    changes |= {"frozen_slices": False} if train_slices else {}
    with refusing():
        check_fits(base, architecture, own | {"--encoder": encoder, "--train-slices": train_slices})
        config = configured(base, changes, data, preset)
    schedule = shortened(config.schedule, skip, scale)
    told = given(bfloat16=bf16, learning_rate=learning_rate, seed=seed, time_limit_min=time_limit)
    config = replace(config, schedule=replace(schedule, **told))
    use_threads(threads)
    run_training(config, data, run, device, Origins(start, encoder, teacher or ()), console)


def given(**options: object) -> dict[str, Any]:
    """Those that were given."""
    return {name: value for name, value in options.items() if value is not None}


def shortened(schedule: ScheduleConfig, skip: int, scale: float) -> ScheduleConfig:
    """A schedule without its first ``skip`` phases, the others with ``scale`` times the images."""
    phases = (replace(phase, images=max(phase.batch, round(phase.images * scale))) for phase in schedule.phases[skip:])
    return replace(schedule, phases=tuple(phases))
