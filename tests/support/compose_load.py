"""A steady load of classifications on the gateway, bounded in time, that remembers every answer."""

from __future__ import annotations

import http.client
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType

from tests.support.compose_stack import ROUTE, wait_until


@dataclass(frozen=True, slots=True)
class Sample:
    """One request: when it began and ended (monotonic seconds), and its status or what broke."""

    began: float
    ended: float
    outcome: int | str

    @property
    def failed(self) -> bool:
        return self.outcome != http.client.OK


@dataclass
class Load:
    """``workers`` callers with a keep-alive connection each, one request after another, while the context is open."""

    port: int
    image: bytes
    workers: int = 8
    limit_s: float = 300.0
    samples: list[Sample] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Load:
        deadline = time.monotonic() + self.limit_s
        self._threads = [threading.Thread(target=self._call, args=(deadline,)) for _ in range(self.workers)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, count: int, since: float = 0.0) -> None:
        """Wait until so many requests that began after ``since`` have ended; on a slow machine that takes longer."""
        wait_until(lambda: sum(sample.began > since for sample in tuple(self.samples)) >= count, f"{count} answers")

    @property
    def failures(self) -> list[Sample]:
        return [sample for sample in self.samples if sample.failed]

    def _call(self, deadline: float) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        while not self._stop.is_set() and time.monotonic() < deadline:
            began = time.monotonic()
            outcome = self._classify(connection)
            self.samples.append(Sample(began, time.monotonic(), outcome))
        connection.close()

    def _classify(self, connection: http.client.HTTPConnection) -> int | str:
        try:
            connection.request("POST", ROUTE, self.image, {"Content-Type": "image/jpeg"})
            response = connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return repr(error)
        return response.status
