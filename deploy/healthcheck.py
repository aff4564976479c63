"""The image's HEALTHCHECK: ``python healthcheck.py /readyz`` exits 0 when this container's service answers 200.

A bare socket and no imports beyond it: it runs every few seconds on the CPU share of the service itself.
"""

import os
import socket
import sys

TIMEOUT_S = 3.0


def answers_ok(path: str, port: int, timeout_s: float = TIMEOUT_S) -> bool:
    """Whether a GET of ``path`` on loopback is answered with status 200."""
    request = f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode("ascii")
    try:
        with socket.create_connection(("127.0.0.1", port), timeout_s) as connection:
            connection.sendall(request)
            status_line = connection.makefile("rb").readline(1024).split()
    except OSError:
        return False
    return len(status_line) > 1 and status_line[1] == b"200"


if __name__ == "__main__":
    sys.exit(0 if answers_ok(sys.argv[1], int(os.environ["FALX_PORT"])) else 1)
