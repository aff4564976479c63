"""A small real service for the supervisor's tests: ``python toy_service.py MODE``, listening on ``FALX_PORT``.

Modes: ``good`` drains on SIGTERM and when its lifeline breaks; ``stubborn`` ignores SIGTERM; ``unready`` answers 503
for ever; ``broken`` ends at once; ``frail`` is ready, then ends with code 3 when ``/die`` is asked for.
Each start and each end is a line in the file ``TOY_JOURNAL``, so that order can be checked.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

READY = b'{"ready": true, "dependencies": [{"name": "toy", "ready": true, "provider": "Abacus", "version": "1"}]}'
UNREADY = b'{"ready": false, "dependencies": [{"name": "toy", "ready": false, "detail": "loading"}]}'
MODE = sys.argv[1]
NAME = os.environ["TOY_NAME"]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/die":
            os._exit(3)
        ready = MODE != "unready"
        self.send_response(200 if ready else 503)
        self.end_headers()
        self.wfile.write(READY if ready else UNREADY)

    def log_message(self, *args: object) -> None:
        """Keep the log to what the tests look for."""


def journal(event: str) -> None:
    with Path(os.environ["TOY_JOURNAL"]).open("a") as stream:
        stream.write(f"{event} {NAME} {os.getpid()}\n")


def leave(*_: object) -> None:
    time.sleep(0.2)  # work in flight
    journal("drained")
    os._exit(0)


def watch_lifeline() -> None:
    os.read(int(os.environ["FALX_PARENT_FD"]), 1)
    leave()


def main() -> None:
    journal("started")
    sys.stderr.write(f"{NAME} says hello\n")
    if MODE == "broken":
        sys.exit("no such model: cabbage")
    signal.signal(signal.SIGTERM, signal.SIG_IGN if MODE == "stubborn" else leave)
    threading.Thread(target=watch_lifeline, daemon=True).start()
    ThreadingHTTPServer((os.environ["FALX_HOST"], int(os.environ["FALX_PORT"])), Handler).serve_forever()


if __name__ == "__main__":
    main()
