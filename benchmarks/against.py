"""``python -m benchmarks.against OLDER``: this checkout and another one beside each other, as a user runs them.

Each side is a folder of Falx that has been installed with ``make``, and runs on its own ``.venv``: the whole of
``make run``, of which every process counts. Both are up all the time, the one that does not answer at present is held
still, and they take turns, so that a busy machine slows them alike.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import orjson
import typer
from rich.progress import track

from benchmarks.cells import Sample, joined, ratio
from benchmarks.processes import Tree, measure, started
from benchmarks.report import machine
from benchmarks.stack import START_LIMIT_S, answers, free_port

ROOT: Final = Path(__file__).parents[1]
CONCURRENCIES: Final = (1, 8, 32)
_CALLS: Final = ("/v1/classifications", "/v1/segmentations")
_ANALYSES: Final = "/v1/analyses"
_PORTS: Final = ("FALX_PORT", "FALX_CLASSIFIER_PORT", "FALX_SEGMENTER_PORT", "FALX_WORKER_PORT")

_PAGE: Final = """# {newer} against {older}

Written by `python -m benchmarks.against`; do not edit by hand. Both checkouts ran as `make run` does, every process
counted, and were asked in turn, through the gateway. Ratios are newer to older over paired rounds, with 95 % intervals;
below 1 is better but for images/s. A request for class and mask is one analysis where the newer side has that, and both
calls on the older one.

- Machine: {machine}
- {rounds} rounds of {seconds:g} s

{cells}

{ratios}
"""


@dataclass(frozen=True, slots=True)
class Site:
    """One side, running: its name, the gateway's address, its processes and the folder of its data."""

    name: str
    url: str
    tree: Tree
    data: Path

    def has(self, path: str) -> bool:
        """Whether its gateway has an operation at ``path``."""
        with urllib.request.urlopen(f"{self.url}/openapi.json", timeout=30) as answer:  # noqa: S310  loopback
            return path in orjson.loads(answer.read())["paths"]


@dataclass(frozen=True, slots=True)
class Kind:
    """What is asked of both sides: the paths that one request posts to, older and newer."""

    name: str
    older: tuple[str, ...]
    newer: tuple[str, ...]


def python_of(folder: Path) -> Path:
    """The Python that a checkout runs on: its own, or this one in this checkout. Ends where there is none."""
    own = folder / ".venv/bin/python"
    if own.exists():
        return own
    if folder == ROOT:
        return Path(sys.executable)
    sys.exit(f"{folder} has no .venv: install it with `make -C {folder} .venv/.installed-run-cpu`.")


@contextmanager
def running(folder: Path) -> Iterator[Site]:
    """The stack of a checkout, ready, until the block ends. Raises RuntimeError where it does not come up."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FALX_")}
    # Short: the path of the queue's socket must fit.
    with tempfile.TemporaryDirectory(prefix="falx-") as data:
        settings = {name: str(free_port()) for name in _PORTS} | {"FALX_DATA_DIR": data}
        command = [str(python_of(folder)), "-m", "deploy.embedded"]
        log = Path(data) / "output"
        with started(command, folder, inherited | settings, log) as tree:
            url = f"http://127.0.0.1:{settings['FALX_PORT']}"
            give_up_at = time.monotonic() + START_LIMIT_S
            while not answers(f"{url}/readyz"):
                if not tree.root.is_running() or time.monotonic() > give_up_at:
                    raise RuntimeError(f"{folder} did not become ready: {log.read_text()[-2000:]}")
                time.sleep(0.2)
            yield Site(folder.name, url, tree, Path(data))


def kinds_of(newer: Site) -> list[Kind]:
    """What both can be asked: each call alone, and the two of them against one analysis where there is that."""
    kinds = [Kind("classification", _CALLS[:1], _CALLS[:1]), Kind("segmentation", _CALLS[1:], _CALLS[1:])]
    return [*kinds, Kind("class and mask", _CALLS, (_ANALYSES,))] if newer.has(_ANALYSES) else kinds


def compare(
    sides: Sequence[Site], kind: Kind, image: Path, concurrency: int, seconds: float, turn: int
) -> list[Sample]:
    """One round, older and newer; which of them comes first changes with ``turn``."""
    samples: dict[str, Sample] = {}
    pairs = list(zip(("older", "newer"), sides, (kind.older, kind.newer), strict=True))
    for side, site, paths in pairs if turn % 2 else reversed(pairs):
        site.tree.resume()
        samples[side] = measure([site.url + path for path in paths], image, concurrency, seconds, [site.tree])
        site.tree.pause()
    return [samples["older"], samples["newer"]]


def cell_row(kind: str, concurrency: int, side: str, samples: Sequence[Sample]) -> str:
    """All rounds of one side as a row of the first table."""
    whole = joined(samples)
    latencies = " | ".join(f"{whole.percentile_ms(percent):.1f}" for percent in (50, 95, 99))
    return (
        f"| {kind} | {concurrency} | {side} | {whole.cpu_ms:.2f} | {whole.rate:.1f} | {latencies} | "
        f"{len(whole.latencies_ms)} | {whole.failed} |"
    )


def ratio_row(kind: str, concurrency: int, older: Sequence[Sample], newer: Sequence[Sample]) -> str:
    """What the newer is of the older, as a row of the second table."""
    found = [
        ratio([s.cpu_ms for s in newer], [s.cpu_ms for s in older]),
        ratio([s.rate for s in newer], [s.rate for s in older]),
        *(ratio([s.percentile_ms(p) for s in newer], [s.percentile_ms(p) for s in older]) for p in (50, 95, 99)),
    ]
    return f"| {kind} | {concurrency} | " + " | ".join(map(str, found)) + " |"


def main(
    older: Annotated[Path, typer.Argument(help="Another checkout, installed with make.")],
    newer: Annotated[Path, typer.Argument(help="This checkout, unless another is named.")] = ROOT,
    image: Path = ROOT / "docs" / "samples" / "slice.jpg",
    output: Annotated[Path | None, typer.Option(help="A file for the page, which is printed as well.")] = None,
    rounds: int = 10,
    seconds: float = 4.0,
) -> None:
    """Measures classification, segmentation and analyses at concurrency 1, 8 and 32; prints a page of markdown."""
    cells = ["| what | at once | side | CPU ms | images/s | p50 ms | p95 ms | p99 ms | requests | failed |"]
    cells.append("|---|---:|---|---:|---:|---:|---:|---:|---:|---:|")
    ratios = ["| what | at once | CPU | images/s | p50 | p95 | p99 |", "|---|---:|---:|---:|---:|---:|---:|"]
    with ExitStack() as stack:
        sides = [stack.enter_context(running(folder.resolve())) for folder in (older, newer)]
        plan = [(kind, concurrency) for kind in kinds_of(sides[1]) for concurrency in CONCURRENCIES]
        for site in sides:
            site.tree.pause()
        for kind, concurrency in track(plan):
            turns = [compare(sides, kind, image, concurrency, seconds, turn) for turn in range(rounds)]
            before, after = [list(samples) for samples in zip(*turns, strict=True)]
            cells += [cell_row(kind.name, concurrency, "older", before)]
            cells += [cell_row(kind.name, concurrency, "newer", after)]
            ratios += [ratio_row(kind.name, concurrency, before, after)]
    page = _PAGE.format(
        newer=newer.resolve().name,
        older=older.resolve().name,
        rounds=rounds,
        seconds=seconds,
        machine=machine(),
        cells="\n".join(cells),
        ratios="\n".join(ratios),
    )
    typer.echo(page)
    if output is not None:
        output.write_text(page)


if __name__ == "__main__":
    typer.run(main)
