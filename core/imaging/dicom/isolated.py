"""GDCM and OpenJPEG at arm's length: they decode in child processes that may die without taking the service along."""

from __future__ import annotations

import atexit
import contextlib
import signal
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path
from typing import IO, Final

from core.errors import InputTooLarge
from core.imaging.dicom.codec_worker import HEADER, LENGTH
from core.imaging.patience import check_waited_for, seconds_left

_SCRIPT: Final = Path(__file__).with_name("codec_worker.py")
# With all that stands around it a file stays within three seconds.
_CPU_S: Final = 2
# The child counts time of a CPU, of which it may get little; this is for one that stands still.
_LIMIT_S: Final = 20.0


class CodecFailed(Exception):
    """The frame could not be decoded, or the child died over it."""


class _Worker:
    """One child process. Used by one thread at a time."""

    def __init__(self, cpu_s: int) -> None:
        # An empty environment and -I: the child needs nothing of ours, secrets least of all. Its own session keeps
        # a Ctrl-C meant for the service away from it; it ends when its stdin does.
        self._process = subprocess.Popen(  # noqa: S603 - a fixed command
            [sys.executable, "-I", str(_SCRIPT), str(cpu_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},
            start_new_session=True,
        )

    def decode(self, request: bytes) -> bytes:
        """The decoded frame; raises ``CodecFailed``. After ``OSError`` or ``EOFError`` the worker is of no use."""
        guard = threading.Timer(min(_LIMIT_S, seconds_left()), self._process.kill)
        guard.start()
        try:
            sink, source = _pipes(self._process)
            sink.write(request)
            sink.flush()
            (length,) = LENGTH.unpack(_read(source, LENGTH.size))
            return _read(source, length)
        finally:
            guard.cancel()

    def close(self) -> bool:
        """End the child and reap it; whether it had been ended for the time that it took."""
        self._process.kill()
        code = self._process.wait()
        for pipe in _pipes(self._process):
            # What was left to flush has no reader any more.
            with contextlib.suppress(OSError):
                pipe.close()
        return code == -signal.SIGXCPU


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    if process.stdin is None or process.stdout is None:
        raise EOFError("the worker has no pipes")
    return process.stdin, process.stdout


def _read(source: IO[bytes], size: int) -> bytes:
    data = source.read(size)
    if len(data) != size:
        raise EOFError("the worker died")
    return data


class CodecPool:
    """Idle workers; as many are started as threads decode at the same time.

    A frame may take ``cpu_s`` seconds of a CPU.
    """

    def __init__(self, cpu_s: int = _CPU_S) -> None:
        self._cpu_s = cpu_s
        self._idle: deque[_Worker] = deque()

    def decode(self, syntax: str, size: tuple[int, int], bits: tuple[int, int], signed: bool, frame: bytes) -> bytes:
        """The decoded bytes of a frame of ``size`` (rows, columns) and ``bits`` (allocated, stored) per pixel.

        Raises ``CodecFailed`` where it cannot be decoded, and where the decoder dies over it or stands still;
        ``InputTooLarge`` where it takes more time than it may; ``DeadlineExceeded`` once nobody waits for it.
        """
        check_waited_for()
        request = HEADER.pack(syntax.encode("ascii"), *size, *bits, signed, len(frame)) + frame
        try:
            worker = self._idle.pop()
        except IndexError:
            worker = _Worker(self._cpu_s)
        try:
            decoded = worker.decode(request)
        except (OSError, EOFError) as error:
            if worker.close():
                raise InputTooLarge(f"PixelData takes more than {self._cpu_s} seconds to decode.") from error
            check_waited_for()
            raise CodecFailed("the decoder died") from error
        self._idle.append(worker)
        if not decoded:
            raise CodecFailed("the decoder refused the frame")
        return decoded

    def close(self) -> None:
        """End all idle workers."""
        while self._idle:
            self._idle.pop().close()


CODECS: Final = CodecPool()
atexit.register(CODECS.close)
