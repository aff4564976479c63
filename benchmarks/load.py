"""A closed-loop load: as many clients as the concurrency, each sends its next request when the last is answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import aiohttp

from benchmarks.cells import Sample


async def offer(urls: Sequence[str], image: bytes, media_type: str, concurrency: int, seconds: float) -> Sample:
    """Posts ``image`` from ``concurrency`` clients for ``seconds``; CPU time is the caller's to add.

    One request posts it to each of ``urls`` in turn, and has failed where one of them does not answer with 200.
    """
    latencies: list[float] = []
    failed = 0
    stop_at = time.perf_counter() + seconds

    async def client(session: aiohttp.ClientSession) -> None:
        nonlocal failed
        while time.perf_counter() < stop_at:
            started = time.perf_counter()
            wrong = False
            for url in urls:
                async with session.post(url, data=image, headers={"Content-Type": media_type}) as answer:
                    await answer.read()
                wrong |= answer.status != 200
            failed += wrong
            latencies.append((time.perf_counter() - started) * 1e3)

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        wall = time.perf_counter()
        await asyncio.gather(*(client(session) for _ in range(concurrency)))
        return Sample(latencies_ms=latencies, wall_s=time.perf_counter() - wall, cpu_s=0.0, failed=failed)
