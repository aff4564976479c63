"""Run folders as training leaves them, of random weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch

from training.config import ClassifierConfig, SegmenterConfig
from training.kinds import kind_named
from training.loop.trainer import CHECKPOINT
from training.records import KindName


def write_run(
    run: Path,
    kind: KindName,
    config: ClassifierConfig | SegmenterConfig,
    *,
    seen: int = 8,
    history: Sequence[dict[str, float]] = (),
) -> Path:
    """Make the folder ``run`` with a checkpoint of the network that ``config`` describes."""
    described = dataclasses.asdict(config)
    about = {"kind": kind, "config": described}
    state = {"images_seen": seen, "history": list(history)}
    run.mkdir()
    torch.save(
        {"about": about, "average": kind_named(kind).network(described).state_dict(), "state": state}, run / CHECKPOINT
    )
    return run
