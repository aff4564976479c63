"""A training on the terminal: from a task to the end of its schedule, with its progress."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from torch import nn

from training.config import ClassifierConfig, SegmenterConfig, VolumeSegmenterConfig
from training.loop.checkpoints import Trained, load_trained
from training.loop.trainer import State, Task, Trainer
from training.networks.ensemble import AtOwnSize, Ensemble
from training.records import Kind


@dataclasses.dataclass(frozen=True)
class Origins:
    """Earlier runs that a training goes back to."""

    start: Path | None = None
    encoder: Path | None = None
    teachers: Sequence[Path] = ()

    def taught(self) -> nn.Module | None:
        """The trained networks of the teachers as one, or nothing without any."""
        members = [_as_teacher(load_trained(teacher)) for teacher in self.teachers]
        return Ensemble(members).eval() if members else None


def _as_teacher(trained: Trained) -> nn.Module:
    """A classifier sees slices at its own size; a segmenter outlines them on their own pixels."""
    if trained.kind == "classifier":
        return AtOwnSize(trained.model, trained.config["schedule"]["phases"][-1]["size"])
    return trained.model


def run_training(
    task: Task,
    kind: Kind,
    config: ClassifierConfig | SegmenterConfig | VolumeSegmenterConfig,
    run: Path,
    device: str,
    origins: Origins,
    console: Console,
) -> None:
    """Train to the end of the schedule, from the checkpoint in ``run`` where there is one."""
    about = {
        "kind": kind,
        "config": dataclasses.asdict(config),
        "start": str(origins.start) if origins.start else None,
        "encoder": str(origins.encoder) if origins.encoder else None,
        "teachers": [str(teacher) for teacher in origins.teachers],
    }
    trainer = Trainer(task, config.schedule, run, device, about, origins.start)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bar:
        line = bar.add_task(run.name, total=1.0)
        bar.update(line, completed=trainer.progress)

        def report(state: State, progress: float, figures: Mapping[str, float]) -> None:
            bar.update(line, completed=progress)
            shown = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
            console.print(f"{state.elapsed_s / 60:6.1f} min  {progress:5.1%}  {shown}")

        trainer.run(report)
