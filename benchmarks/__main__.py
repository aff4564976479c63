"""``python -m benchmarks``: raw ONNX Runtime, the model server and the gateway beside each other in one run."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track

from benchmarks.cells import SYSTEMS, Cell, Sample, System, Variant
from benchmarks.load import offer
from benchmarks.report import write_report
from benchmarks.stack import Server, stack
from core.contracts.manifest import Manifest
from core.runtime.cpus import usable_cpus

ROOT = Path(__file__).parents[1]
Key = tuple[System, Variant, int]

PathOption = Annotated[Path, typer.Option()]


def files_of(bundle: Path) -> dict[Variant, str]:
    """Names of the files of a bundle, fp32 first."""
    manifest = Manifest.model_validate_json((bundle / "manifest.json").read_bytes())
    return {file.variant: file.name for file in manifest.files}


def measure_raw(bundle: Path, variant: Variant, image: Path, concurrency: int, seconds: float) -> Sample:
    """The ceiling; more threads than cores would only measure the scheduler."""
    file = files_of(bundle)[variant]
    threads = min(concurrency, usable_cpus())
    command = [sys.executable, "-m", "benchmarks.raw", str(bundle), file, str(image), str(threads), str(seconds)]
    output = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    return Sample(**json.loads(output))


def measure_served(url: str, image: Path, concurrency: int, seconds: float, servers: list[Server]) -> Sample:
    """Offers load to ``url`` and adds up the CPU time of ``servers``; a second of load comes first, uncounted."""
    body = image.read_bytes()
    asyncio.run(offer([url], body, "image/jpeg", concurrency, 1.0))
    before = sum(server.cpu_s() for server in servers)
    sample = asyncio.run(offer([url], body, "image/jpeg", concurrency, seconds))
    cpu_s = sum(server.cpu_s() for server in servers) - before
    return Sample(sample.latencies_ms, sample.wall_s, cpu_s, sample.failed)


def one_round(
    bundle: Path, variant: Variant, image: Path, concurrency: int, seconds: float, running: tuple[Server, Server]
) -> dict[System, Sample]:
    """The three systems one after the other, so that they share whatever the machine is doing."""
    model_server, gateway = running
    path = "/v1/classifications"
    return {
        "raw": measure_raw(bundle, variant, image, concurrency, seconds),
        "server": measure_served(model_server.url + path, image, concurrency, seconds, [model_server]),
        "gateway": measure_served(gateway.url + path, image, concurrency, seconds, [model_server, gateway]),
    }


def main(
    models_dir: PathOption = ROOT / "models",
    bundle_name: str = "tumor-classifier/1",
    image: PathOption = ROOT / "docs" / "samples" / "slice.jpg",
    output: PathOption = ROOT / "docs" / "benchmarks.md",
    rounds: int = 3,
    seconds: float = 5.0,
) -> None:
    """Measures fp32, and int8 where the bundle has it, at concurrency 1, 8 and 32 and writes docs/benchmarks.md."""
    samples: defaultdict[Key, list[Sample]] = defaultdict(list)
    for variant in files_of(models_dir / bundle_name):
        with stack(models_dir, bundle_name.partition("/")[0], variant) as running:
            plan = [(turn, concurrency) for turn in range(rounds) for concurrency in (1, 8, 32)]
            for _, concurrency in track(plan, description=variant):
                found = one_round(models_dir / bundle_name, variant, image, concurrency, seconds, running)
                for system in SYSTEMS:
                    samples[system, variant, concurrency].append(found[system])
    cells = {key: Cell(*key, samples=value) for key, value in samples.items()}
    write_report(output, cells, image=image, rounds=rounds, seconds=seconds)
    typer.echo(f"wrote {output}")


if __name__ == "__main__":
    typer.run(main)
