"""Halves of ``val`` that share no patient: a run may learn one of them, and then answers for the other alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

Half = Literal["first", "second"]
BoolArray = npt.NDArray[np.bool_]


def group_halves(groups: Sequence[str]) -> tuple[BoolArray, BoolArray]:
    """Two halves (n,) that share no group."""
    order = {name: index for index, name in enumerate(sorted(set(groups)))}
    first = np.array([order[name] % 2 == 0 for name in groups], np.bool_)
    return first, ~first


def learnt(groups: Sequence[str], half: Half | None) -> BoolArray:
    """Which slices (n,) of ``val`` a run learns that learns this half of it; none where it learns neither."""
    if half is None:
        return np.zeros(len(groups), np.bool_)
    return group_halves(groups)[("first", "second").index(half)]
