"""Several trained networks answering as one: the teachers of a distillation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.networks.resnet import ClassifierOutput


class Ensemble(nn.Module):
    """Mean of the members' logits, in whichever form they give them: a tensor or a ``ClassifierOutput``."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, images: Tensor) -> Any:
        """What one member returns; the masks of classifiers are left out."""
        answers = [member(images) for member in self.members]
        if isinstance(answers[0], ClassifierOutput):
            return ClassifierOutput(torch.stack([answer.logits for answer in answers]).mean(dim=0), None)
        return torch.stack(answers).mean(dim=0)


class AtOwnSize(nn.Module):
    """A classifier that is shown images of at most the side that it was trained on, whatever its student sees."""

    def __init__(self, member: nn.Module, size: int) -> None:
        super().__init__()
        self.member = member
        self.size = size

    def forward(self, images: Tensor) -> Any:
        """What the member returns for images (N, C, S, S), shrunk if need be."""
        if images.shape[-1] > self.size:
            images = functional.interpolate(images, size=(self.size, self.size), mode="bilinear", antialias=True)
        return self.member(images)
