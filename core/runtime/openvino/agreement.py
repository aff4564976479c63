"""Whether two sessions on one graph say the same: every output in shape and values, and what is read out of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from core.contracts.tensors import LOGITS, PROBABILITY

Array = npt.NDArray[Any]

TOP_1: Final = 0.995
"""Share of slices whose label must stay; the least of all sets of labels counts."""
DICE: Final = 0.99
"""Mean Dice of its masks that a graph must come to with itself on the CPU provider ..."""
DICE_INT8: Final = 0.999
"""... and an int8 graph over the pixels of all slices as well. Not in the mean: one step of its rounding moves the rim
of a mask by a pixel, which is much of a small mask and says nothing of the provider."""

# Where both compute in float32, a value may differ by this, absolute below 1 and relative above.
_CLOSE: Final = 1e-3
# Else the mean over an output may differ by this share of its mean magnitude: a reduced axis is off by far more.
_ALIKE: Final = 0.05
_BATCHES: Final = ((0,), (0, 1, 2), (1,))
# What counts as near a decision: two labels this close in probability, or a mask of so few pixels.
_NEAR_MARGIN: Final = 0.1
_NEAR_PIXELS: Final = (16, 128)


class Runs(Protocol):
    """A session, as far as it is compared."""

    @property
    def inputs(self) -> tuple[Any, ...]: ...

    def run(self, inputs: dict[str, Array]) -> dict[str, Array]: ...


def decisive(outputs: Mapping[str, Array]) -> Array:
    """Of a network's outputs the one that decides: logits (n, L), or probabilities (n, regions, h, w)."""
    return outputs[LOGITS if LOGITS in outputs else PROBABILITY]


def find_difference(session: Runs, reference: Runs, slices: Sequence[Array], *, exact: bool) -> str:
    """What differs in the outputs for batches of 1, 3 and 1 of three ``slices``; nothing where all agree.

    ``exact``: both compute in float32. The batches come in this order because a session that takes its shapes from the
    first run would answer for it.
    """
    name = reference.inputs[0].name
    for picked in _BATCHES:
        batch = np.stack([slices[index] for index in picked])
        given, expected = session.run({name: batch}), reference.run({name: batch})
        for output, values in expected.items():
            if given[output].shape != values.shape:
                return f"{output} has shape {given[output].shape} instead of {values.shape} at batch {len(batch)}"
            if not _agree(given[output], values, exact=exact):
                return f"{output} has other values at batch {len(batch)}"
    return ""


def _agree(given: Array, expected: Array, *, exact: bool) -> bool:
    if exact:
        return bool(np.allclose(given, expected, rtol=_CLOSE, atol=_CLOSE))
    # Not the other way round: a NaN is no agreement.
    return bool(np.abs(given - expected).mean() <= _ALIKE * np.abs(expected).mean() + _CLOSE)


@dataclass(frozen=True, slots=True)
class Agreement:
    """The share of slices with the same label, or the mean Dice of masks; and what speaks against it, if anything."""

    share: float
    fault: str


@dataclass(slots=True)
class Judge:
    """Reads slices as the bundles do: a label for each set in ``choices``, a mask for each of ``thresholds``."""

    choices: tuple[tuple[int, ...], ...] = ()
    thresholds: tuple[float, ...] = ()
    int8: bool = False
    _same: list[tuple[bool, ...]] = field(default_factory=list)
    _masks: list[tuple[int, int]] = field(default_factory=list)
    _turned: int = 0

    def add(self, expected: Array, given: Array) -> None:
        """Compare one slice: logits (L,), or probabilities (regions, h, w)."""
        if self.choices:
            self._same.append(tuple(a == b for a, b in zip(self.decide(expected), self.decide(given), strict=True)))
        for threshold in self.thresholds:
            for before, after in zip(expected > threshold, given > threshold, strict=True):
                self._turned += bool(before.any()) != bool(after.any())
                total = int(before.sum()) + int(after.sum())
                if total:
                    self._masks.append((2 * int((before & after).sum()), total))

    def result(self) -> Agreement:
        """Of all slices so far."""
        if self.choices:
            share = float(np.mean(self._same, axis=0).min())
            return Agreement(share, "" if share >= TOP_1 else f"the label stays in {share:.1%} of slices alone")
        shared, total = np.array(self._masks or [(1, 1)]).T
        share, overall = float((shared / total).mean()), float(shared.sum() / total.sum())
        if self._turned:
            return Agreement(share, f"masks turn empty or come out of nothing in {self._turned} slices")
        if share < DICE:
            return Agreement(share, f"masks agree by a mean Dice of {share:.4f} alone")
        enough = overall >= DICE_INT8 or not self.int8
        return Agreement(share, "" if enough else f"masks agree by a Dice of {overall:.4f} over all pixels alone")

    def decide(self, values: Array) -> tuple[int, ...]:
        """The labels of a slice, or whether there is a mask."""
        labels = [int(values[list(choice)].argmax()) for choice in self.choices]
        return tuple(labels) or tuple(int((values > threshold).any()) for threshold in self.thresholds)

    def is_near(self, values: Array) -> bool:
        """Whether little would change what is decided."""
        if self.thresholds:
            low, high = _NEAR_PIXELS
            return all(low <= int((values > threshold).sum()) <= high for threshold in self.thresholds)
        return any(_margin(values[list(choice)]) <= _NEAR_MARGIN for choice in self.choices)


def _margin(logits: Array) -> float:
    """Probability of the likeliest label above that of the next."""
    powers = np.sort(np.exp(logits - logits.max()))
    return float((powers[-1] - powers[-2]) / powers.sum()) if len(powers) > 1 else 1.0
