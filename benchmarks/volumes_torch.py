"""MONAI's sliding windows over the network in torch; runs with training's packages, which no service has.

Started as a process of its own (``python -m benchmarks.volumes_torch FOLDER THREADS WINDOW [RUN]``). It writes the
network as FOLDER/model.onnx and then answers each request, a line of JSON on stdin, with a line of JSON on stdout:
``{"tensor": PATH, "result": PATH, "overlap": 0.5, "batch": 1, "weights": PATH or null}`` with the
seconds that it took and those of them in the network.
``weights`` are those of a window's voxels, MONAI's own Gaussian where there are none.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from monai.inferers import sliding_window_inference

from training.checkpoints import load_trained
from training.graphs import SEGMENTER_OUTPUTS, SegmenterGraph
from training.models.unet3d import ResidualAttentionUNet3d
from training.onnx_files import export_graph, half_weights
from training.volume_export import INPUT

_CHANNELS: Final = 4
_SIGMA: Final = 0.125


def make_network(run: Path | None) -> SegmenterGraph:
    """The network of a run; without one the usual network with random weights that answer near one half."""
    if run is not None:
        model = load_trained(run).model
    else:
        torch.manual_seed(0)
        model = ResidualAttentionUNet3d(_CHANNELS)
        torch.nn.init.zeros_(model.head.bias)
    network = SegmenterGraph(half_weights(model))
    network.eval()
    return network


def infer(network: SegmenterGraph, request: dict[str, Any], window: int) -> dict[str, float]:
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
            (window, window, window),
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
    folder, threads, window = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(threads)
    network = make_network(Path(sys.argv[4]) if len(sys.argv) > 4 else None)
    example = torch.zeros(2, _CHANNELS, window, window, window)
    export_graph(network, example, folder / "model.onnx", INPUT, SEGMENTER_OUTPUTS)
    print(json.dumps({name: version(name).partition("+")[0] for name in ("torch", "monai")}), flush=True)
    for line in sys.stdin:
        print(json.dumps(infer(network, json.loads(line), window)), flush=True)


if __name__ == "__main__":
    main()
