"""What a network's graph costs: CPU time an image on one thread, under each execution provider that is there."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime as ort
import torch

from core.contracts.sequences import SEQUENCES
from core.contracts.tensors import IMAGE, IMAGES, TENSORS
from training.bundle.graphs import ClassifierGraph, FeatureSpace, SegmenterGraph
from training.bundle.onnx_files import export_graph, fold_normalisation, half_weights
from training.loop.checkpoints import Trained
from training.networks.classifiers import Classifier

# Sends what it is given elsewhere.
_REMOTE: Final = frozenset({"AzureExecutionProvider"})
WARM_UPS: Final = 3
RUNS: Final = 30


def write_graph(trained: Trained, path: Path) -> None:
    """The graph as it would be served, but that nothing is calibrated and its feature space is none.

    ``export`` would choose these on the data and refuse a network that answers with huge numbers, as one does that
    learnt nothing in its budget; the arithmetic, and so the time, is the same.
    """
    half = half_weights(fold_normalisation(trained.model))
    if isinstance(half, Classifier):
        space = FeatureSpace.identity(len(trained.labels), half.channels[-1])
        image = torch.zeros(2, 1, trained.size, trained.size)
        export_graph(ClassifierGraph(half, 1.0, space), image, path, IMAGE, TENSORS["classification"].outputs)
        return
    images = torch.zeros(2, len(SEQUENCES), trained.size, trained.size)
    export_graph(SegmenterGraph(half), images, path, IMAGES, TENSORS["segmentation"].outputs)


def cpu_ms_by_provider(graph: Path, size: int) -> dict[str, float]:
    """Median CPU ms of single images of ``size`` pixels, by provider; of a GPU what it costs the CPU to wait for it.

    CPU time and not the clock's, so that other work on the machine counts for little.
    """
    providers = [name for name in ort.get_available_providers() if name not in _REMOTE]
    return {name: value for name in providers if (value := _median(graph, size, name)) is not None}


def _median(graph: Path, size: int, provider: str) -> float | None:
    """None where the provider is listed and does not come up."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(str(graph), options, providers=[provider])
    if session.get_providers()[0] != provider:
        return None
    (given,) = session.get_inputs()
    image = np.random.default_rng(0).random((1, given.shape[1], size, size), np.float32)
    times = []
    for _ in range(WARM_UPS + RUNS):
        begun = time.process_time()
        session.run(None, {given.name: image})
        times.append(1000 * (time.process_time() - begun))
    return statistics.median(times[WARM_UPS:])
