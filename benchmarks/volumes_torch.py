"""MONAI's sliding windows over the network in torch; runs with training's packages, which no service has.

Started as a process of its own (``python -m benchmarks.volumes_torch FOLDER THREADS [RUN]``). It writes the network as
FOLDER/model.onnx and says in a line of JSON on stdout what that is: ``{"versions": {PACKAGE: VERSION}, "architecture":
NAME, "preprocessing": MANIFEST'S}``. Then it answers each request, a line of JSON on stdin,
``{"tensor": PATH, "result": PATH, "overlap": 0.5, "batch": 1, "weights": PATH or null}``, with the seconds that it took
and those of them in the network.
``weights`` are those of a window's voxels, MONAI's own Gaussian where there are none.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from monai.inferers import sliding_window_inference

from core.contracts.manifest import VolumePreprocessing
from training.bundle.graphs import SegmenterGraph
from training.bundle.onnx_files import fold_normalisation, half_weights
from training.config import VolumeSegmenterConfig
from training.loop.checkpoints import load_trained
from training.networks.slices_in_volume import SlicesInVolume
from training.volumes.export import served_graph, write_graph
from training.volumes.inputs import preprocessing_of

_SIGMA: Final = 0.125


@dataclass(frozen=True)
class Chosen:
    """A network on windows, as it is served, its architecture's name, and the windows and voxels that it works on."""

    graph: SegmenterGraph
    served: torch.nn.Module
    architecture: str
    preprocessing: VolumePreprocessing

    @classmethod
    def of(cls, model: torch.nn.Module, config: Mapping[str, Any]) -> Chosen:
        """A model trained by a ``VolumeSegmenterConfig``, as a dictionary."""
        network, preprocessing = half_weights(fold_normalisation(model)), preprocessing_of(config)
        served = served_graph(network, preprocessing)
        return cls(SegmenterGraph(network).eval(), served.eval(), config["architecture"], preprocessing)

    def described(self) -> dict[str, Any]:
        """The first line."""
        return {
            "versions": {name: version(name).partition("+")[0] for name in ("torch", "monai")},
            "architecture": self.architecture,
            "preprocessing": self.preprocessing.model_dump(mode="json"),
        }


def choose(run: Path | None) -> Chosen:
    """The network of a run; without one the preset's with random weights."""
    if run is not None:
        trained = load_trained(run)
        return Chosen.of(trained.model, trained.config)
    config = VolumeSegmenterConfig()
    return Chosen.of(random_network(config.width), asdict(config))


def random_network(width: int) -> SlicesInVolume:
    """Answers near one half, which differ with what the slices show and with what is around them.

    As a training begins, the volume's part says nothing, what the slices say has all but faded, and everything is near
    zero: no difference between two runtimes would show.
    """
    torch.manual_seed(0)
    model = SlicesInVolume(width=width)
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    model.context.head.reset_parameters()
    for last in (model.slices.head, model.inner, model.context.head):
        torch.nn.init.zeros_(last.bias)
    return model


def infer(network: SegmenterGraph, request: Mapping[str, Any], window: Sequence[int]) -> dict[str, float]:
    """One volume; the probabilities (regions, i, j, k) are written to the request's ``result``."""
    network_s = 0.0

    def forward(windows: torch.Tensor) -> torch.Tensor:
        nonlocal network_s
        began = time.perf_counter()
        answer = network(windows)
        network_s += time.perf_counter() - began
        return answer

    tensor = torch.from_numpy(np.load(request["tensor"]))[None]
    weights = None if request["weights"] is None else torch.from_numpy(np.load(request["weights"]))
    started = time.perf_counter()
    with torch.inference_mode():
        probabilities = sliding_window_inference(
            tensor,
            window,
            request["batch"],
            forward,
            overlap=request["overlap"],
            mode="gaussian",
            sigma_scale=_SIGMA,
            roi_weight_map=weights,
        )
    seconds = time.perf_counter() - started
    assert isinstance(probabilities, torch.Tensor)
    np.save(request["result"], probabilities[0].numpy())
    return {"seconds": seconds, "network_s": network_s}


def main() -> None:
    """Export, say so, answer until stdin ends."""
    folder, threads = Path(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(threads)
    chosen = choose(Path(sys.argv[3]) if len(sys.argv) > 3 else None)
    write_graph(chosen.served, chosen.preprocessing, folder / "model.onnx")
    print(json.dumps(chosen.described()), flush=True)
    for line in sys.stdin:
        print(json.dumps(infer(chosen.graph, json.loads(line), chosen.preprocessing.window)), flush=True)


if __name__ == "__main__":
    main()
