"""The one training loop: batches from a task, AdamW on a one-cycle, averaged weights, checkpoints, resume."""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from training.config import Phase, ScheduleConfig
from training.loop.schedule import learning_rate_at, phase_at, progress_at
from training.networks.depthwise import depthwise_in_float32
from training.networks.starts import fill, photograph_weights, restore, widened
from training.records import REFERENCE_FILE

CHECKPOINT = "last.pt"
# Batches on which the normalisation of a shipped network is measured anew.
RESTORING_BATCHES = 8


class Task(Protocol):
    """What differs between trainings."""

    model: nn.Module

    def batch(self, phase: Phase) -> tuple[Tensor, ...]:
        """One augmented batch: the model's input first, then whatever ``loss`` needs."""

    def loss(self, output: Any, targets: tuple[Tensor, ...]) -> Tensor:
        """Scalar loss of the model's output for the rest of the batch."""

    def validate(self, model: nn.Module, size: int) -> dict[str, float]:
        """Figures on the validation split at an input size."""


@dataclass
class State:
    """How far a run is."""

    step: int = 0
    images_seen: int = 0
    elapsed_s: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


def seed_everything(seed: int) -> None:
    """Python, numpy and torch from one seed."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  (libraries that draw from the global state)
    torch.manual_seed(seed)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Decay on weights of convolutions and linear layers alone."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]


def fast_layout(model: nn.Module, device: torch.device) -> torch.memory_format:
    """The order of a batch's values in memory that a network runs fastest with.

    Channels last, but for volumes on a CPU: there instance normalisation is several times slower with it than without.
    """
    if not any(isinstance(module, nn.Conv3d) for module in model.modules()):
        return torch.channels_last
    return torch.channels_last_3d if device.type == "cuda" else torch.contiguous_format


class AveragedModel:
    """Exponential average of a model's weights and normalisation statistics."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take one step in. Early averages are short, else the random start would linger."""
        decay = min(self.decay, (1 + step) / (10 + step))
        kept, fresh = [], []
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                kept.append(self.values[name])
                fresh.append(value)
            else:
                self.values[name].copy_(value)
        torch._foreach_lerp_(kept, fresh, 1 - decay)


class Trainer:
    """Runs a task's schedule in a run folder; picks up a checkpoint found there.

    A new run begins from the averaged weights of the run folder ``start``, where one is given; a narrower network is
    widened to the task's. ``start`` may also be a shipped bundle of the same network, or the file of a ResNet50 that
    learnt from photographs.
    """

    def __init__(
        self,
        task: Task,
        config: ScheduleConfig,
        folder: Path,
        device: str,
        about: Mapping[str, Any],
        start: Path | None = None,
    ) -> None:
        seed_everything(config.seed)
        self.task = task
        self.config = config
        self.folder = folder
        self.device = torch.device(device)
        self.about = dict(about)
        if start is not None:
            self._begin_from(start)
        self.layout = fast_layout(task.model, self.device)
        self.model = task.model.to(self.device).to(memory_format=self.layout)
        if config.bfloat16 and self.device.type == "cpu":
            depthwise_in_float32(self.model)
        groups = parameter_groups(self.model, config.weight_decay)
        # Fused: one pass over the weights, less than half the time of the plain loop on a CPU.
        self.optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
        self.average = AveragedModel(self.model, config.ema_decay)
        self.state = State()
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / CHECKPOINT).exists():
            self._resume(folder / CHECKPOINT)

    def _begin_from(self, start: Path) -> None:
        model = self.task.model
        if (start / CHECKPOINT).exists():
            earlier = torch.load(start / CHECKPOINT, map_location="cpu", weights_only=False)
            weights = earlier["average"]
            # A network of volumes may begin with a trained network of slices alone.
            part = model if weights.keys() & model.state_dict().keys() else model.get_submodule("slices")
            part.load_state_dict(widened(weights, part.state_dict()))
            return
        batches = [self.task.batch(self.config.phases[0])[0].cpu() for _ in range(RESTORING_BATCHES)]
        if start.is_file():
            fill(model, photograph_weights(start, model.state_dict()), batches)
        else:
            restore(model, start / REFERENCE_FILE, batches)

    @property
    def progress(self) -> float:
        """Share of the schedule done."""
        return progress_at(self.config, self.state.images_seen, self.state.elapsed_s)

    def run(self, report: Callable[[State, float, Mapping[str, float]], None]) -> None:
        """Train to the end of the schedule; ``report`` hears of every epoch (state, progress, figures)."""
        while self.progress < 1.0:
            figures = self.epoch()
            self.state.history.append(figures)
            self.save()
            report(self.state, self.progress, figures)

    def epoch(self) -> dict[str, float]:
        """Up to ``epoch_images`` images, then validation of the averaged weights."""
        started, before = time.monotonic(), self.state.elapsed_s
        seen, losses = 0, []
        phase = phase_at(self.config, self.progress)
        while seen < self.config.epoch_images and self.progress < 1.0:
            phase = phase_at(self.config, self.progress)
            losses.append(self.step(phase))
            seen += phase.batch
            self.state.images_seen += phase.batch
            self.state.elapsed_s = before + time.monotonic() - started
        speed = seen / (time.monotonic() - started)
        validation = self.task.validate(self.averaged(), phase.size)
        self.state.elapsed_s = before + time.monotonic() - started
        loss = float(np.mean([float(value) for value in losses]))
        return {"images": self.state.images_seen, "size": phase.size, "speed": speed, "loss": loss, **validation}

    def step(self, phase: Phase) -> Tensor:
        """One optimiser step; the loss, still on the device."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(self.config, self.progress)
        self.model.train()
        inputs, *targets = self.task.batch(phase)
        inputs = inputs.contiguous(memory_format=self.layout)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bfloat16):
            output = self.model(inputs)
        loss = self.task.loss(output, tuple(targets))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.optimizer.step()
        self.average.update(self.model, self.state.step)
        self.state.step += 1
        return loss.detach()

    def averaged(self) -> nn.Module:
        """A copy of the model with its averaged weights, in evaluation mode."""
        other = copy.deepcopy(self.model)
        other.load_state_dict(self.average.values)
        return other.eval()

    def save(self) -> None:
        """Write the checkpoint whole or not at all."""
        content = {
            "about": self.about,
            "model": self.model.state_dict(),
            "average": self.average.values,
            "optimizer": self.optimizer.state_dict(),
            "state": asdict(self.state),
            "torch_rng": torch.get_rng_state(),
            "numpy_rng": np.random.get_state(),  # noqa: NPY002
        }
        partial = self.folder / f"{CHECKPOINT}.partial"
        torch.save(content, partial)
        partial.replace(self.folder / CHECKPOINT)

    def _resume(self, path: Path) -> None:
        content = torch.load(path, map_location=self.device, weights_only=False)
        self.model.load_state_dict(content["model"])
        self.average.values = content["average"]
        self.optimizer.load_state_dict(content["optimizer"])
        for group in self.optimizer.param_groups:
            group["fused"] = True
        self.state = State(**content["state"])
        torch.set_rng_state(content["torch_rng"].cpu())
        np.random.set_state(content["numpy_rng"])  # noqa: NPY002
