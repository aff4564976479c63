"""The threads around the schedule, with real threads and a real event loop."""

from __future__ import annotations

import asyncio
import threading
import time

import numpy as np
import pytest

from core.errors import DeadlineExceeded, InvalidRequest, NotReady, QueueFull
from core.serving.batcher import Batcher, Outcome
from core.serving.schedule import Limits
from tests.support.batching import Array, Network, Watch, ask, block, item, make_batcher, serving, until_waiting


async def test_one_item_gets_its_result_and_its_times() -> None:
    network = Network(seconds=0.02)
    async with serving(make_batcher(network)) as batcher:
        with batcher.admit() as ticket:
            outcome = await ticket.submit_rows(item(4)[None])
    assert isinstance(outcome, Outcome)
    assert outcome.value == [8.0]
    assert outcome.inference_s >= 0.02
    assert 0 <= outcome.queue_s < 0.5


@pytest.mark.parametrize("runners", [1, 3])
async def test_every_one_of_many_gets_its_own_result(runners: int) -> None:
    network = Network()
    async with serving(make_batcher(network, max_queue=500, runners=runners)) as batcher:
        answers = await asyncio.gather(*(ask(batcher, value, size=1 + value % 3) for value in range(300)))
    assert answers == [2.0 * value for value in range(300)]
    assert sorted(network.values) == list(range(300))


async def test_what_is_queued_runs_as_one_batch_of_one_shape() -> None:
    network, watch = Network(), Watch()
    async with serving(make_batcher(network, observer=watch)) as batcher:
        blocker = await block(batcher, network)
        tasks = [asyncio.create_task(ask(batcher, value, size=3 + value % 2)) for value in range(1, 6)]
        await until_waiting(batcher, 5)
        network.open.set()
        assert await asyncio.gather(*tasks) == [2.0, 4.0, 6.0, 8.0, 10.0]
        await blocker
    assert [batch.shape for batch in network.batches] == [(1, 3), (3, 4), (2, 3)]
    assert watch.rows == [1, 3, 2]


async def test_runners_work_at_the_same_time() -> None:
    network = Network()
    network.open.clear()
    async with serving(make_batcher(network, max_rows=1, runners=2)) as batcher:
        tasks = [asyncio.create_task(ask(batcher, value)) for value in range(2)]
        for _ in range(2):
            assert await asyncio.to_thread(network.entered.acquire, timeout=5)
        network.open.set()
        await asyncio.gather(*tasks)


async def test_a_batch_beside_which_nothing_waits_or_runs_may_use_all_cores() -> None:
    crowd, alone = Network(), Network()
    async with serving(make_batcher(crowd, alone=alone, max_rows=1, runners=2)) as batcher:
        assert await ask(batcher, 1) == 2.0
        assert (alone.values, crowd.values) == ([1.0], [])
        alone.entered.acquire()  # of the run that is over
        blocker = await block(batcher, alone)
        assert await ask(batcher, 2) == 4.0
        alone.open.set()
        await blocker
        with batcher.admit():
            # Somebody else's image is being decoded.
            assert await ask(batcher, 3) == 6.0
        assert await ask(batcher, 4) == 8.0
    assert crowd.values == [2.0, 3.0]
    assert alone.values == [1.0, 0.0, 4.0]


async def test_broken_item_fails_alone() -> None:
    network = Network()
    async with serving(make_batcher(network)) as batcher:
        blocker = await block(batcher, network)
        tasks = [asyncio.create_task(ask(batcher, value)) for value in (1, -13, 3, 4)]
        await until_waiting(batcher, 4)
        network.open.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        await blocker
        assert await ask(batcher, 5) == 10.0
    assert answers[0] == 2.0
    assert isinstance(answers[1], RuntimeError)
    assert answers[2:] == [6.0, 8.0]


async def test_wrong_number_of_results_is_an_error_for_all_and_not_a_mixed_up_answer() -> None:
    batcher: Batcher[float] = Batcher(lambda rows: [1.0], Limits(8, max_rows=4)).start()
    with batcher.admit() as ticket, pytest.raises(RuntimeError, match="1 results for 3 rows"):
        await ticket.submit_rows(np.zeros((3, 2), np.float32))
    await batcher.drain()


async def test_hung_up_clients_never_run() -> None:
    network, watch = Network(), Watch()
    async with serving(make_batcher(network, observer=watch)) as batcher:
        blocker = await block(batcher, network)
        tasks = [asyncio.create_task(ask(batcher, value)) for value in range(100, 124)]
        await until_waiting(batcher, 24)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert batcher.waiting == 0
        network.open.set()
        await blocker
        assert await ask(batcher, 7) == 14.0
    assert network.values == [0.0, 7.0]
    assert watch.drops == {"cancelled": 24}


async def test_passed_deadline_is_told_in_time_and_never_runs() -> None:
    network, watch = Network(), Watch()
    async with serving(make_batcher(network, observer=watch)) as batcher:
        blocker = await block(batcher, network)
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            await ask(batcher, 9, timeout_s=0.05)
        assert 0.05 <= time.monotonic() - started < 1.0
        network.open.set()
        await blocker
    assert network.values == [0.0]
    assert watch.drops == {"expired": 1}


async def test_deadline_during_the_run_is_told_in_time() -> None:
    network = Network()
    async with serving(make_batcher(network)) as batcher:
        network.open.clear()
        with pytest.raises(DeadlineExceeded):
            await ask(batcher, 9, timeout_s=0.05)
        network.open.set()
        assert await ask(batcher, 2) == 4.0


async def test_full_queue_refuses_and_retry_after_proves_right() -> None:
    network = Network(seconds=0.02)
    async with serving(make_batcher(network, max_queue=4, max_rows=1, service_s=0.02)) as batcher:
        blocker = await block(batcher, network)
        tasks = [asyncio.create_task(ask(batcher, value)) for value in range(4)]
        await until_waiting(batcher, 4)
        with pytest.raises(QueueFull) as refusal:
            batcher.admit()
        network.open.set()
        assert refusal.value.retry_after_s is not None
        await asyncio.sleep(refusal.value.retry_after_s)
        assert await ask(batcher, 5) == 10.0
        await asyncio.gather(blocker, *tasks)


async def test_ticket_left_unsubmitted_gives_its_place_back() -> None:
    async with serving(make_batcher(Network(), max_queue=1)) as batcher:
        for _ in range(3):
            with pytest.raises(ValueError, match="cannot decode"), batcher.admit():
                raise ValueError("cannot decode")
        assert batcher.waiting == 0


async def test_large_request_runs_alone_in_pieces_of_the_limit() -> None:
    network = Network()
    async with serving(make_batcher(network, max_rows=4)) as batcher:
        rows = np.arange(10, dtype=np.float32)[:, np.newaxis]
        with batcher.admit() as ticket:
            outcome = await ticket.submit_rows(rows)
    assert outcome.value == [2.0 * value for value in range(10)]
    assert [len(batch) for batch in network.batches] == [4, 4, 2]


async def test_rows_that_never_fit_are_refused() -> None:
    async with serving(make_batcher(Network(), max_queue=4)) as batcher:
        with batcher.admit() as ticket, pytest.raises(InvalidRequest, match="at most 4 rows"):
            await ticket.submit_rows(np.zeros((5, 2), np.float32))
        with batcher.admit() as ticket, pytest.raises(InvalidRequest, match="at least one row"):
            await ticket.submit_rows(np.zeros((0, 2), np.float32))
        assert batcher.waiting == 0


async def test_buckets_pad_with_zeros_and_cut_the_padding_off() -> None:
    network = Network()
    async with serving(make_batcher(network, max_rows=8, buckets=(1, 2, 4, 8))) as batcher:
        blocker = await block(batcher, network)
        tasks = [asyncio.create_task(ask(batcher, value)) for value in (5, 6, 7)]
        await until_waiting(batcher, 3)
        network.open.set()
        assert await asyncio.gather(*tasks) == [10.0, 12.0, 14.0]
        await blocker
    assert network.batches[1].tolist() == [[5.0] * 3, [6.0] * 3, [7.0] * 3, [0.0] * 3]


async def test_memory_of_a_batch_is_used_again() -> None:
    seen: list[Array] = []

    def forward(rows: Array) -> list[float]:
        seen.append(rows)
        return [0.0] * len(rows)

    batcher: Batcher[float] = Batcher(forward, Limits(64, max_rows=2), buckets=(2,)).start()
    for value in range(3):
        with batcher.admit() as ticket:
            await ticket.submit_rows(item(value)[None])
    await batcher.drain()
    assert all(np.shares_memory(seen[0], rows) for rows in seen)


async def test_drain_finishes_all_in_flight_and_admits_nobody() -> None:
    network = Network(seconds=0.01)
    batcher = make_batcher(network, max_rows=1).start()
    decoding = batcher.admit()
    tasks = [asyncio.create_task(ask(batcher, value)) for value in range(12)]
    await until_waiting(batcher, 12)
    drain = asyncio.create_task(batcher.drain())
    await asyncio.sleep(0)
    with pytest.raises(NotReady):
        batcher.admit()
    assert await asyncio.gather(*tasks) == [2.0 * value for value in range(12)]
    assert not drain.done()
    with decoding as ticket:
        assert (await ticket.submit_rows(item(50)[None])).value == [100.0]
    await asyncio.wait_for(drain, 5)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("model-runner")]


async def test_drain_ends_when_the_last_decoder_gives_up() -> None:
    batcher = make_batcher(Network()).start()
    ticket = batcher.admit()
    drain = asyncio.create_task(batcher.drain())
    await asyncio.sleep(0.02)
    assert not drain.done()
    with ticket:
        pass
    await asyncio.wait_for(drain, 5)


def test_closed_event_loop_ends_no_runner() -> None:
    network = Network()
    batcher = make_batcher(network)

    async def hang_up() -> None:
        task = await block(batcher.start(), network)
        task.cancel()

    asyncio.run(hang_up())
    network.open.set()

    async def next_client() -> float:
        answer = await ask(batcher, 3)
        await batcher.drain()
        return answer

    assert asyncio.run(next_client()) == 6.0


async def test_overhead_per_request_is_small() -> None:
    """CPU time of admission, queue, two thread switches and the result, with a network that does nothing."""
    count = 2000
    batcher: Batcher[float] = Batcher(lambda rows: [0.0] * len(rows), Limits(64)).start()
    rows = item(1)[None]

    async def client() -> None:
        for _ in range(count // 8):
            with batcher.admit(time.monotonic() + 60) as ticket:
                await ticket.submit_rows(rows)

    started = time.process_time()
    await asyncio.gather(*(client() for _ in range(8)))
    spent_ms = (time.process_time() - started) / count * 1000
    await batcher.drain()
    assert spent_ms < 0.5  # 0.04 to 0.1 ms on an idle core; the bound leaves room for a busy one
