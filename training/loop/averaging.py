"""The mean of the weights of runs that went on from one another: one network again, at the cost of one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from training.loop.trainer import CHECKPOINT


def average(runs: Sequence[Path], run: Path) -> None:
    """Write the last checkpoint of the last of ``runs`` into ``run``, its averaged weights the mean of all of them.

    Networks from one start lie in one valley, and the middle of it generalises better than its edge (Izmailov 2018,
    "Averaging weights leads to wider optima and better generalization"). Raises ValueError where there are fewer than
    two, or the networks have other weights.
    """
    found = [torch.load(item / CHECKPOINT, map_location="cpu", weights_only=False) for item in runs]
    shapes = [{name: value.shape for name, value in content["average"].items()} for content in found]
    if len(found) < 2 or any(other != shapes[0] for other in shapes):
        raise ValueError("only two or more runs of one network can be averaged")
    last = found[-1]
    for name, value in last["average"].items():
        if value.is_floating_point():
            value.copy_(torch.stack([content["average"][name] for content in found]).mean(dim=0))
    last["about"]["averaged"] = [str(item) for item in runs]
    # What was measured on the way was measured of other weights.
    last["state"]["history"] = []
    run.mkdir(parents=True, exist_ok=True)
    torch.save(last, run / CHECKPOINT)
