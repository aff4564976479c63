"""What all classifiers have in common: feature maps at five strides, global average pooling, one linear layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor, nn
from torch.nn import functional

from training.networks.resnet import ClassifierOutput

# Grey values of a prepared slice are brought near mean 0 and deviation 1 by these.
MEAN = 0.25
DEVIATION = 0.25


@runtime_checkable
class Classifier(Protocol):
    """What the exported graph needs of a network: pooling and ``last`` are both linear, so its map is exact."""

    channels: Sequence[int]
    # Learns a coarse mask beside the classes; None where a decoder does.
    mask_head: nn.Module | None

    @property
    def last(self) -> nn.Linear:
        """The only layer after pooling."""
        ...

    def pyramid(self, images: Tensor) -> list[Tensor]:
        """Feature maps (N, ``channels[i]``, S/2^(i+1), S/2^(i+1)) of (N, 1, S, S); the last one is pooled."""
        ...

    def __call__(self, images: Tensor) -> ClassifierOutput:
        """Logits of the classes and of the mask."""
        ...


class StagedClassifier(nn.Module):
    """(N, 1, S, S) in [0, 1], S a multiple of 32 -> class logits and coarse mask logits.

    ``stages``: five modules in a row that halve the side each; ``channels``: what each of them gives.
    """

    def __init__(
        self, stages: Sequence[nn.Module], channels: Sequence[int], classes: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.stages = nn.ModuleList(stages)
        self.dropout = dropout
        self.last = nn.Linear(channels[-1], classes)
        self.mask_head: nn.Module | None = nn.Conv2d(channels[-2], 1, 1)
        nn.init.constant_(self.mask_head.bias, -3.0)

    def pyramid(self, images: Tensor) -> list[Tensor]:
        """Feature maps at strides 2, 4, 8, 16 and 32."""
        maps = []
        x = (images - MEAN) / DEVIATION
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def forward(self, images: Tensor) -> ClassifierOutput:
        """Logits of the classes and, at stride 16, of the mask."""
        maps = self.pyramid(images)
        features = functional.dropout(maps[-1].mean(dim=(2, 3)), self.dropout, self.training)
        return ClassifierOutput(self.last(features), None if self.mask_head is None else self.mask_head(maps[-2]))
