"""One run: services up, phantoms in peace, jobs under fire, the judgement, and everything down again."""

from __future__ import annotations

import argparse
import platform
import random
import resource
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, Final

from drills.chaos.adversary import Adversary, Deed
from drills.chaos.bundle import GOOD, make_phantoms
from drills.chaos.client import TERMINAL, Caller, Case, Diary, Late, listed, make_cases, results_of, watch
from drills.chaos.judge import Story, broken_rules, comparable, report
from drills.chaos.site import Site, open_site

_CALLERS: Final = 6
# Cases that are kept until the damage is done and mended.
_LAST: Final = 2


def run(arguments: argparse.Namespace) -> int:
    """One run in the given folder; 1 where a promise was broken."""
    began_s = time.monotonic()
    # A poison job's process dies of a signal on purpose: nobody wants its memory.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    poison = platform.machine() in ("x86_64", "AMD64")
    cases = make_cases(arguments.jobs, random.Random(arguments.seed), poison=poison)
    phantoms = make_phantoms()
    with open_site(arguments.folder, small_disk=arguments.small_disk) as site:
        _say(began_s, f"in {arguments.folder}; seed {arguments.seed}")
        expected = _in_peace(site, phantoms, arguments)
        peaceful = {job["id"] for job in listed(site) or ()}
        _say(began_s, f"{len(expected)} phantoms segmented in peace; {len(cases)} jobs follow, and the damage")
        diary = Diary()
        count = arguments.deeds or max(5, arguments.jobs // 3)
        # Jobs come as the damage goes on, so that there is always something to hit.
        turns = threading.Semaphore(2 * _CALLERS)
        each = -(-len(cases) // count)

        def begins(deed: Deed) -> None:
            turns.release(each)
            _say(began_s, f"{len(diary.accepted)} accepted, {len(diary.ends.keys() - peaceful)} ended; now the {deed}")

        deadline_s = began_s + arguments.limit_s
        adversary = Adversary(site, arguments.seed, count, arguments.pause_s, diary, begins)
        caller = Caller(site, phantoms, diary, arguments.seed, deadline_s)
        jobs = _under_fire(site, caller, adversary, turns, cases, deadline_s)
        story = Story(
            cases, diary, {job["id"]: job for job in jobs if job["id"] not in peaceful}, expected, adversary.damages
        )
        if not poison:
            story.notes.append("no poison: only an x86-64 processor traps where the network divides")
        if not arguments.small_disk:
            story.notes.append("no full disk: this machine lets nobody mount a small one")
        broken = broken_rules(site, story, arguments.cancel_limit_s)
        sys.stdout.write(report(site, story, broken) + "\n")
        if broken:
            _show_logs(site)
    _say(began_s, "done")
    return 1 if broken else 0


def _in_peace(site: Site, phantoms: dict[str, bytes], arguments: argparse.Namespace) -> dict[str, dict[str, str]]:
    """The results of each phantom when nothing goes wrong. Raises ``RuntimeError`` where one does not succeed."""
    diary = Diary()
    caller = Caller(site, phantoms, diary, -1 - arguments.seed, time.monotonic() + arguments.limit_s)
    for number, name in enumerate(GOOD):
        caller.see_through(Case(number, "good", name, urgent=False))
    jobs = {job["id"]: job for job in _ended(site, diary, time.monotonic() + arguments.limit_s)}
    found = {name: jobs[diary.accepted[number]] for number, name in enumerate(GOOD)}
    if failed := [name for name, job in found.items() if job["status"] != "succeeded"]:
        raise RuntimeError(f"not even in peace: {', '.join(failed)}")
    return {name: comparable(results_of(job)) for name, job in found.items()}


def _under_fire(
    site: Site,
    caller: Caller,
    adversary: Adversary,
    turns: threading.Semaphore,
    cases: list[Case],
    deadline_s: float,
) -> list[dict[str, Any]]:
    """All jobs as they stand when they have ended, or when the time is over."""
    diary, stop = caller.diary, threading.Event()
    watcher = threading.Thread(target=watch, args=(site, diary, stop), daemon=True)
    rage = threading.Thread(target=adversary.rage, daemon=True)
    watcher.start()
    rage.start()

    def send(case: Case) -> None:
        turns.acquire()
        caller.see_through(case)

    with ThreadPoolExecutor(_CALLERS) as pool:
        try:
            sent = [pool.submit(send, case) for case in cases[:-_LAST]]
            rage.join()
            sent += [pool.submit(send, case) for case in cases[-_LAST:]]
            turns.release(len(cases))
            wait(sent)
        except BaseException:
            site.closed.set()
            turns.release(len(cases))
            raise
    for future in sent:
        error = future.exception()
        if error is not None and not isinstance(error, Late):
            raise error
    jobs = _ended(site, diary, deadline_s)
    stop.set()
    watcher.join()
    return jobs


def _ended(site: Site, diary: Diary, deadline_s: float) -> list[dict[str, Any]]:
    """All jobs, once those that were accepted have ended or the time is over."""
    wanted = set(diary.accepted.values())
    while True:
        jobs = listed(site)
        late = time.monotonic() > deadline_s
        if jobs is not None and (late or wanted <= {job["id"] for job in jobs if job["status"] in TERMINAL}):
            return jobs
        if late and time.monotonic() > deadline_s + 60:
            raise RuntimeError("the gateway does not answer at the end")
        time.sleep(0.3)


def _show_logs(site: Site) -> None:
    """The end of each log, before its folder goes."""
    for service in (site.gateway, *site.workers):
        text = service.log.read_text(errors="replace") if service.log.exists() else ""
        sys.stderr.write("\n".join([f"--- {service.name}", *text.splitlines()[-60:], ""]))


def _say(began_s: float, text: str) -> None:
    sys.stdout.write(f"[{time.monotonic() - began_s:6.1f} s] {text}\n")
    sys.stdout.flush()
