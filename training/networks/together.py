"""Several trained networks as one: teachers, classifiers side by side, and a segmenter that asks another one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from core.contracts.sequences import SEQUENCES
from training.data.outlined import LGG_SEQUENCES
from training.networks.classifiers import Classifier

# Of a ``SecondReader`` both networks are about equally good at all that TCGA-LGG has.
_CHANNELS: Final = tuple(map(SEQUENCES.index, LGG_SEQUENCES))


class InTurns(nn.Module):
    """Teachers, one of whom answers for a batch, drawn at random: many cost a student no more time than one.

    Over a training their student follows the mean of what they say.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, images: Tensor) -> Any:
        """What the one who is drawn returns."""
        return self.members[np.random.randint(len(self.members))](images)  # noqa: NPY002  (one seed for a run)


def shrunk(images: Tensor, size: int) -> Tensor:
    """Images (N, C, S, S) as (N, C, size, size), by a filter that averages; as they are where S is no larger."""
    if images.shape[-1] <= size:
        return images
    return functional.interpolate(images, size=(size, size), mode="bilinear", antialias=True)


class AtOwnSize(nn.Module):
    """A classifier that is shown images of at most the side that it was trained on, whatever its student sees."""

    def __init__(self, member: nn.Module, size: int) -> None:
        super().__init__()
        self.member = member
        self.size = size

    def forward(self, images: Tensor) -> Any:
        """What the member returns for images (N, C, S, S), shrunk if need be."""
        return self.member(shrunk(images, self.size))


class SideBySide(Classifier):
    """(N, 1, S, S) in [0, 1] -> class logits: the weighted mean of what ``members`` say, whose classes are the same.

    Global average pooling and one linear layer like each of them, so class activation maps are exact. The members' last
    maps must lie on one grid. It is made of trained networks and not trained any further.
    """

    has_maps = False

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
        self.last = nn.Linear(self.channels[-1], found[0].last.out_features)
        layers = [(share / sum(shares), member.last) for share, member in zip(shares, found, strict=True)]
        with torch.no_grad():
            self.last.weight.copy_(torch.cat([part * layer.weight for part, layer in layers], dim=1))
            self.last.bias.copy_(torch.stack([part * layer.bias for part, layer in layers]).sum(dim=0))

    def pyramid(self, images: Tensor) -> list[Tensor]:
        """What is pooled alone: the last maps of all members (N, sum of F, S/32, S/32)."""
        return [torch.cat([member.pyramid(images)[-1] for member in self.members], dim=1)]


def shows_all(images: Tensor) -> Tensor:
    """Which of (N, 4, S, S) show every sequence of ``LGG_SEQUENCES``: (N,).

    A channel that was not given is zero, and a slice of unknown sequence lies in all channels alike.
    """
    channels = [images[:, index] for index in _CHANNELS]
    pairs = zip(channels, [*channels[1:], channels[0]], strict=True)
    told = [channel.amax(dim=(1, 2)) > 0 for channel in channels]
    apart = [(one - other).abs().amax(dim=(1, 2)) > 0 for one, other in pairs]
    return torch.stack([*told, *apart], dim=1).all(dim=1)


class SecondReader(nn.Module):
    """(N, 4, S, S) in [0, 1] -> logits (N, 1, S, S): of ``first``, or of both where ``shows_all``, their mean.

    In a graph ``second`` is a branch, computed for a batch in which any slice shows all. It is made of trained networks
    and not trained any further.
    """

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first = first
        self.second = second

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, 1, S, S)."""
        logits = self.first(images)
        asked = shows_all(images)
        share = 0.5 * asked.to(logits.dtype)[:, None, None, None]
        return logits + share * (self._asked(asked.any(), images) - logits)

    def _asked(self, anywhere: Tensor, images: Tensor) -> Tensor:
        """What ``second`` says, or nothing of any weight where nobody asks it."""
        if torch.compiler.is_exporting():
            # Branches may read what is computed before them, but of that tools that sort a graph know nothing.
            return torch.cond(anywhere, self.second, _nothing, (images,))
        return self.second(images) if bool(anywhere) else _nothing(images)


def _nothing(images: Tensor) -> Tensor:
    return torch.zeros_like(images[:, :1])
