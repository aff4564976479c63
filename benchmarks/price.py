"""``python -m benchmarks.price``: what serving costs beside a network that costs next to nothing, by part.

A bundle of one small network is served, so that all CPU time is preparation, model server or gateway. With ``--beside``
another checkout is measured in turn with this one, each on this Python, so that a busy machine slows both alike.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import onnx
import typer
from onnx import TensorProto, helper, numpy_helper
from rich.progress import track

from benchmarks.cells import ratio
from benchmarks.load import offer
from benchmarks.stack import Server, started
from core.contracts.tensors import CAM, DISTANCE, ENERGY, FEATURES, IMAGE, LOGITS

ROOT: Final = Path(__file__).parents[1]
PARTS: Final = ("preparation", "network", "server", "gateway")
_PROGRAM: Final = Path(__file__).with_name("price_parts.py")
_PATH: Final = "/v1/classifications"
_WARM_UP_S: Final = 1.0

Parts = Mapping[str, float]
"""CPU milliseconds a request by part; the server's are without preparation and network."""


@dataclass(frozen=True, slots=True)
class Site:
    """A checkout whose classifier and gateway run."""

    folder: Path
    server: Server
    gateway: Server


def write_bundle(models_dir: Path, like: Path) -> Path:
    """A classifier of one convolution that prepares and answers as the bundle ``like`` does; its folder."""
    manifest = json.loads((like / "manifest.json").read_bytes())
    logits = 1 + max(manifest.get("label_indices") or range(len(manifest["labels"])))
    folder: Path = models_dir / manifest["name"] / manifest["version"]
    folder.mkdir(parents=True)
    path = folder / "model.onnx"
    onnx.save(_network(logits), path)
    data = path.read_bytes()
    file = {"name": path.name, "variant": "reference", "size_bytes": len(data)}
    file["sha256"] = hashlib.sha256(data).hexdigest()
    (folder / "manifest.json").write_text(json.dumps({**manifest, "files": [file]}))
    return folder


def _network(logits: int) -> onnx.ModelProto:
    weights = np.random.default_rng(0).normal(0, 0.1, (logits, 1, 8, 8)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", [IMAGE, "weights"], [CAM], strides=[8, 8]),
        helper.make_node("ReduceMean", [CAM, "sides"], [LOGITS], keepdims=0),
        helper.make_node("Identity", [LOGITS], [FEATURES]),
        helper.make_node("ReduceLogSumExp", [LOGITS, "last"], [ENERGY], keepdims=0),
        helper.make_node("ReduceL2", [LOGITS, "last"], [DISTANCE], keepdims=0),
    ]
    shapes: dict[str, list[str | int | None]] = {
        LOGITS: ["n", logits],
        CAM: ["n", logits, None, None],
        ENERGY: ["n"],
        FEATURES: ["n", logits],
        DISTANCE: ["n"],
    }
    graph = helper.make_graph(
        nodes,
        "price",
        [helper.make_tensor_value_info(IMAGE, TensorProto.FLOAT, ["n", 1, None, None])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.array([2, 3]), "sides"),
            numpy_helper.from_array(np.array([1]), "last"),
        ],
    )
    return helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 18)])


@contextmanager
def running(folder: Path, models_dir: Path) -> Iterator[Site]:
    """Classifier and gateway of the checkout ``folder``, until the block ends."""
    with started("classifier_service", {"FALX_MODELS_DIR": str(models_dir)}, folder=folder) as server:
        upstreams = {"FALX_CLASSIFIER_URL": server.url, "FALX_SEGMENTER_URL": server.url}
        with started("gateway", upstreams, "/livez", folder) as gateway:
            yield Site(folder, server, gateway)


def measure(site: Site, bundle: Path, image: Path, concurrency: int, seconds: float) -> Parts:
    """One round: both steps alone on as many threads as cores are there, then requests through the gateway."""
    command = [sys.executable, str(_PROGRAM), str(bundle), str(image), str(min(concurrency, 2)), str(seconds)]
    environment = {**os.environ, "PYTHONPATH": str(site.folder)}
    alone = json.loads(subprocess.check_output(command, cwd=site.folder, env=environment))
    url = site.gateway.url + _PATH
    body = image.read_bytes()
    asyncio.run(offer([url], body, "image/jpeg", concurrency, _WARM_UP_S))
    before = site.server.cpu_s(), site.gateway.cpu_s()
    sample = asyncio.run(offer([url], body, "image/jpeg", concurrency, seconds))
    if sample.failed:
        raise RuntimeError(f"{sample.failed} requests failed")
    server, gateway = (
        (service.cpu_s() - spent) * 1e3 / len(sample.latencies_ms)
        for service, spent in zip((site.server, site.gateway), before, strict=True)
    )
    steps = alone["preparation"] + alone["network"]
    return {**alone, "server": server - steps, "gateway": gateway, "whole": server + gateway}


def table(rounds: Mapping[str, Sequence[Parts]]) -> str:
    """Medians by checkout; of two of them the geometric mean of their paired ratios, with its 95 % interval.

    The model server's own part is what is left of a difference, and too small for a ratio.
    """
    names = [*PARTS, "whole"]
    lines = [f"| CPU ms a request | {' | '.join(names)} |", f"|---|{'---:|' * len(names)}"]
    for name, found in rounds.items():
        medians = [f"{statistics.median(one[part] for one in found):.2f}" for part in names]
        lines.append(f"| {name} | {' | '.join(medians)} |")
    if len(rounds) == 2:
        ours, theirs = rounds.values()
        ratios = ["" if part == "server" else str(ratio(*_of(part, ours, theirs))) for part in names]
        lines.append(f"| ratio | {' | '.join(ratios)} |")
    return "\n".join(lines)


def _of(part: str, *rounds: Sequence[Parts]) -> Iterator[list[float]]:
    return ([one[part] for one in found] for found in rounds)


def main(
    beside: Annotated[Path | None, typer.Option(help="Another checkout to measure in turn with this one.")] = None,
    bundle: Path = ROOT / "models" / "tumor-classifier" / "1",
    image: Path = ROOT / "docs" / "samples" / "slice.jpg",
    concurrency: int = 8,
    rounds: int = 10,
    seconds: float = 3.0,
) -> None:
    """Prints a table of CPU milliseconds a request: preparation, network, model server, gateway."""
    found: dict[str, list[Parts]] = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        models = Path(folder)
        written = write_bundle(models, bundle)
        folders = {"this checkout": ROOT} | ({} if beside is None else {"the other": beside.resolve()})
        sites = {name: stack.enter_context(running(one, models)) for name, one in folders.items()}
        for turn in track(range(rounds)):
            for name, site in sorted(sites.items(), reverse=bool(turn % 2)):
                found.setdefault(name, []).append(measure(site, written, image, concurrency, seconds))
    typer.echo(table({name: found[name] for name in folders}))


if __name__ == "__main__":
    typer.run(main)
