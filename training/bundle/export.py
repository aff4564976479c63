"""From a run to ``model.onnx``: what is chosen on validation, calibration, one graph, and its parity with torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import nn

from training.bundle.onnx_files import largest_difference
from training.loop.checkpoints import Trained, load_trained
from training.records import Export

# The exported graph must agree with torch to this on every output.
PARITY: Final = 1e-4
# Probabilities from which a pixel or voxel may be tumour.
THRESHOLDS: Final = tuple(round(0.2 + 0.05 * step, 2) for step in range(13))


def export_run(run: Path, data: Path, sizes: Sequence[int] | None = None) -> Export:
    """Export the last checkpoint of a run; writes ``model.onnx`` and ``export.json`` beside it.

    Raises RuntimeError where the graph and torch differ by more than ``PARITY``.
    """
    trained = load_trained(run)
    record = trained.kind.export(trained, run, data, sizes)
    record.write(run)
    if record.parity > PARITY:
        raise RuntimeError(f"the exported graph differs from torch by {record.parity:.2e}, allowed is {PARITY:.0e}")
    trained.kind.finish(record, run, data)
    return record


def candidate_sizes(trained: Trained, usual: Sequence[int]) -> Sequence[int]:
    """Candidates for the input size: those around the usual one, or the one size that a run was trained at."""
    return usual if trained.size in usual else (trained.size,)


def differences(graph: nn.Module, exact: nn.Module, path: Path, sample: np.ndarray) -> dict[str, float]:
    """``parity`` and ``rounding`` of a graph whose file lies at ``path``; ``exact`` is that with float32 weights."""
    moved = run_batches(exact, sample)[0] - run_batches(graph, sample)[0]
    return {"parity": largest_difference(graph, path, sample), "rounding": float(np.abs(moved).max())}


@torch.no_grad()
def run_batches(model: nn.Module, images: np.ndarray, batch: int = 16) -> tuple[np.ndarray, ...]:
    """Every output of a network for any number of images."""
    parts = []
    for start in range(0, len(images), batch):
        output = model(torch.from_numpy(images[start : start + batch]))
        parts.append(tuple(o.numpy() for o in (output if isinstance(output, tuple) else (output,))))
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))
