"""Items that a thread makes before they run: what cannot be made, and what nobody waits for any more."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from core.errors import DeadlineExceeded, InvalidRequest
from core.serving.batcher import Batcher
from tests.support.batching import Array, Network, item, make_batcher, serving, until_waiting


async def make_and_ask(
    batcher: Batcher[float], pool: ThreadPoolExecutor, make: Callable[[], float], *, timeout_s: float | None = None
) -> tuple[str, float]:
    def task() -> tuple[str, Array]:
        return "made", item(make())

    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    with batcher.admit(deadline) as ticket:
        made, outcome = await ticket.submit_made(pool, task)
    return made, outcome.value


async def test_what_a_thread_makes_runs_right_from_there() -> None:
    network = Network()
    with ThreadPoolExecutor(2) as pool:
        async with serving(make_batcher(network)) as batcher:
            answers = await asyncio.gather(*(make_and_ask(batcher, pool, partial(float, v)) for v in range(20)))
    assert answers == [("made", 2.0 * value) for value in range(20)]
    assert sorted(network.values) == list(range(20))


class Panic(BaseException):
    """As native code raises it."""


@pytest.mark.parametrize("kind", [InvalidRequest, Panic])
async def test_what_cannot_be_made_is_told_and_gives_its_place_back(kind: type[BaseException]) -> None:
    def broken() -> float:
        raise kind("cannot decode")

    with ThreadPoolExecutor(1) as pool:
        async with serving(make_batcher(Network(), max_queue=1)) as batcher:
            for _ in range(3):
                with pytest.raises(kind, match="cannot decode"):
                    await make_and_ask(batcher, pool, broken)
            assert batcher.waiting == 0
            assert await make_and_ask(batcher, pool, lambda: 4) == ("made", 8.0)


@pytest.mark.parametrize("how", ["client", "deadline"])
async def test_nothing_runs_for_whom_nobody_waits_any_more_once_it_is_made(how: str) -> None:
    network, go, begun = Network(), threading.Event(), threading.Event()

    def slow() -> float:
        begun.set()
        assert go.wait(10)
        return 9

    with ThreadPoolExecutor(1) as pool:
        async with serving(make_batcher(network, max_queue=2)) as batcher:
            timeout_s = 0.05 if how == "deadline" else None
            task = asyncio.create_task(make_and_ask(batcher, pool, slow, timeout_s=timeout_s))
            # Behind it in the pool: never begun, so it is not even made.
            behind = asyncio.create_task(make_and_ask(batcher, pool, lambda: 10))
            assert await asyncio.to_thread(begun.wait, 10)
            behind.cancel()
            if how == "client":
                task.cancel()
            with pytest.raises(asyncio.CancelledError if how == "client" else DeadlineExceeded):
                await task
            await asyncio.wait([behind])
            assert batcher.waiting == 0
            go.set()
            assert await make_and_ask(batcher, pool, lambda: 3) == ("made", 6.0)
    assert network.values == [3.0]


async def test_drain_waits_for_what_is_being_made() -> None:
    network, go = Network(), threading.Event()

    def slow() -> float:
        assert go.wait(10)
        return 5

    with ThreadPoolExecutor(1) as pool:
        batcher = make_batcher(network).start()
        task = asyncio.create_task(make_and_ask(batcher, pool, slow))
        await until_waiting(batcher, 1)
        drain = asyncio.create_task(batcher.drain())
        await asyncio.sleep(0.02)
        assert not drain.done()
        go.set()
        assert await task == ("made", 10.0)
        await asyncio.wait_for(drain, 5)


@pytest.mark.parametrize("how", ["client", "deadline", "nothing"])
async def test_who_makes_an_item_can_tell_for_how_long_it_is_waited_for(how: str) -> None:
    begun, go, left_s = threading.Event(), threading.Event(), list[float]()

    async with serving(make_batcher(Network())) as batcher:
        with ThreadPoolExecutor(1) as pool:

            async def ask() -> None:
                with batcher.admit(time.monotonic() + (0.2 if how == "deadline" else 60)) as ticket:

                    def make() -> tuple[None, Array]:
                        left_s.append(ticket.left_s)
                        begun.set()
                        assert go.wait(10)
                        left_s.append(ticket.left_s)
                        return None, item(1)

                    await ticket.submit_made(pool, make)

            task = asyncio.create_task(ask())
            assert await asyncio.to_thread(begun.wait, 10)
            if how == "client":
                task.cancel()
            if how != "nothing":
                await asyncio.wait([task])
            go.set()
            await asyncio.wait([task])
    assert 0 < left_s[0] <= 60
    assert (left_s[1] > 0) is (how == "nothing")
