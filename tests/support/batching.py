"""A network that tests can hold shut, and ways to ask a batcher in front of it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from core.serving.batcher import Batcher
from core.serving.schedule import DropReason, Limits

Array = npt.NDArray[Any]


class Network:
    """Doubles its input; records every batch; can be held shut; fails on a row that holds -13."""

    def __init__(self, *, seconds: float = 0.0) -> None:
        self.batches: list[Array] = []
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Semaphore(0)
        self.seconds = seconds

    def __call__(self, rows: Array) -> list[float]:
        self.entered.release()
        assert self.open.wait(10)
        time.sleep(self.seconds)
        self.batches.append(rows.copy())
        if (rows == -13).any():
            raise RuntimeError("thirteen")
        return [2.0 * float(row.flat[0]) for row in rows]

    @property
    def values(self) -> list[float]:
        """First value of every row that ran, in order."""
        return [float(row.flat[0]) for batch in self.batches for row in batch]


class Watch:
    """Counts what the batcher tells."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.drops: Counter[str] = Counter()

    def ran(self, *, rows: int, queue_s: Sequence[float], inference_s: float) -> None:
        assert all(wait >= 0 for wait in queue_s)
        assert inference_s >= 0
        self.rows.append(rows)

    def dropped(self, reason: DropReason) -> None:
        self.drops[reason] += 1


@asynccontextmanager
async def serving(batcher: Batcher[float]) -> AsyncIterator[Batcher[float]]:
    batcher.start()
    try:
        yield batcher
    finally:
        await batcher.drain()


def make_batcher(
    network: Network, *, max_queue: int = 64, max_rows: int = 4, runners: int = 1, **options: Any
) -> Batcher[float]:
    return Batcher(network, Limits(max_queue=max_queue, max_rows=max_rows), runners=runners, **options)


def item(value: float, *, size: int = 3) -> Array:
    return np.full((size,), value, np.float32)


async def ask(batcher: Batcher[float], value: float, *, timeout_s: float | None = None, size: int = 3) -> float:
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    with batcher.admit(deadline) as ticket:
        return (await ticket.submit_rows(item(value, size=size)[None])).value[0]


async def block(batcher: Batcher[float], network: Network) -> asyncio.Task[float]:
    """Keep the only runner busy until ``network.open`` is set."""
    network.open.clear()
    task = asyncio.create_task(ask(batcher, 0.0))
    assert await asyncio.to_thread(network.entered.acquire, timeout=10)
    return task


async def until_waiting(batcher: Batcher[float], rows: int) -> None:
    async with asyncio.timeout(5):
        while batcher.waiting != rows:  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0.001)
