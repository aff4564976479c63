"""Command line: train, evaluate, export, quantise and bundle."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from training.classification.task import ClassifierTask
from training.commands.audit import audit_command
from training.commands.average import average_command
from training.commands.combine import combine_command, second_reader_command
from training.commands.controls import controls_command
from training.commands.label_set import label_set_command
from training.commands.make import card_command, make_command
from training.commands.report import report_command
from training.commands.split import split_command
from training.commands.trust import trust_command
from training.config import (
    ISOTROPIC_VOLUMES,
    SEGMENTER_TEACHER,
    TEACHER,
    ClassifierConfig,
    ClassifierName,
    Preset,
    PretrainedName,
    PretrainedSegmenterName,
    ScheduleConfig,
    SegmenterConfig,
    SegmenterName,
    VolumeSegmenterConfig,
    VolumeSegmenterName,
)
from training.data.own import labels_in
from training.loop.checkpoints import load_trained
from training.loop.running import Origins, run_training
from training.networks.lite_unet import LiteUNet
from training.paper.presets import paper_classifier, paper_segmenter
from training.segmentation.task import SegmenterTask
from training.volumes.task import VolumeSegmenterTask

app = typer.Typer(no_args_is_help=True, help="Train, evaluate and export the models that Falx serves.")
train_app = typer.Typer(no_args_is_help=True, help="Train a model; an interrupted run continues where it stopped.")
app.add_typer(train_app, name="train")
app.command("audit")(audit_command)
app.command("average")(average_command)
app.command("combine")(combine_command)
app.command("second-reader")(second_reader_command)
app.command("make")(make_command)
app.command("card")(card_command)
app.command("label-set")(label_set_command)
app.command("split")(split_command)
app.command("controls")(controls_command)
app.command("trust")(trust_command)
app.command("report")(report_command)
console = Console()

DataOption = Annotated[Path, typer.Option("--data", help="Folder with the data sets.", exists=True, file_okay=False)]
RunOption = Annotated[Path, typer.Option("--run", help="Run folder: checkpoints and history.")]
DeviceOption = Annotated[str, typer.Option("--device", help="cpu or cuda.")]
ThreadsOption = Annotated[int, typer.Option("--threads", help="CPU threads; 0 leaves torch's own choice.")]
EncoderOption = Annotated[
    Path | None, typer.Option("--encoder", help="Run of a fine-tuned teacher of labels, whose encoder to begin with.")
]
LimitOption = Annotated[float | None, typer.Option("--time-limit", help="Minutes that the schedule is squeezed into.")]
Bf16Option = Annotated[bool, typer.Option("--bf16", help="bfloat16 autocast: for CUDA and CPUs with AMX.")]
SizeOption = Annotated[list[int] | None, typer.Option("--size", help="Input sizes to choose from on validation.")]
SplitOption = Annotated[str, typer.Option("--split", help="val while developing; test once, at the end.")]
ShareOption = Annotated[float, typer.Option("--scale", help="Factor on the number of images of every phase.")]
StartOption = Annotated[
    Path | None, typer.Option("--start-from", help="Run, shipped bundle or photograph network (.onnx) to begin from.")
]
SkipOption = Annotated[int, typer.Option("--skip", help="Phases of the schedule to leave out at its beginning.")]
TeacherOption = Annotated[
    list[Path] | None,
    typer.Option("--teacher", help="Run of a fine-tuned teacher to learn from; several are averaged."),
]
OutOption = Annotated[Path | None, typer.Option("--out", help="Folder for the figures; by default the run.")]
LabelSetOption = Annotated[str | None, typer.Option("--label-set", help="Score these labels alone.")]
WidthOption = Annotated[
    int, typer.Option("--width", help="Channels of the first stage; 64 is the published network, others in proportion.")
]
UNetWidthOption = Annotated[
    int | None, typer.Option("--width", help="Channels of the first level, if not the preset's.")
]
PresetOption = Annotated[Preset, typer.Option("--preset", help="falx: ours; paper: as the paper trains.")]
ClassifierOption = Annotated[ClassifierName, typer.Option("--architecture", help="Which network.")]
PretrainedOption = Annotated[PretrainedName, typer.Option("--architecture", help="Which network.")]
PretrainedSegmenterOption = Annotated[
    PretrainedSegmenterName, typer.Option("--architecture", help="Which network; --encoder must be a run of the same.")
]
SegmenterOption = Annotated[SegmenterName, typer.Option("--architecture", help="Which network.")]
VolumeSegmenterOption = Annotated[VolumeSegmenterName, typer.Option("--architecture", help="Which network.")]
TrainSlicesOption = Annotated[
    bool, typer.Option("--train-slices", help="Train the slice network as well; else it stays as it began.")
]
MultitaskOption = Annotated[
    bool, typer.Option("--multitask", help="Outline the tumour as well, from the same encoder, with class weights.")
]
RateOption = Annotated[float | None, typer.Option("--learning-rate", help="Peak of the cycle, if not the preset's.")]


SeedOption = Annotated[
    int | None, typer.Option("--seed", help="Of everything random, if not the preset's: for a second of a kind.")
]


@dataclasses.dataclass(frozen=True)
class ScheduleOptions:
    """What the command line changes of a preset's schedule."""

    time_limit: float | None
    scale: float
    bf16: bool
    skip: int
    learning_rate: float | None
    seed: int | None = None

    def applied_to(self, preset: ScheduleConfig) -> ScheduleConfig:
        """The schedule to run."""
        phases = tuple(
            dataclasses.replace(phase, images=max(phase.batch, round(phase.images * self.scale)))
            for phase in preset.phases[self.skip :]
        )
        return dataclasses.replace(
            preset,
            phases=phases,
            time_limit_min=self.time_limit,
            bfloat16=self.bf16,
            learning_rate=self.learning_rate or preset.learning_rate,
            seed=preset.seed if self.seed is None else self.seed,
        )


def _use_threads(threads: int) -> None:
    if threads:
        torch.set_num_threads(threads)


@train_app.command("classifier")
def train_classifier(
    data: DataOption,
    run: RunOption = Path("runs/classifier"),
    device: DeviceOption = "cpu",
    threads: ThreadsOption = 0,
    time_limit: LimitOption = None,
    scale: ShareOption = 1.0,
    bf16: Bf16Option = False,
    start: StartOption = None,
    skip: SkipOption = 0,
    learning_rate: RateOption = None,
    width: WidthOption = 64,
    teacher: TeacherOption = None,
    architecture: ClassifierOption = "resnet50",
    preset: PresetOption = "falx",
    multitask: MultitaskOption = False,
) -> None:
    """A classifier on the labelled slices, with or without teachers' answers as targets."""
    _use_threads(threads)
    config = ClassifierConfig()
    config = dataclasses.replace(config, labels=labels_in(data, config.labels), architecture=architecture, width=width)
    config = dataclasses.replace(config, multitask=multitask, class_weights=multitask)
    if preset == "paper":
        config = paper_classifier(config, data)
    options = ScheduleOptions(time_limit, scale, bf16, skip, learning_rate)
    config = dataclasses.replace(config, schedule=options.applied_to(config.schedule))
    origins = Origins(start, teachers=teacher or ())
    task = ClassifierTask(config, data, device, origins.taught())
    run_training(task, "classifier", config, run, device, origins, console)


@train_app.command("teacher")
def train_teacher(
    data: DataOption,
    run: RunOption = Path("runs/teacher"),
    device: DeviceOption = "cpu",
    threads: ThreadsOption = 0,
    time_limit: LimitOption = None,
    scale: ShareOption = 1.0,
    bf16: Bf16Option = False,
    start: StartOption = None,
    learning_rate: RateOption = None,
    architecture: PretrainedOption = "efficientnet-lite2",
    seed: SeedOption = None,
) -> None:
    """EfficientNet-Lite from ImageNet on the labelled slices: what the classifier may learn from, and stand beside."""
    _use_threads(threads)
    options = ScheduleOptions(time_limit, scale, bf16, skip=0, learning_rate=learning_rate, seed=seed)
    labels, schedule = labels_in(data, TEACHER.labels), options.applied_to(TEACHER.schedule)
    config = dataclasses.replace(TEACHER, labels=labels, architecture=architecture, schedule=schedule)
    run_training(ClassifierTask(config, data, device), "classifier", config, run, device, Origins(start), console)


@train_app.command("segmenter")
def train_segmenter(
    data: DataOption,
    run: RunOption = Path("runs/segmenter"),
    device: DeviceOption = "cpu",
    threads: ThreadsOption = 0,
    time_limit: LimitOption = None,
    scale: ShareOption = 1.0,
    bf16: Bf16Option = False,
    start: StartOption = None,
    skip: SkipOption = 0,
    learning_rate: RateOption = None,
    width: UNetWidthOption = None,
    teacher: TeacherOption = None,
    architecture: SegmenterOption = "unet",
    preset: PresetOption = "falx",
) -> None:
    """A segmenter on LGG, Figshare outlines and BraTS slices, with or without teachers' answers as targets."""
    _use_threads(threads)
    config = dataclasses.replace(SegmenterConfig(), architecture=architecture)
    if preset == "paper":
        config = paper_segmenter(config, data)
    options = ScheduleOptions(time_limit, scale, bf16, skip, learning_rate)
    schedule = options.applied_to(config.schedule)
    config = dataclasses.replace(config, width=width or config.width, schedule=schedule)
    origins = Origins(start, teachers=teacher or ())
    task = SegmenterTask(config, data, device, origins.taught())
    run_training(task, "segmenter", config, run, device, origins, console)


@train_app.command("segmenter-teacher")
def train_segmenter_teacher(
    data: DataOption,
    run: RunOption = Path("runs/segmenter-teacher"),
    device: DeviceOption = "cpu",
    threads: ThreadsOption = 0,
    time_limit: LimitOption = None,
    scale: ShareOption = 1.0,
    bf16: Bf16Option = False,
    encoder: EncoderOption = None,
    start: StartOption = None,
    skip: SkipOption = 0,
    learning_rate: RateOption = None,
    architecture: PretrainedSegmenterOption = "efficientnet-lite2-unet",
) -> None:
    """U-Net whose encoder is an EfficientNet-Lite from ImageNet: to learn from, and to stand beside the classic one."""
    _use_threads(threads)
    options = ScheduleOptions(time_limit, scale, bf16, skip, learning_rate)
    schedule = options.applied_to(SEGMENTER_TEACHER.schedule)
    config = dataclasses.replace(SEGMENTER_TEACHER, architecture=architecture, schedule=schedule)
    task = SegmenterTask(config, data, device)
    if encoder:
        assert isinstance(task.model, LiteUNet)
        task.model.take_encoder(load_trained(encoder).model.state_dict())
    run_training(task, "segmenter", config, run, device, Origins(start, encoder), console)


@train_app.command("volume-segmenter")
def train_volume_segmenter(
    data: DataOption,
    run: RunOption = Path("runs/volume-segmenter"),
    device: DeviceOption = "cpu",
    threads: ThreadsOption = 0,
    time_limit: LimitOption = None,
    scale: ShareOption = 1.0,
    bf16: Bf16Option = False,
    start: StartOption = None,
    skip: SkipOption = 0,
    learning_rate: RateOption = None,
    width: UNetWidthOption = None,
    architecture: VolumeSegmenterOption = "slices-in-volume",
    train_slices: TrainSlicesOption = False,
) -> None:
    """A segmenter of volumes on stacks of LGG slices (whole tumour) and BraTS cases (every region)."""
    _use_threads(threads)
    preset = ISOTROPIC_VOLUMES if architecture == "residual-attention-unet-3d" else VolumeSegmenterConfig()
    options = ScheduleOptions(time_limit, scale, bf16, skip, learning_rate)
    config = dataclasses.replace(
        preset,
        width=width or preset.width,
        frozen_slices=preset.frozen_slices and not train_slices,
        schedule=options.applied_to(preset.schedule),
    )
    task = VolumeSegmenterTask(config, data, device)
    run_training(task, "volume-segmenter", config, run, device, Origins(start), console)


@app.command("export")
def export_command(data: DataOption, run: RunOption, size: SizeOption = None) -> None:
    """Write model.onnx: calibrated, every output in one graph, checked against torch."""
    from training.bundle.export import export_run

    record = export_run(run, data, tuple(size) if size else None)
    console.print(
        f"parity with torch {record.parity:.1e} (allowed 1e-4), rounding to fp16 moves outputs {record.rounding:.1e}"
    )
    console.print_json(record.model_dump_json())


@app.command("quantize")
def quantize_command(data: DataOption, run: RunOption) -> None:
    """Write model.int8.onnx and compare it with the reference on validation."""
    from training.bundle.quantize import NothingToGainError, quantise_run

    try:
        console.print_json(quantise_run(run, data).model_dump_json())
    except NothingToGainError as error:
        console.print(str(error), markup=False)


@app.command("evaluate")
def evaluate_command(
    data: DataOption,
    run: RunOption,
    split: SplitOption = "val",
    out: OutOption = None,
    label_set: LabelSetOption = None,
) -> None:
    """Score the exported graphs of a run or bundle on a split, with intervals over patients."""
    from training.evaluation.evaluate import evaluate_run

    result = evaluate_run(run, data, split, out, label_set)
    for metric in result.reference:
        interval = f"{metric.interval[0]:.3f} to {metric.interval[1]:.3f}" if metric.interval else ""
        console.print(f"{metric.name:52} {metric.data_set:22} {metric.value:.3f}  [{interval}]  n={metric.count}")


@app.command("bundle")
def bundle_command(
    run: RunOption,
    out: Annotated[Path, typer.Option("--out", help="Folder of model bundles.")] = Path("models"),
    version: Annotated[str, typer.Option("--version", help="Version of the bundle.")] = "1",
    label_set: Annotated[str | None, typer.Option("--label-set", help="Write this bundle alone.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="The bundle's name, if not its kind's usual one.")] = None,
    recipe: Annotated[str | None, typer.Option("--recipe", help="What is to be said of it; else nothing is.")] = None,
) -> None:
    """Write NAME/VERSION with graphs, manifest and card."""
    from training.bundle.bundle import Made, bundle_run
    from training.recipe import read_recipe

    made = Made(read_recipe(recipe) if recipe else None, recipe, name, version)
    for folder in bundle_run(run, out, made, label_set):
        console.print(str(folder))
