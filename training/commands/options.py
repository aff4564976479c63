"""Options that several commands have, how a group of them stands in one, and what commands print alike."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from rich.console import Console

from core.contracts.manifest import Metric
from training.config import ScheduleConfig

DataOption = Annotated[Path, typer.Option("--data", help="Folder with the data sets.", exists=True, file_okay=False)]
RunOption = Annotated[Path, typer.Option("--run", help="Run folder: checkpoints and history.")]
SplitOption = Annotated[str, typer.Option("--split", help="val while developing; test once, at the end.")]
DeviceOption = Annotated[str, typer.Option("--device", help="cpu or cuda.")]
ThreadsOption = Annotated[int, typer.Option("--threads", help="CPU threads; 0 leaves torch's own choice.")]

console = Console(soft_wrap=True, highlight=False)


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """What every training is told: its data, where it runs, what it begins from, and changes of the schedule."""

    data: DataOption
    device: DeviceOption = "cpu"
    threads: ThreadsOption = 0
    time_limit: Annotated[
        float | None, typer.Option("--time-limit", help="Minutes that the schedule is squeezed into.")
    ] = None
    scale: Annotated[float, typer.Option("--scale", help="Factor on the number of images of every phase.")] = 1.0
    bf16: Annotated[bool, typer.Option("--bf16", help="bfloat16 autocast: for CUDA and CPUs with AMX.")] = False
    start: Annotated[
        Path | None,
        typer.Option("--start-from", help="Run, shipped bundle or photograph network (.onnx) to begin from."),
    ] = None
    skip: Annotated[int, typer.Option("--skip", help="Phases of the schedule to leave out at its beginning.")] = 0
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", help="Peak of the cycle, if not the preset's.")
    ] = None
    seed: Annotated[
        int | None, typer.Option("--seed", help="Of everything random, if not the preset's: for a second of a kind.")
    ] = None

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


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """A command as typer reads it: its first parameter, a dataclass, becomes an option for each field."""
    first, *own = inspect.signature(command, eval_str=True).parameters.values()
    group = first.annotation
    hints = get_type_hints(group, include_extras=True)
    shared = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in dataclasses.fields(group)
    ]

    def flat(**values: Any) -> None:
        options = group(**{parameter.name: values.pop(parameter.name) for parameter in shared})
        command(options, **values)

    parameters = [*shared, *(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own)]
    flat.__name__, flat.__doc__ = command.__name__, command.__doc__
    flat.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    flat.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return flat


def use_threads(threads: int) -> None:
    """Let torch compute with so many threads; 0: as many as it likes."""
    # Imported when something is trained: torch takes seconds, and --help needs none of it.
    import torch

    if threads:
        torch.set_num_threads(threads)


@contextmanager
def refusing(option: str | None = None) -> Iterator[None]:
    """Say what is wrong with what was given, instead of where it was found."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


def print_metrics(metrics: Iterable[Metric]) -> None:
    """A line each."""
    for metric in metrics:
        interval = f"{metric.interval[0]:.3f} to {metric.interval[1]:.3f}" if metric.interval else ""
        where = f"{metric.split:5} {metric.data_set:24}"
        console.print(f"{metric.name:56} {where} {metric.value:.3f}  [{interval}]  n={metric.count}", markup=False)
