"""The way of a request about slices: query, limits, place in the queue."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from urllib.parse import urlencode

import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from core.errors import DeadlineExceeded, InvalidImage, InvalidRequest, QueueFull
from core.http.bodies import Upload
from core.http.requests import ClientGone
from core.serving.batcher import Batcher, Ticket
from core.serving.model_server import RowOutputs
from core.serving.schedule import Limits
from core.serving.settings import ModelServingSettings
from core.serving.slice_requests import answer_slices, image_limits, read_query

SETTINGS = ModelServingSettings(max_image_bytes=2048, max_image_pixels=5000, max_image_side=99)


class AQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    model: str | None = None
    threshold: float | None = Field(default=None, gt=0, lt=1)


class Client:
    """Sends a body, and after it nothing or a hang-up; remembers what of it was read."""

    def __init__(self, body: bytes = b"pixels", *, hangs_up: bool = False) -> None:
        self.read = 0
        self._messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
        if hangs_up:
            self._messages.append({"type": "http.disconnect"})

    async def receive(self) -> Message:
        if not self._messages:
            await asyncio.Event().wait()
        self.read += 1
        return self._messages.pop(0)

    def request(self, query: Mapping[str, str] | None = None, **headers: str) -> Request:
        fields = {"content-type": "image/png", **{name.replace("_", "-"): value for name, value in headers.items()}}
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/",
            "query_string": urlencode(query or {}).encode(),
            "headers": [(name.encode(), value.encode()) for name, value in fields.items()],
        }
        return Request(scope, self.receive)


def make_batcher(max_queue: int = 1) -> Batcher[RowOutputs]:
    """Answers each row with itself, once it is started."""
    return Batcher(lambda rows: [{"row": row.copy()} for row in rows], Limits(max_queue=max_queue))


async def size(uploads: Mapping[str, Upload], ticket: Ticket[RowOutputs]) -> Response:
    outcome = await ticket.submit_rows(np.array([[len(uploads["file"].data)]]))
    return Response(str(int(outcome.value[0]["row"][0])))


async def test_the_images_reach_the_work() -> None:
    batcher = make_batcher().start()
    answer = await answer_slices(Client(b"12345").request(), batcher, SETTINGS, ("file",), size)
    assert answer.body == b"5"
    assert batcher.waiting == 0
    await batcher.drain()


async def test_a_full_queue_refuses_before_the_body_is_read() -> None:
    batcher, client = make_batcher(), Client()
    with batcher.admit(), pytest.raises(QueueFull) as refused:
        await answer_slices(client.request(), batcher, SETTINGS, ("file",), size)
    assert refused.value.retry_after_s is not None
    assert client.read == 0


async def test_no_place_is_taken_while_a_body_is_on_its_way() -> None:
    batcher, client = make_batcher(), Client()
    request = client.request()
    body_is_due = asyncio.Event()
    receive = client.receive

    async def slow_receive() -> Message:
        await body_is_due.wait()
        return await receive()

    slow = Request(request.scope, slow_receive)
    task = asyncio.create_task(answer_slices(slow, batcher, SETTINGS, ("file",), size))
    await asyncio.sleep(0.01)
    assert batcher.waiting == 0
    body_is_due.set()
    await asyncio.sleep(0.01)
    assert batcher.waiting == 1
    batcher.start()
    assert (await task).body == str(len(b"pixels")).encode()
    await batcher.drain()


@pytest.mark.parametrize("failure", [InvalidImage("broken"), RuntimeError("bug")])
async def test_a_place_is_given_back_when_the_work_fails(failure: Exception) -> None:
    batcher = make_batcher()

    async def fail(_uploads: Mapping[str, Upload], _ticket: Ticket[RowOutputs]) -> Response:
        raise failure

    with pytest.raises(type(failure)):
        await answer_slices(Client().request(), batcher, SETTINGS, ("file",), fail)
    assert batcher.waiting == 0


async def test_a_client_that_hangs_up_gives_its_place_back() -> None:
    batcher = make_batcher()  # not started: the work would wait for ever
    with pytest.raises(ClientGone):
        await answer_slices(Client(hangs_up=True).request(), batcher, SETTINGS, ("file",), size)
    assert batcher.waiting == 0


async def test_a_deadline_ends_the_wait() -> None:
    batcher = make_batcher()
    with pytest.raises(DeadlineExceeded):
        await answer_slices(Client().request(x_request_timeout_ms="20"), batcher, SETTINGS, ("file",), size)
    assert batcher.waiting == 0


def test_limits_come_from_the_settings() -> None:
    limits = image_limits(SETTINGS)
    assert (limits.max_bytes, limits.max_pixels, limits.max_side) == (2048, 5000, 99)


def test_a_query_is_read_by_its_type() -> None:
    query = read_query(AQuery, Client().request({"model": "a@1", "threshold": "0.25"}))
    assert query == AQuery(model="a@1", threshold=0.25)
    assert read_query(AQuery, Client().request()) == AQuery()


def test_faults_of_a_query_are_named_without_its_values() -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_query(AQuery, Client().request({"threshold": "secret", "treshold": "0.5"}))
    assert [error.pointer for error in refused.value.errors] == ["query/threshold", "query/treshold"]
    assert "secret" not in refused.value.detail + str(refused.value.errors)
