"""Training curves out of run folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from core.contracts.manifest import Manifest
from training.loop.trainer import CHECKPOINT
from training.report.page import Section
from training.report.scored import made_from
from training.report.style import GREY, PALETTE, figure

# What a history holds beside the figures on validation.
_OF_THE_LOOP: Final = frozenset({"images", "size", "speed", "loss", "minutes"})


@dataclass(frozen=True)
class Curves:
    """A run's history, one entry an epoch; ``bundle`` is NAME/VERSION where the run's graph is a shipped one."""

    name: str
    history: tuple[dict[str, float], ...]
    bundle: str | None

    @property
    def figures(self) -> tuple[str, ...]:
        """Names of the figures on validation."""
        return tuple(name for name in self.history[0] if name not in _OF_THE_LOOP)


def read_curves(run: Path, manifests: Sequence[Manifest]) -> Curves | None:
    """The history of a run's last checkpoint; None where the run has no checkpoint or no epoch yet."""
    path = run / CHECKPOINT
    if not path.exists():
        return None
    # Mapped, not read: only the history is wanted of some hundred megabytes.
    content = torch.load(path, map_location="cpu", weights_only=False, mmap=True)
    history = tuple(content["state"]["history"])
    bundle = next((f"{item.name}/{item.version}" for item in manifests if made_from(item, run)), None)
    return Curves(run.name, history, bundle) if history else None


def _plot(loss: Any, validation: Any, curves: Curves) -> None:
    images = [epoch["images"] / 1000 for epoch in curves.history]
    loss.plot(images, [epoch["loss"] for epoch in curves.history], color=GREY, marker="o", markersize=3)
    shipped = f"shipped as {curves.bundle}" if curves.bundle else "not shipped by itself"
    loss.set(title=f"{curves.name}\n{shipped}", ylabel="training loss")
    loss.set_ylim(bottom=0)
    for index, name in enumerate(curves.figures):
        values = [epoch.get(name, float("nan")) for epoch in curves.history]
        colour = PALETTE[index % len(PALETTE)]
        validation.plot(images, values, color=colour, marker="o", markersize=3, label=name.replace("_", " "))
    validation.set(ylabel="on validation", ylim=(0, 1), xlabel="thousand slices shown")
    validation.legend(loc="lower right")


def draw_curves(path: Path, runs: Sequence[Curves]) -> Section:
    """Loss above, figures on validation below, a column a run; what can and cannot be read off them."""
    with figure(path, 3.4 * len(runs) + 0.4, 4.4) as drawn:
        rows = drawn.subplots(2, len(runs), squeeze=False, sharex="col", height_ratios=(1, 1.5))
        for (loss, validation), curves in zip(rows.T, runs, strict=True):
            _plot(loss, validation, curves)
    lines = []
    for run in runs:
        last = ", ".join(f"{name.replace('_', ' ')} {run.history[-1][name]:.3f}" for name in run.figures)
        state = f"the run behind `{run.bundle}`" if run.bundle else "a run that is no shipped bundle by itself"
        lines.append(f"- `{run.name}`: {state}; at the end {last}")
    text = (
        "Averaged weights on `val`, from the history of each run's last checkpoint. Losses contain smoothing, teachers "
        "and masks as each run is set up: compare them within a run only.\n\n" + "\n".join(lines)
    )
    return Section("Training curves", {path.name: "loss and figures on validation"}, text)
