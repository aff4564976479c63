"""Several files of one call hold places for all or for none, and give them back however the call ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from starlette.requests import Request
from starlette.responses import Response

from core.contracts.service import Readiness
from core.errors import DeadlineExceeded, InvalidImage, NotReady, QueueFull
from core.http.bodies import Upload
from core.http.requests import Deadline
from core.http.shell import create_shell, metrics_of
from core.serving.batcher import Batcher, Ticket
from core.serving.batches import answer_batch
from core.serving.model_server import RowOutputs
from core.serving.schedule import Limits

FILES = tuple(Upload(data, None) for data in (b"1", b"22", b"333"))
APP = create_shell("test", readiness=lambda: Readiness(ready=True))


def make_batcher(max_queue: int = 8) -> Batcher[RowOutputs]:
    """Answers each row with itself, once it is started."""
    return Batcher(lambda rows: [{"row": row.copy()} for row in rows], Limits(max_queue=max_queue))


def a_request() -> Request:
    return Request({"type": "http", "method": "POST", "headers": [], "app": APP, "state": {"request_id": "r-1"}})


async def size(uploads: Mapping[str, Upload], ticket: Ticket[RowOutputs]) -> Response:
    data = uploads["file"].data
    if data == b"bad":
        raise InvalidImage("broken")
    if data == b"bug":
        raise RuntimeError("a bug")
    outcome = await ticket.submit_rows(np.array([[len(data)]]))
    return Response(str(int(outcome.value[0]["row"][0])))


async def ask(batcher: Batcher[RowOutputs], *files: Upload | InvalidImage, within_s: float = 20.0) -> Any:
    answer = await answer_batch(a_request(), batcher, files, size, Deadline.after(within_s))
    return json.loads(bytes(answer.body))["items"]


async def test_answers_come_in_the_order_of_the_files() -> None:
    batcher = make_batcher().start()
    assert [item["answer"] for item in await ask(batcher, *FILES)] == [1, 2, 3]
    assert batcher.waiting == 0
    await batcher.drain()


async def test_a_bug_or_a_fault_is_told_of_its_file_alone_and_counted() -> None:
    batcher = make_batcher().start()
    rejected = metrics_of(APP).rejections.labels("invalid-image")
    before = rejected._value.get()
    found = await ask(batcher, Upload(b"bad", None), FILES[1], Upload(b"bug", None), InvalidImage("not even read"))
    assert [item["status"] for item in found] == [400, 200, 500, 400]
    assert [item["problem"]["code"] for item in found if "problem" in item] == [
        "invalid-image",
        "internal-error",
        "invalid-image",
    ]
    assert rejected._value.get() == before + 2
    assert batcher.waiting == 0
    await batcher.drain()


async def test_a_queue_with_too_few_places_takes_none_of_the_files() -> None:
    batcher = make_batcher(max_queue=3)
    with batcher.admit():
        with pytest.raises(QueueFull) as refused:
            await ask(batcher, *FILES)
        assert refused.value.retry_after_s is not None
        assert batcher.waiting == 1


async def test_a_passed_deadline_refuses_the_call_and_gives_its_places_back() -> None:
    batcher = make_batcher()  # not started: nothing is ever answered
    with pytest.raises(DeadlineExceeded):
        await ask(batcher, *FILES, within_s=0.05)
    assert batcher.waiting == 0


async def test_a_call_that_is_given_up_gives_its_places_back() -> None:
    batcher = make_batcher()
    call = asyncio.create_task(ask(batcher, *FILES))
    await asyncio.sleep(0.02)
    assert batcher.waiting == 3
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert batcher.waiting == 0


async def test_a_call_that_has_its_places_is_finished_while_the_server_stops() -> None:
    batcher = make_batcher()
    call = asyncio.create_task(ask(batcher, *FILES))
    await asyncio.sleep(0.02)
    drain = asyncio.create_task(batcher.drain())
    await asyncio.sleep(0)
    with pytest.raises(NotReady):
        await ask(batcher, FILES[0])
    batcher.start()
    assert [item["answer"] for item in await call] == [1, 2, 3]
    await drain
