"""The smallest task that the training loop can learn, in a schedule of two phases."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from training.config import Phase, ScheduleConfig

SCHEDULE = ScheduleConfig(phases=(Phase(8, 256, 16), Phase(16, 128, 16)), learning_rate=0.02, epoch_images=64)


class BrightHalf:
    """Tell whether the left or the right half is brighter."""

    def __init__(self) -> None:
        torch.manual_seed(3)
        body = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2))
        self.model: nn.Module = nn.Sequential(body, nn.Flatten(), nn.Linear(16, 2))
        self.sizes: list[int] = []

    def batch(self, phase: Phase) -> tuple[Tensor, ...]:
        """Half of the noise from numpy, half from torch: both states must survive a restart."""
        self.sizes.append(phase.size)
        labels = torch.from_numpy(np.random.randint(0, 2, phase.batch))  # noqa: NPY002
        images = torch.rand(phase.batch, 1, phase.size, phase.size)
        half = phase.size // 2
        images[labels == 0, :, :, :half] += 0.5
        images[labels == 1, :, :, half:] += 0.5
        return images, labels

    def loss(self, output: Any, targets: tuple[Tensor, ...]) -> Tensor:
        """Cross-entropy."""
        return nn.functional.cross_entropy(output, targets[0])

    def validate(self, model: nn.Module, size: int) -> dict[str, float]:
        """Accuracy on fixed images."""
        generator = torch.Generator().manual_seed(1)
        images = torch.rand(64, 1, size, size, generator=generator)
        images[:32, :, :, : size // 2] += 0.5
        images[32:, :, :, size // 2 :] += 0.5
        with torch.no_grad():
            predicted = model(images).argmax(dim=1)
        return {"accuracy": float((predicted == (torch.arange(64) >= 32)).float().mean())}
