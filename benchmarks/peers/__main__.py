"""``python -m benchmarks.peers``: Falx and four other ways to serve the same ResNet50, in turn, in one run.

All run fp32 on the CPU provider of ONNX Runtime, and every process of each counts. All are up all the time, those that
do not answer at present are held still. What it needs it makes at its first run, in ``.cache/peers``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import psutil
import typer
from rich.progress import track

from benchmarks.cells import Sample, joined, ratio
from benchmarks.peers.resnet50 import NAME, write_bundle
from benchmarks.processes import Tree, measure, started
from benchmarks.report import machine
from benchmarks.stack import START_LIMIT_S, free_port, stack
from core.runtime.cpus import usable_cpus

ROOT: Final = Path(__file__).parents[2]
CACHE: Final = ROOT / ".cache" / "peers"
REQUIREMENTS: Final = Path(__file__).with_name("requirements.txt")
CONCURRENCIES: Final = (8, 32)
FALX: Final = "Falx"
PEERS: Final = {
    "mosec": ("{python}", "-m", "benchmarks.peers.with_mosec", "--address", "127.0.0.1", "--port", "{port}",
              "--timeout", "60000"),
    "LitServe": ("{python}", "-m", "benchmarks.peers.with_litserve"),
    "BentoML": ("{bin}/bentoml", "serve", "benchmarks.peers.with_bentoml:Classify", "--host", "127.0.0.1", "--port",
                "{port}"),
    "FastAPI": ("{python}", "-m", "benchmarks.peers.with_fastapi"),
}  # fmt: skip
PATHS: Final = {"mosec": "/inference"}
_PATH: Final = "/classify"

_PAGE: Final = """# Falx beside its peers

Written by `python -m benchmarks.peers`; do not edit by hand. One ResNet50 of 224 pixels in fp32 on the CPU provider of
ONNX Runtime, in turn. Falx is gateway and model server; CPU and memory are those of all processes of a system, PSS with
shared pages counted once. Ratios are Falx to the peer over paired rounds, with 95 % intervals.

- Machine: {machine}
- {pairs} rounds of {seconds:g} s

{rows}
"""


@dataclass(frozen=True, slots=True)
class System:
    """One of them, running."""

    name: str
    url: str
    trees: tuple[Tree, ...]

    def pause(self) -> None:
        """Hold all of it still."""
        for tree in self.trees:
            tree.pause()

    def resume(self) -> None:
        """Let it go on."""
        for tree in self.trees:
            tree.resume()

    def memory_mib(self) -> tuple[float, float]:
        """Proportional and resident set size of all of it."""
        found = [tree.memory_mib() for tree in self.trees]
        return sum(pss for pss, _ in found), sum(rss for _, rss in found)


def environment() -> Path:
    """The bin folder of the peers' environment, made where it is missing or its requirements have changed."""
    bin_dir, stamp = CACHE / "venv" / "bin", CACHE / "installed.txt"
    wanted = REQUIREMENTS.read_text()
    if not stamp.exists() or stamp.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", bin_dir.parent], check=True)
        subprocess.run([bin_dir / "python", "-m", "pip", "install", "--quiet", "-r", REQUIREMENTS], check=True)
        stamp.write_text(wanted)
    return bin_dir


@contextmanager
def falx(models: Path) -> Iterator[System]:
    """Gateway and model server, the CPU provider and fp32 forced."""
    with stack(models, NAME, "reference", {"FALX_PROVIDER": "cpu"}) as (server, gateway):
        trees = tuple(Tree(psutil.Process(one.process.pid)) for one in (server, gateway))
        yield System(FALX, f"{gateway.url}/v1/classifications", trees)


@contextmanager
def peer(name: str, model: Path, bin_dir: Path, logs: Path, body: bytes) -> Iterator[System]:
    """One of the others, once it has answered. Raises RuntimeError where it never does."""
    port, log = free_port(), logs / f"{name}.log"
    command = [part.format(python=bin_dir / "python", bin=bin_dir, port=port) for part in PEERS[name]]
    settings = {"PEER_MODEL": str(model), "PEER_PORT": str(port), "PEER_WORKERS": str(usable_cpus())}
    path = f"{bin_dir}{os.pathsep}{os.environ['PATH']}"
    quiet = {"BENTOML_DO_NOT_TRACK": "True", "LIT_SERVER_DISABLE_UPDATE_CHECK": "1"}
    with started(command, ROOT, {**os.environ, **settings, **quiet, "PATH": path}, log) as tree:
        system = System(name, f"http://127.0.0.1:{port}{PATHS.get(name, _PATH)}", (tree,))
        give_up_at = time.monotonic() + START_LIMIT_S
        while not works(system, body):
            if not tree.root.is_running() or time.monotonic() > give_up_at:
                raise RuntimeError(f"{name} did not come up: {log.read_text()[-2000:]}")
            time.sleep(0.5)
        yield system


def works(system: System, body: bytes) -> bool:
    """Whether one request is answered as it should be."""
    request = urllib.request.Request(system.url, body, {"Content-Type": "image/jpeg"})  # noqa: S310  loopback
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310  loopback
            return bool(answer.status == 200)
    except OSError:
        return False


def row(name: str, concurrency: int, samples: list[Sample], ours: list[Sample], memory: tuple[float, float]) -> str:
    """One system at one concurrency, and what Falx is of it."""
    whole = joined(samples)
    cells = [name, concurrency, f"{whole.cpu_ms:.2f}", f"{whole.rate:.1f}"]
    cells += [f"{whole.percentile_ms(percent):.0f}" for percent in (50, 95, 99)]
    cells += [f"{memory[0]:.0f}", f"{memory[1]:.0f}", len(whole.latencies_ms), whole.failed]
    cells += [ratio([s.cpu_ms for s in ours], [s.cpu_ms for s in samples])]
    cells += [ratio([s.rate for s in ours], [s.rate for s in samples])]
    return f"| {' | '.join(map(str, cells))} |"


def main(
    image: Path = ROOT / "docs" / "samples" / "slice.jpg",
    output: Annotated[Path | None, typer.Option(help="A file for the page, which is printed as well.")] = None,
    pairs: int = 30,
    seconds: float = 3.0,
) -> None:
    """Measures at concurrency 8 and 32; prints a page of markdown."""
    bin_dir, model = environment(), write_bundle(CACHE / "models")
    samples: defaultdict[tuple[str, int], list[Sample]] = defaultdict(list)
    with ExitStack() as opened:
        logs = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        systems = [opened.enter_context(falx(CACHE / "models"))]
        systems[0].pause()
        for name in PEERS:
            systems.append(opened.enter_context(peer(name, model, bin_dir, logs, image.read_bytes())))
            systems[-1].pause()
        for turn, concurrency in track([(turn, concurrency) for turn in range(pairs) for concurrency in CONCURRENCIES]):
            # Falx and each peer are neighbours as often before as behind.
            for system in systems if turn % 2 else reversed(systems):
                system.resume()
                sample = measure([system.url], image, concurrency, seconds, system.trees)
                system.pause()
                samples[system.name, concurrency].append(sample)
        memory = {system.name: system.memory_mib() for system in systems}
    rows = ["| system | at once | CPU ms | images/s | p50 ms | p95 ms | p99 ms | PSS MiB | RSS MiB | requests | failed "
            "| CPU of Falx | images/s of Falx |", "|---|" + "---:|" * 12]  # fmt: skip
    for concurrency in CONCURRENCIES:
        ours = samples[FALX, concurrency]
        rows += [row(name, concurrency, samples[name, concurrency], ours, memory[name]) for name in (FALX, *PEERS)]
    page = _PAGE.format(pairs=pairs, seconds=seconds, machine=machine(), rows="\n".join(rows))
    typer.echo(page)
    if output is not None:
        output.write_text(page)


if __name__ == "__main__":
    typer.run(main)
