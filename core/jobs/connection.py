"""The way to Redis: which addresses are taken, the dockets on it, and what its absence is called."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Final, cast
from urllib.parse import urlsplit

from docket import Docket
from redis.asyncio import Redis
from redis.exceptions import RedisError

from core.contracts.jobs import PRIORITIES, Priority
from core.errors import QueueUnavailable, UnsafeConfiguration
from core.jobs.keys import Keys

# What the dockets' workers call to run a job; its only argument is the id.
TASK: Final = "run_job"

_SINGLE: Final = frozenset({"redis", "rediss"})
_SENTINEL: Final = frozenset({"redis+sentinel", "rediss+sentinel"})
_CLUSTER: Final = frozenset({"redis+cluster", "rediss+cluster"})
_SCHEMES: Final = _SINGLE | _SENTINEL | _CLUSTER | {"unix"}
# Docket keeps its own note of an ended run for so long; the record is ours and lives on.
_DOCKET_TTL: Final = timedelta(minutes=10)
_RETRY_AFTER_S: Final = 5.0

Dockets = Mapping[Priority, Docket]


def check_url(url: str) -> None:
    """Raise ``UnsafeConfiguration`` for an address that is none of Redis. The message does not repeat it.

    Taken are ``redis://``, ``rediss://`` (TLS) and ``unix://`` with one server, ``redis+sentinel://`` and
    ``rediss+sentinel://`` with any number of sentinels and the name of the service as first part of the path, and
    ``redis+cluster://`` and ``rediss+cluster://`` with one node to start from. Docket's ``memory://`` is refused: it
    forgets, and no second process could see it.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in _SCHEMES:
        raise UnsafeConfiguration(f"FALX_REDIS_URL must begin with one of {', '.join(sorted(_SCHEMES))}.")
    authority, _, path = rest.partition("?")[0].partition("/")
    hosts = [host for host in authority.rpartition("@")[2].split(",") if host]
    if scheme == "unix":
        if not path:
            raise UnsafeConfiguration("FALX_REDIS_URL: unix:// needs the path of a socket.")
        return
    if not hosts:
        raise UnsafeConfiguration("FALX_REDIS_URL names no host.")
    if scheme in _SENTINEL:
        if not path.split("/")[0]:
            raise UnsafeConfiguration("FALX_REDIS_URL: a sentinel address needs the service's name, as in /mymaster.")
    elif len(hosts) > 1:
        raise UnsafeConfiguration("FALX_REDIS_URL: only a sentinel address takes several hosts.")
    for host in hosts:
        _check_port(host)


def _check_port(host: str) -> None:
    try:
        _ = urlsplit(f"//{host}").port
    except ValueError as error:
        raise UnsafeConfiguration("FALX_REDIS_URL has a port that is no number from 1 to 65535.") from error


@asynccontextmanager
async def open_dockets(url: str, keys: Keys) -> AsyncIterator[Dockets]:
    """One docket for each priority. Opening one asks nothing of the server, which may come up later."""
    check_url(url)
    async with AsyncExitStack() as stack:
        dockets: dict[Priority, Docket] = {}
        for priority in PRIORITIES:
            docket = Docket(name=keys.docket(priority), url=url, execution_ttl=_DOCKET_TTL)
            docket.register(_placeholder, names=[TASK])
            dockets[priority] = await stack.enter_async_context(docket)
        yield dockets


async def _placeholder(job_id: str) -> None:
    """Stands for the task where jobs are only submitted: a docket sends its name alone."""
    # Never called: only a worker runs tasks, and it registers its own under this name.
    raise NotImplementedError(f"{job_id} cannot be run here")


@asynccontextmanager
async def open_client(dockets: Dockets) -> AsyncIterator[Redis]:
    """The client of the records. It is that of a docket, so it knows sentinels and clusters; it answers in bytes."""
    async with dockets["routine"].redis() as client:
        # docket promises a part of redis-py's interface; what it hands out is redis-py's own client or cluster client.
        yield cast("Redis", client)


@asynccontextmanager
async def reaching(timeout_s: float) -> AsyncIterator[None]:
    """Turn every failure to reach Redis within ``timeout_s`` seconds into ``QueueUnavailable``."""
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except (RedisError, OSError, TimeoutError) as error:
        raise QueueUnavailable("The job queue cannot be reached.", retry_after_s=_RETRY_AFTER_S) from error
