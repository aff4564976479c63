"""``python -m benchmarks.idle``: what ``make run`` costs while nobody asks for anything."""

from __future__ import annotations

import time
from typing import Final

import psutil
import typer
from redis import Redis

from benchmarks.against import ROOT, running
from core.jobs.embedded import EmbeddedValkey

# What each process does once, at its start, is over by then.
_SETTLE_S: Final = 5.0


def commands(server: Redis) -> dict[str, int]:
    """How often the server has got each command so far, but for the one that asks this."""
    counted = server.info("commandstats")
    return {name.removeprefix("cmdstat_"): one["calls"] for name, one in counted.items() if name != "cmdstat_info"}


def cpu_s(processes: list[psutil.Process]) -> list[float]:
    """User and system CPU seconds of each so far."""
    return [sum(process.cpu_times()[:2]) for process in processes]


def main(seconds: float = 40.0) -> None:
    """Prints CPU shares by process and commands a second by kind."""
    with running(ROOT) as site:
        time.sleep(_SETTLE_S)
        processes = site.tree.processes()
        names = [" ".join(process.cmdline()[1:4]).strip() or process.name() for process in processes]
        with Redis.from_url(EmbeddedValkey(site.data / "queue").start()) as server:
            asked, spent, began = commands(server), cpu_s(processes), time.monotonic()
            time.sleep(seconds)
            took = time.monotonic() - began
            shares = [(after - before) / took for before, after in zip(spent, cpu_s(processes), strict=True)]
            rates = {name: (calls - asked.get(name, 0)) / took for name, calls in commands(server).items()}
    for name, share in zip(names, shares, strict=True):
        typer.echo(f"{share:7.2%}  {name}")
    typer.echo(f"{sum(shares):7.2%}  of a core together")
    for name, rate in sorted(rates.items(), key=lambda item: -item[1]):
        if rate:
            typer.echo(f"{rate:7.2f}  {name}")
    typer.echo(f"{sum(rates.values()):7.2f}  commands a second")


if __name__ == "__main__":
    typer.run(main)
