"""Callers: they send jobs over bad connections until each has been accepted, cancel some, and watch them all."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from drills.chaos.bundle import ENDLESS, GOOD
from drills.chaos.site import Site
from tests.fixtures.answers import in_multipart
from tests.fixtures.servers import Reply

Kind = Literal["good", "poison", "cancel-running", "cancel-queued"]
Cut = Literal["half", "unread"]

JOBS: Final = "/v1/jobs"
TERMINAL: Final = frozenset({"succeeded", "failed", "cancelled"})
# Answers that ask the caller to come again. A conflict: the connection that was cut before still counts.
_COME_AGAIN: Final = {409: "idempotency-conflict", 429: "queue-full", 503: None, 504: None, 507: "storage-full"}
_CUT_SHARE: Final = 0.15
_PATIENCE_S: Final = 3.0
_PAUSE_S: Final = 0.4
# A look at all jobs costs the gateway some time of the cores that the workers need.
_LOOK_S: Final = 1.0
PAGE: Final = 200


class Late(Exception):
    """The time for all of it is over."""


@dataclass(frozen=True, slots=True)
class Case:
    """One job to be sent."""

    number: int
    kind: Kind
    phantom: str
    urgent: bool


def make_cases(count: int, rng: random.Random, *, poison: bool) -> list[Case]:
    """``count`` jobs in a random order: one in twenty is poison, as many are to be cancelled while they run, as many
    at once."""
    few = max(1, count // 20)
    shares: dict[Kind, int] = {"cancel-running": few, "cancel-queued": few, "poison": few if poison else 0}
    shares["good"] = count - sum(shares.values())
    kinds = [kind for kind, share in shares.items() for _ in range(share)]
    # The last ones are sent when all is quiet again, and have to succeed.
    last = [kinds.pop(), kinds.pop()]
    rng.shuffle(kinds)
    return [_case(number, kind, rng) for number, kind in enumerate([*kinds, *last])]


def _case(number: int, kind: Kind, rng: random.Random) -> Case:
    phantom = ENDLESS if kind == "cancel-running" else rng.choice(GOOD)
    return Case(number, kind, phantom, urgent=kind == "cancel-running" or rng.random() < 0.25)


@dataclass
class Cancel:
    """One cancellation: when it was last asked for, in seconds of the epoch, and the answer to that (0 for none)."""

    job_id: str
    sent_at: float
    status: int = 0


@dataclass
class Diary:
    """What callers have seen. Written to by many threads, one operation at a time."""

    accepted: dict[int, str] = field(default_factory=dict)
    # First seen at its end: status and the sha256 of each result.
    ends: dict[str, tuple[str, dict[str, str]]] = field(default_factory=dict)
    cancels: dict[int, Cancel] = field(default_factory=dict)
    answers: Counter[int] = field(default_factory=Counter)
    cuts: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0
    # Whether there were jobs that had not ended, at the last look.
    active: bool = False
    faults: list[str] = field(default_factory=list)


class Caller:
    """Sends jobs and insists, always with the same idempotency key for the same job."""

    def __init__(self, site: Site, phantoms: dict[str, bytes], diary: Diary, seed: int, deadline_s: float) -> None:
        self._site = site
        self._phantoms = phantoms
        self.diary = diary
        self._seed = seed
        self._deadline_s = deadline_s

    def see_through(self, case: Case) -> None:
        """Have a job accepted, and cancelled if it is one of those. Raises ``Late``."""
        rng = random.Random(f"{self._seed}-{case.number}")
        job_id = self._deliver(case, rng)
        self.diary.accepted[case.number] = job_id
        if case.kind == "cancel-running":
            self._wait_for_network(job_id)
        if case.kind.startswith("cancel"):
            self._cancel(case, job_id)

    def _deliver(self, case: Case, rng: random.Random) -> str:
        part = "t1" if case.kind == "poison" else "flair"
        job = json.dumps({"priority": "urgent" if case.urgent else "routine"}).encode()
        body, headers = in_multipart({"job": job, part: self._phantoms[case.phantom]})
        headers["Idempotency-Key"] = f"chaos-{self._seed}-{case.number}"
        while True:
            self._check_time()
            if rng.random() < 2 * _CUT_SHARE:
                self._cut(rng.choice(("half", "unread")), body, headers, rng)
            elif (reply := self._ask("POST", JOBS, body, headers)) is not None:
                if reply.status == 202:
                    return str(reply.json()["id"])
                self._come_again(reply, case)

    def _ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Reply | None:
        """The answer; None, after a pause, where none came."""
        try:
            reply = self._site.ask(method, path, body, headers)
        except (OSError, HTTPException):
            self.diary.unanswered += 1
            time.sleep(_PAUSE_S)
            return None
        self.diary.answers[reply.status] += 1
        return reply

    def _cut(self, how: Cut, body: bytes, headers: dict[str, str], rng: random.Random) -> None:
        """Send the request, or the first part of it, and hang up without a look at the answer."""
        address = urlsplit(self._site.base_url)
        lines = [f"POST {JOBS} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
        head = "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items())]) + "\r\n\r\n"
        length = rng.randrange(len(body)) if how == "half" else len(body)
        try:
            with socket.create_connection((address.hostname or "", address.port or 0), timeout=10.0) as connection:
                connection.sendall(head.encode() + body[:length])
                time.sleep(rng.uniform(0.0, 0.3))
        except OSError:
            time.sleep(_PAUSE_S)
            return
        self.diary.cuts[how] += 1

    def _come_again(self, reply: Reply, case: Case) -> None:
        """Wait as long as the answer says, within reason; an answer that says nothing of the kind is a fault."""
        code = reply.json().get("code")
        wanted = _COME_AGAIN.get(reply.status, "")
        if wanted is not None and code != wanted:
            self.diary.faults.append(f"job {case.number} ({case.kind}) was answered with {reply.status} {code}")
            raise Late
        time.sleep(min(float(reply.headers.get("retry-after", 1)), _PATIENCE_S))

    def _wait_for_network(self, job_id: str) -> None:
        """Until the network runs on the job, or it has ended."""
        while True:
            self._check_time()
            reply = self._ask("GET", f"{JOBS}/{job_id}")
            job = reply.json() if reply is not None and reply.status == 200 else {}
            if job.get("status") in TERMINAL or job.get("progress", {}).get("stage") == "segment":
                return
            time.sleep(_LOOK_S)

    def _cancel(self, case: Case, job_id: str) -> None:
        cancel = self.diary.cancels[case.number] = Cancel(job_id, time.time())
        while True:
            self._check_time()
            reply = self._ask("POST", f"{JOBS}/{job_id}/cancel")
            if reply is not None and reply.status in (202, 409):
                cancel.status = reply.status
                return
            if reply is not None and reply.status != 503:
                self.diary.faults.append(f"the cancellation of job {case.number} was answered with {reply.status}")
                return
            time.sleep(_PAUSE_S)
            cancel.sent_at = time.time()

    def _check_time(self) -> None:
        if time.monotonic() > self._deadline_s or self._site.closed.is_set():
            raise Late


def listed(site: Site) -> list[dict[str, Any]] | None:
    """All jobs, as the gateway lists them; None where it does not."""
    jobs: list[dict[str, Any]] = []
    try:
        while True:
            reply = site.ask("GET", f"{JOBS}?limit={PAGE}&offset={len(jobs)}")
            if reply.status != 200:
                return None
            answer = reply.json()
            jobs += answer["jobs"]
            if not answer["jobs"] or len(jobs) >= answer["total"]:
                return jobs
    except (OSError, HTTPException):
        return None


def results_of(job: dict[str, Any]) -> dict[str, str]:
    """sha256 by name."""
    return {result["name"]: result["sha256"] for result in job["results"]}


def watch(site: Site, diary: Diary, stop: threading.Event) -> None:
    """Look at all jobs again and again; one that has ended must stay as it is."""
    while not stop.wait(_LOOK_S):
        jobs = listed(site)
        if jobs is None:
            continue
        diary.active = any(job["status"] not in TERMINAL for job in jobs)
        for job in jobs:
            if job["status"] not in TERMINAL:
                continue
            end = (job["status"], results_of(job))
            if diary.ends.setdefault(job["id"], end) != end:
                diary.faults.append(f"job {job['id']} ended {diary.ends[job['id']][0]} and then was {job['status']}")
