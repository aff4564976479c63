"""One supervised process: started with a lifeline, watched, stopped, started again with back-off."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deploy.logfile import LogFile
from deploy.plan import Service
from deploy.readiness import Probe, probe

RESTART_DELAYS_S = (1.0, 2.0, 4.0, 8.0, 16.0)
STABLE_AFTER_S = 60.0


@dataclass(slots=True)
class Backoff:
    """How long to wait before the next start; a run of ``STABLE_AFTER_S`` seconds wipes the slate clean."""

    deaths: int = 0

    def next_delay_s(self, uptime_s: float) -> float | None:
        """Return the delay after a run of ``uptime_s`` seconds, or None when it is time to give up."""
        if uptime_s >= STABLE_AFTER_S:
            self.deaths = 0
        self.deaths += 1
        return RESTART_DELAYS_S[self.deaths - 1] if self.deaths <= len(RESTART_DELAYS_S) else None


class Child:
    """A service's process.

    It holds the read end of a pipe whose only write end lives in the supervisor. When the supervisor dies, however it
    dies, the kernel closes that end, the child reads end of file from ``FALX_PARENT_FD`` and drains itself.
    """

    def __init__(self, service: Service, log_dir: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.service = service
        self.log = LogFile(log_dir / f"{service.name}.log")
        self.backoff = Backoff()
        self.restart_at: float | None = None
        self.announced = False
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None
        self._lifeline: int | None = None
        self._started_at = 0.0

    def start(self) -> None:
        """Start the process in a session of its own: Ctrl-C in the terminal must reach the supervisor alone."""
        self._drop_lifeline()
        read_end, self._lifeline = os.pipe()
        log = self.log.open_for_child()
        environment = {**self.service.environment, "FALX_PARENT_FD": str(read_end), "PYTHONUNBUFFERED": "1"}
        try:
            self._process = subprocess.Popen(
                self.service.command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(read_end,),
                start_new_session=True,
            )
        finally:
            os.close(read_end)
            os.close(log)
        self._started_at = self._clock()
        self.restart_at = None
        self.announced = False

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def uptime_s(self) -> float:
        return self._clock() - self._started_at

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def probe(self) -> Probe:
        return probe(self.service.probe_host, self.service.port)

    def stop(self) -> None:
        """Ask for a drain."""
        if self._process and self.alive:
            self._process.terminate()

    def kill(self) -> None:
        if self._process and self.alive:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """Let go of the lifeline once the process is gone."""
        self._drop_lifeline()

    def ended_well(self) -> bool:
        """Whether it left by a drain: uvicorn ends with the signal that it was sent, after finishing its work."""
        return self._process is None or self._process.returncode in {0, -signal.SIGTERM}

    def ending(self) -> str:
        """Return in words how the process ended."""
        code = self._process.returncode if self._process else None
        if code is not None and code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"

    def _drop_lifeline(self) -> None:
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None
