"""A training on the terminal: from a task to the end of its schedule, with its progress."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from torch import nn

from training.config import Config
from training.kinds import kind_named
from training.loop.checkpoints import load_trained
from training.loop.trainer import State, Trainer
from training.networks.together import InTurns


@dataclass(frozen=True)
class Origins:
    """Earlier runs that a training goes back to."""

    start: Path | None = None
    encoder: Path | None = None
    teachers: Sequence[Path] = ()

    def taught(self) -> nn.Module | None:
        """The trained networks of the teachers, who take turns, or nothing without any."""
        found = [load_trained(teacher) for teacher in self.teachers]
        return InTurns([trained.kind.as_teacher(trained) for trained in found]).eval() if found else None


def run_training(config: Config, data: Path, run: Path, device: str, origins: Origins, console: Console) -> None:
    """Train to the end of the schedule, from the checkpoint in ``run`` where there is one."""
    task = kind_named(config.kind).training(config, data, device, origins)
    about = {
        "kind": config.kind,
        "config": asdict(config),
        "start": str(origins.start) if origins.start else None,
        "encoder": str(origins.encoder) if origins.encoder else None,
        "teachers": [str(teacher) for teacher in origins.teachers],
    }
    trainer = Trainer(task, config.schedule, run, device, about, origins.start)
    percentage = TextColumn("{task.percentage:>3.0f}%")
    columns = (TextColumn("{task.description}"), BarColumn(), percentage, TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        line = bar.add_task(run.name, total=1.0)
        bar.update(line, completed=trainer.progress)

        def report(state: State, progress: float, figures: Mapping[str, float]) -> None:
            bar.update(line, completed=progress)
            shown = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
            console.print(f"{state.elapsed_s / 60:6.1f} min  {progress:5.1%}  {shown}")

        trainer.run(report)
