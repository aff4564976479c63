"""Callers that send one slice again and again, to both model servers in turn, and look at every answer."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import Any, Final

from deploy.embedded import SAMPLE
from tests.support.embedded import Embedded

PATHS: Final = ("/v1/classifications", "/v1/segmentations")
# An answer may have shared its batch with others, which moves the last bits of it.
_TOLERANCE: Final = 1e-3
_PATIENCE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Call:
    """One request: monotonic seconds of its end, how long it took, and its status, or what broke, or "other answer"."""

    path: str
    ended: float
    took_s: float
    outcome: int | str


@dataclass
class Callers:
    """What was called so far, and the first answer on each path, which all others must be like."""

    port: int
    first: dict[str, dict[str, Any]]
    calls: list[Call] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self, pause_s: float) -> None:
        """Call until told to stop, with ``pause_s`` seconds between an answer and the next request."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=_PATIENCE_S)
        turn = 0
        while not self._stop.wait(pause_s if turn else 0.0):
            path = PATHS[turn % len(PATHS)]
            turn += 1
            began = time.monotonic()
            outcome = self._call(connection, path)
            self.calls.append(Call(path, time.monotonic(), time.monotonic() - began, outcome))
        connection.close()

    def stop(self) -> None:
        """Let every caller finish the request that it waits for."""
        self._stop.set()

    def outcomes(self) -> Counter[int | str]:
        """How often each outcome came."""
        return Counter(call.outcome for call in tuple(self.calls))

    def _call(self, connection: HTTPConnection, path: str) -> int | str:
        try:
            connection.request("POST", path, SAMPLE.read_bytes(), {"Content-Type": "image/jpeg"})
            response = connection.getresponse()
            body = response.read()
        except (OSError, HTTPException) as error:
            connection.close()
            return type(error).__name__
        if response.status == 200 and not alike(json.loads(body), self.first[path]):
            return "other answer"
        return response.status


def alike(answer: dict[str, Any], first: dict[str, Any]) -> bool:
    """Whether two answers about one slice say the same: label, probabilities, and size of the tumour to one in 200."""
    if answer.get("label") != first.get("label"):
        return False
    pairs = [(answer["probabilities"][name], value) for name, value in first.get("probabilities", {}).items()]
    size, expected = answer.get("tumor_pixels", 0), first.get("tumor_pixels", 0)
    return all(abs(one - other) < _TOLERANCE for one, other in pairs) and abs(size - expected) <= expected / 200


@contextmanager
def calling(site: Embedded, count: int, pause_s: float = 0.0) -> Iterator[Callers]:
    """``count`` callers at work on ``site`` while the context is open; each path has been answered once before."""
    first = {}
    for path in PATHS:
        reply = site.ask("POST", path, SAMPLE.read_bytes(), {"Content-Type": "image/jpeg"})
        assert reply.status == 200, reply.body
        first[path] = reply.json()
    callers = Callers(site.port, first)
    threads = [threading.Thread(target=callers.run, args=(pause_s,)) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield callers
    finally:
        callers.stop()
        for thread in threads:
            thread.join()
