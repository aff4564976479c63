"""What happens to a job, as a stream that can be resumed."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Final, cast

from core.contracts.jobs import TERMINAL, JobEvent
from core.errors import InvalidRequest
from core.jobs.connection import reaching
from core.jobs.store import JobStore

_FIRST: Final = "0-0"
_EVENT_ID: Final = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")
# Both halves of a stream's id are unsigned numbers of 64 bits.
_LARGEST_ID: Final = 2**64 - 1
_BATCH: Final = 100

# How redis-py hands over a read of one stream.
_Entries = list[tuple[bytes, dict[bytes, bytes]]]


def check_event_id(after: str | None) -> str:
    """Where to begin reading: after the event called ``after``. Raises ``InvalidRequest`` for what is no event's id."""
    if after is None:
        return _FIRST
    if not _EVENT_ID.fullmatch(after) or max(map(int, after.split("-"))) > _LARGEST_ID:
        raise InvalidRequest("Last-Event-ID is none of this job's.")
    return after


async def follow(store: JobStore, job_id: str, after: str | None, heartbeat_s: float) -> AsyncIterator[JobEvent | None]:
    """The events of a job after the one called ``after``, old ones first, until the one that ends it.

    None every ``heartbeat_s`` seconds without an event. Old events beyond the last few hundred are forgotten; the state
    that they led to is in those that follow. Raises ``NotFound``, ``ResultExpired``, ``InvalidRequest`` for an
    ``after`` that is no event id, and ``QueueUnavailable``: the subscriber comes back with the last id that it saw.
    """
    await store.get(job_id)
    last = check_event_id(after)
    while True:
        entries = await _read(store, job_id, last, None)
        if not entries:
            record = await store.find(job_id)
            ended = record is None or record.terminal
            # An end between the two questions has left its event behind: it is read before the stream closes.
            entries = await _read(store, job_id, last, None if ended else heartbeat_s)
            if ended and not entries:
                return
        if not entries:
            yield None
        for identifier, fields in entries:
            event = _event(identifier, fields)
            last = event.id
            yield event
            if _ends(event):
                return


async def _read(store: JobStore, job_id: str, after: str, wait_s: float | None) -> _Entries:
    key = store.keys.events(job_id)
    block = None if wait_s is None else max(1, round(wait_s * 1000))
    async with reaching(store.timeout_s + (wait_s or 0.0)):
        found = await store.client.xread({key: after}, count=_BATCH, block=block)
    if not found:
        return []
    # RESP2 answers with a list of pairs, RESP3 with a mapping whose values are lists of lists of entries.
    if isinstance(found, dict):
        return [
            entry for part in cast("dict[bytes, list[_Entries]]", found).values() for page in part for entry in page
        ]
    return [entry for _, entries in cast("list[tuple[bytes, _Entries]]", found) for entry in entries]


def _event(identifier: bytes, fields: dict[bytes, bytes]) -> JobEvent:
    return JobEvent.model_validate(
        {"id": identifier.decode(), "event": fields[b"event"].decode(), "data": fields[b"data"].decode()}
    )


def _ends(event: JobEvent) -> bool:
    return event.event == "state" and json.loads(event.data)["status"] in TERMINAL
