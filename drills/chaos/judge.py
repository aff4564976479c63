"""The promises, held against what callers, jobs and logs say in the end; and the report."""

from __future__ import annotations

import asyncio
import hashlib
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from core.jobs.queue import open_queue
from core.jobs.settings import QueueSettings
from drills.chaos.adversary import Damage
from drills.chaos.client import JOBS, TERMINAL, Case, Diary, results_of
from drills.chaos.site import LEASE_S, MAX_ATTEMPTS, Site

Job = dict[str, Any]

# Carries the id of its job and how long each stage took: never the same twice.
_OWN_WORDS: Final = "report.json"
# What a sound job may fail with, after as many attempts as there are, each of them ended from outside.
_FROM_OUTSIDE: Final = frozenset({"job-crashed", "storage-full", "storage-unavailable"})


def comparable(results: dict[str, str]) -> dict[str, str]:
    """sha256 of the results that are the same whenever the same volume is segmented."""
    return {name: sha256 for name, sha256 in results.items() if name != _OWN_WORDS}


@dataclass
class Story:
    """All that is known after a run. ``expected`` are the results of each phantom when nothing went wrong."""

    cases: Sequence[Case]
    diary: Diary
    jobs: dict[str, Job]
    expected: dict[str, dict[str, str]]
    damages: Sequence[Damage]
    notes: list[str] = field(default_factory=list)

    def job(self, case: Case) -> Job | None:
        """The job of a case, as it ended."""
        return self.jobs.get(self.diary.accepted.get(case.number, ""))


def broken_rules(site: Site, story: Story, cancel_limit_s: float) -> list[str]:
    """Every promise that was not kept, in words."""
    return [
        *story.diary.faults,
        *site.faults(),
        *lost(story),
        *(fault for case in story.cases for fault in wrong_end(case, story)),
        *(fault for case in story.cases for fault in _wrong_bytes(site, case, story)),
        *_unfiled(site, story),
        *_slow_cancels(site, story, cancel_limit_s),
    ]


def lost(story: Story) -> Iterator[str]:
    """Jobs that were accepted and have not ended, are gone, or are there twice."""
    accepted = story.diary.accepted
    for case in story.cases:
        if case.number not in accepted:
            yield f"job {case.number} ({case.kind}) was not accepted in time"
    for number, job_id in accepted.items():
        if job_id not in story.jobs:
            yield f"job {number} was accepted as {job_id} and is lost"
        elif story.jobs[job_id]["status"] not in TERMINAL:
            yield f"job {number} has not ended: {story.jobs[job_id]['status']}"
    if len(set(accepted.values())) < len(accepted):
        yield "two idempotency keys share a job"
    # The key of a job was sent again and again: there must be no second job of it.
    for job_id in story.jobs.keys() - set(accepted.values()):
        yield f"there is a job {job_id} that no caller knows of"


def wrong_end(case: Case, story: Story) -> Iterator[str]:
    """What is wrong with how a job ended."""
    job = story.job(case)
    if job is None or job["status"] not in TERMINAL:
        return
    status, code, what = job["status"], (job["problem"] or {}).get("code"), f"job {case.number} ({case.kind})"
    if job["id"] in story.diary.ends and story.diary.ends[job["id"]] != (status, results_of(job)):
        yield f"{what} ended {story.diary.ends[job['id']][0]} and is now {status}"
    cancel = story.diary.cancels.get(case.number)
    if cancel is not None and cancel.status == 202 and status != "cancelled":
        yield f"{what} was cancelled and {status}"
    if status == "cancelled" and cancel is None:
        yield f"{what} was cancelled by nobody"
    if case.kind == "poison" and (status, code, job["attempts"]) != ("failed", "job-crashed", MAX_ATTEMPTS):
        yield f"{what} is {status} ({code}) after {job['attempts']} attempts"
    if case.kind != "poison" and status == "failed":
        if code not in _FROM_OUTSIDE or job["attempts"] != MAX_ATTEMPTS:
            yield f"{what} failed with {code} after {job['attempts']} attempts"
        if case.number >= len(story.cases) - 2:
            yield f"{what} failed with {code} although all was quiet"


def _wrong_bytes(site: Site, case: Case, story: Story) -> Iterator[str]:
    job = story.job(case)
    if job is None or job["status"] != "succeeded":
        return
    results = results_of(job)
    if case.phantom in story.expected and comparable(results) != story.expected[case.phantom]:
        yield f"job {case.number} has other results than the same volume has in peace"
    for name, sha256 in results.items():
        reply = site.ask("GET", f"{JOBS}/{job['id']}/results/{name}")
        if (reply.status, hashlib.sha256(reply.body).hexdigest()) != (200, sha256):
            yield f"{name} of job {case.number} is not what the job says: {reply.status}, {len(reply.body)} bytes"
    events = site.ask("GET", f"{JOBS}/{job['id']}/events").body.decode()
    if (ends := sum(events.count(f'"status":"{status}"') for status in TERMINAL)) != 1:
        yield f"job {case.number} told its end {ends} times"


def _unfiled(site: Site, story: Story) -> Iterator[str]:
    """Jobs that were given up are among the dead letters, and nothing else is."""

    async def ask() -> int:
        async with open_queue(site.redis_url, QueueSettings(redis_timeout_s=30.0)) as queue:
            return await queue.dead_letters()

    filed, failed = asyncio.run(ask()), sum(job["status"] == "failed" for job in story.jobs.values())
    if filed != failed:
        yield f"{failed} jobs were given up, and there are {filed} dead letters"


def cancel_times(site: Site, story: Story) -> list[float]:
    """Seconds from asking for the end of a running job until its process was gone.

    Left out: jobs that ran nowhere at that moment, and those whose worker or queue was being killed.
    """
    times = []
    for case in story.cases:
        cancel = story.diary.cancels.get(case.number)
        end = site.cancelled_at(cancel.job_id) if cancel is not None and cancel.status == 202 else None
        if cancel is not None and end is not None and not _disturbed(story.damages, cancel.sent_at, end):
            times.append(end - cancel.sent_at)
    return times


def _disturbed(damages: Sequence[Damage], start: float, end: float) -> bool:
    # A Valkey that was killed, or could not write, is started again within a second, and its clients come back within
    # another one.
    return any(damage.at < end and damage.until + 2.0 > start for damage in damages)


def _slow_cancels(site: Site, story: Story, limit_s: float) -> Iterator[str]:
    for took_s in cancel_times(site, story):
        if took_s > limit_s:
            yield f"a running job was cancelled within {took_s:.2f} s, not {limit_s:g} s"


def recoveries(story: Story) -> dict[str, list[float]]:
    """By deed, seconds from it to the end of whichever job ended next; "interrupted": to the end of a killed
    worker's own job."""
    ends = sorted(
        datetime.fromisoformat(job["finished_at"]).timestamp() for job in story.jobs.values() if job["finished_at"]
    )
    times: dict[str, list[float]] = {}
    for damage in story.damages:
        if (after := next((end for end in ends if end > damage.at), None)) is not None:
            times.setdefault(damage.deed, []).append(after - damage.at)
        for job_id in damage.jobs:
            finished = story.jobs.get(job_id, {}).get("finished_at")
            took_s = datetime.fromisoformat(finished).timestamp() - damage.at if finished else -1.0
            if took_s >= 0:
                times.setdefault("interrupted", []).append(took_s)
    return times


def report(site: Site, story: Story, broken: Sequence[str]) -> str:
    """What happened, for a reader."""
    diary, jobs = story.diary, story.jobs.values()
    deeds = Counter(damage.deed for damage in story.damages)
    attempts = Counter(job["attempts"] for job in jobs)
    lines = [
        "jobs",
        f"  accepted            {len(diary.accepted)} of {len(story.cases)}",
        f"  ended               {_counts(Counter(job['status'] for job in jobs))}",
        f"  problems            {_counts(Counter(job['problem']['code'] for job in jobs if job['problem']))}",
        f"  attempts            {', '.join(f'{count} x {number}' for number, count in sorted(attempts.items()))}",
        "damage",
        f"  killed with -9      worker {deeds['worker']}, gateway {deeds['gateway']}, valkey {deeds['valkey']}",
        f"  jobs interrupted    {sum(len(damage.jobs) for damage in story.damages)}",
        f"  disk filled         {deeds['disk']}",
        f"  connections cut     {_counts(diary.cuts)}; {diary.unanswered} requests got no answer",
        f"  answers             {_counts(diary.answers)}",
        "recovery, seconds from the damage to the next job that ended: median, longest",
    ]
    names = {"interrupted": "a killed job's end"}
    lines += [f"  {names.get(deed, deed):<20}{_spread(times)}" for deed, times in sorted(recoveries(story).items())]
    lines += ["cancelling a running job, seconds until its process is gone: median, longest"]
    lines += [f"  {'':<20}{_spread(cancel_times(site, story))}"]
    lines += [f"note: {note}" for note in story.notes]
    lines += [f"BROKEN: {fault}" for fault in broken] or ["every promise was kept"]
    return "\n".join(lines) + f"\n(a lease is {LEASE_S:g} s here, a job has {MAX_ATTEMPTS} attempts)"


def _counts(counter: Counter[Any]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counter.items())) or "none"


def _spread(times: Sequence[float]) -> str:
    return f"{statistics.median(times):.2f}, {max(times):.2f} ({len(times)})" if times else "none measured"
