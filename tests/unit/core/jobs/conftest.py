"""One real Valkey for all tests here; each test has a queue of its own on it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from core.jobs.connection import open_client, open_dockets
from core.jobs.embedded import EmbeddedValkey
from core.jobs.keys import Keys
from core.jobs.queue import JobQueue, open_queue
from core.jobs.settings import QueueSettings
from core.jobs.store import JobStore


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a server of our own."""
    server = EmbeddedValkey(tmp_path_factory.mktemp("valkey"))
    yield server.start()
    server.stop()


@pytest.fixture
def settings() -> QueueSettings:
    """Settings of a queue that no other test uses; five jobs may wait."""
    return QueueSettings(jobs_name=f"test-{uuid.uuid4().hex[:8]}", redis_timeout_s=10.0, max_queued_jobs=5)


@pytest.fixture
async def queue(redis_url: str, settings: QueueSettings) -> AsyncIterator[JobQueue]:
    """An empty queue without workers."""
    async with open_queue(redis_url, settings) as queue:
        yield queue


@pytest.fixture
async def store(redis_url: str, settings: QueueSettings) -> AsyncIterator[JobStore]:
    """The records of that queue, to do by hand what a worker would."""
    keys = Keys(settings.jobs_name)
    async with open_dockets(redis_url, keys) as dockets, open_client(dockets) as client:
        yield JobStore(client, keys, settings.redis_timeout_s)
