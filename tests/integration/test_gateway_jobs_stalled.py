"""Uploads that stand still or crawl: they are given up, and keep nobody out meanwhile."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator

import pytest

from tests.support.gateway import scripted_upstream
from tests.support.gateway_jobs import LIMIT_S, Volumes, unfinished, volumes

pytestmark = pytest.mark.timeout(600)

SLOTS = 2
LENGTH = 1_000_000


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Volumes]:
    """A gateway with room for two uploads at once and little patience."""
    limits = {
        "FALX_MAX_UPLOADS": str(SLOTS),
        "FALX_UPLOAD_WAIT_S": "1",
        "FALX_UPLOAD_IDLE_S": "4",
        "FALX_UPLOAD_LEAST_RATE": "1000",
    }
    with scripted_upstream() as upstream, volumes(tmp_path_factory.mktemp("v"), upstream.url, **limits) as served:
        yield served


def begin(served: Volumes) -> socket.socket:
    """An upload that has sent its head and nothing more."""
    connection = served.gateway.connect(timeout_s=LIMIT_S)
    connection.sendall(unfinished(b"", LENGTH))
    return connection


def refusal(connection: socket.socket) -> tuple[int, dict[str, str]]:
    """Status and problem of the answer to an upload."""
    with connection:
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return answer.status, json.loads(answer.read())


def test_silent_uploads_keep_nobody_out(served: Volumes) -> None:
    silent = [begin(served) for _ in range(SLOTS)]
    time.sleep(0.5)
    refused = served.submit()
    assert (refused.status, refused.json()["code"]) == (503, "uploads-busy")
    assert refused.headers["retry-after"] == "1"
    for connection in silent:
        status, problem = refusal(connection)
        assert (status, problem["code"]) == (408, "upload-stalled")
    assert served.submit().status == 202


def test_an_upload_that_crawls_is_given_up(served: Volumes) -> None:
    connection = begin(served)
    connection.settimeout(0.5)
    end_s = time.monotonic() + LIMIT_S
    while time.monotonic() < end_s:
        try:
            if connection.recv(1, socket.MSG_PEEK):
                break
        except TimeoutError:
            connection.sendall(b"-")
    connection.settimeout(LIMIT_S)
    status, problem = refusal(connection)
    assert (status, problem["code"]) == (408, "upload-stalled")
    assert "1000 bytes a second" in problem["detail"]
