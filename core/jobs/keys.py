"""Every key that is written to Redis, in one place.

The name of the queue stands in braces: in a cluster all of its keys then lie in one slot, as scripts need.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from core.contracts.jobs import JobStatus, Priority


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys of the queue called ``name``."""

    name: str

    def _key(self, *parts: str) -> str:
        return ":".join((f"{{{self.name}}}", *parts))

    def job(self, job_id: str) -> str:
        """String: the record, or the tombstone of an erased job."""
        return self._key("job", job_id)

    def events(self, job_id: str) -> str:
        """Stream, capped: what subscribers read."""
        return self._key("events", job_id)

    def claim(self, job_id: str) -> str:
        """String with an expiry: the attempt that runs the job is alive."""
        return self._key("claim", job_id)

    def idempotency(self, key: str) -> str:
        """String with an expiry. The caller's key is hashed: it may hold anything."""
        return self._key("idempotency", sha256(key.encode()).hexdigest())

    @property
    def all(self) -> str:
        """Sorted set of all ids by time of creation."""
        return self._key("jobs")

    def status(self, status: JobStatus) -> str:
        """Sorted set of the ids in ``status`` by time of creation."""
        return self._key("status", status)

    def owned(self, owner: str | None, status: JobStatus | None = None) -> str:
        """Sorted set of an owner's ids by time of creation, all or those in ``status``; of everybody's for None."""
        if owner is None:
            return self.all if status is None else self.status(status)
        return self._key("owner", owner, *(() if status is None else (status,)))

    def waiting(self, priority: Priority) -> str:
        """Sorted set of the queued ids of ``priority`` in the order in which they start (``scripts``)."""
        return self._key("waiting", priority)

    def waiting_of(self, owner: str | None, priority: Priority) -> str:
        """Those of them that are one owner's; None is the owner of jobs without one."""
        return self._key("waiting", priority, "of", owner or "")

    @property
    def stored(self) -> str:
        """Hash: by owner, the bytes of inputs and results of the jobs that are kept."""
        return self._key("stored")

    @property
    def limits(self) -> str:
        """Hash: by owner, how many jobs may run at once."""
        return self._key("limits")

    def turn(self, delivery: str) -> str:
        """String with an expiry: the job that was begun when ``delivery`` (an id too) came out of the docket."""
        return self._key("turn", delivery)

    @property
    def active(self) -> str:
        """Sorted set of the running ids by start of the attempt."""
        return self._key("active")

    @property
    def expiry(self) -> str:
        """Sorted set of the ended ids by the time at which they are to be erased."""
        return self._key("expiry")

    @property
    def dead(self) -> str:
        """Stream, capped: jobs that were given up."""
        return self._key("dead")

    @property
    def stats(self) -> str:
        """Hash: the measured run time."""
        return self._key("stats")

    @property
    def upkeep(self) -> str:
        """String with an expiry: the worker that tidies up at present."""
        return self._key("upkeep")

    @property
    def workers(self) -> str:
        """Hash: by a worker's name, when it was last there and which models it has."""
        return self._key("workers")

    def docket(self, priority: Priority) -> str:
        """Name of the docket of ``priority``."""
        return f"{self.name}-{priority}"
