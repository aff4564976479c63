"""Several classifiers as one network: each reads the slice, and one linear layer reads what all of them pooled."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.networks.pooled import Classifier
from training.networks.resnet import ClassifierOutput


class SideBySide(nn.Module):
    """(N, 1, S, S) in [0, 1] -> class logits: the weighted mean of what ``members`` say, whose classes are the same.

    Global average pooling and one linear layer like each of them, so class activation maps are exact. The members' last
    maps must lie on one grid. It is made of trained networks and not trained any further.
    """

    mask_head: nn.Module | None = None

    def __init__(self, members: Sequence[nn.Module], shares: Sequence[float] | None = None) -> None:
        """``shares`` of the members in the mean, in proportion; None: all alike."""
        super().__init__()
        found = [member for member in members if isinstance(member, Classifier)]
        shares = shares or [1.0] * len(members)
        if not len(found) == len(members) == len(shares):
            raise ValueError(f"{len(found)} classifiers among {len(members)} networks, and {len(shares)} shares")
        # What is several already goes in as its own members: their maps follow one another as its layer's weights do.
        self.members: nn.ModuleList = nn.ModuleList(
            part for member in found for part in (member.members if isinstance(member, SideBySide) else [member])
        )
        self.channels = (sum(member.channels[-1] for member in found),)
        parts = [share / sum(shares) for share in shares]
        layers = [member.last for member in found]
        self.last = nn.Linear(self.channels[-1], layers[0].out_features)
        with torch.no_grad():
            weights = [part * layer.weight for part, layer in zip(parts, layers, strict=True)]
            self.last.weight.copy_(torch.cat(weights, dim=1))
            biases = [part * layer.bias for part, layer in zip(parts, layers, strict=True)]
            self.last.bias.copy_(torch.stack(biases).sum(dim=0))

    def pyramid(self, images: Tensor) -> list[Tensor]:
        """What is pooled alone: the last maps of all members (N, sum of F, S/32, S/32)."""
        return [torch.cat([member.pyramid(images)[-1] for member in self.members], dim=1)]

    def forward(self, images: Tensor) -> ClassifierOutput:
        """Logits of the classes."""
        return ClassifierOutput(self.last(self.pyramid(images)[-1].mean(dim=(2, 3))), None)
