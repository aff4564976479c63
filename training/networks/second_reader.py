"""A segmenter that asks another one where much is shown: the mean of both, and the other's cost there alone."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from core.contracts.sequences import SEQUENCES
from training.data.lgg import LGG_SEQUENCES

# Both networks are about equally good at all that TCGA-LGG has.
_CHANNELS: Final = tuple(map(SEQUENCES.index, LGG_SEQUENCES))


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
