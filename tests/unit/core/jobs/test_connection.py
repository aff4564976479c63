"""Which addresses are taken, and what becomes of a server that is away."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from docket import Docket

from core.errors import QueueUnavailable, UnsafeConfiguration
from core.jobs.connection import check_url, reaching
from core.jobs.queue import open_queue
from core.jobs.settings import QueueSettings

TAKEN = [
    "redis://localhost",
    "redis://localhost:6379/0",
    "redis://user:p%40ss@redis:6379/2?socket_timeout=3",
    "rediss://redis:6380/0?ssl_ca_certs=/ca.pem",
    "redis://[::1]:6379/0",
    "unix:///run/valkey.sock",
    "redis+sentinel://s1/mymaster",
    "redis+sentinel://:secret@s1:26379,s2:26379,[::1]:26379/mymaster/1?sentinel_password=other",
    "rediss+sentinel://s1,s2/mymaster",
    "redis+cluster://node:6379",
    "rediss+cluster://:secret@node",
]
REFUSED = [
    "",
    "localhost:6379",
    "http://localhost",
    "memory://",
    "redis://",
    "redis://a:1,b:2/0",
    "redis://host:port",
    "redis://host:70000",
    "unix://",
    "unix:///",
    "redis+sentinel://s1:26379",
    "redis+sentinel:///mymaster",
    "redis+sentinel://s1:x/mymaster",
    "redis+cluster://a:1,b:2",
]


@pytest.mark.parametrize("url", TAKEN)
def test_addresses_that_are_taken(url: str) -> None:
    check_url(url)
    # docket reads the same address without complaint.
    assert Docket(url=url).url == url


@pytest.mark.parametrize("url", REFUSED)
def test_addresses_that_are_refused(url: str) -> None:
    with pytest.raises(UnsafeConfiguration, match="FALX_REDIS_URL"):
        check_url(url)


def test_no_password_in_a_refusal() -> None:
    with pytest.raises(UnsafeConfiguration) as caught:
        check_url("redis://user:secret@host:port")
    assert "secret" not in caught.value.detail


@pytest.mark.parametrize("error", [ConnectionError("refused"), TimeoutError()])
async def test_every_way_of_being_away_is_one_error(error: Exception) -> None:
    with pytest.raises(QueueUnavailable) as caught:
        async with reaching(1.0):
            raise error
    assert caught.value.retry_after_s


async def test_a_frozen_server_is_not_waited_for() -> None:
    with pytest.raises(QueueUnavailable):
        async with reaching(0.05):
            await asyncio.sleep(5)


async def test_a_queue_opens_without_its_server_and_says_so_when_asked() -> None:
    async with contextlib.AsyncExitStack() as stack:
        queue = await stack.enter_async_context(open_queue("redis://127.0.0.1:1", QueueSettings(redis_timeout_s=0.5)))
        for ask in (queue.ping, queue.ensure_room, queue.depth, lambda: queue.get("0" * 32)):
            with pytest.raises(QueueUnavailable):
                await ask()
