"""An analysis whose model servers are away, full, slow or out of their minds: there is never half an answer."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.contracts.operations.analyses import ANALYZE, ANALYZE_BATCH, CLASSIFY_PART
from core.contracts.operations.operation import JSON
from core.contracts.operations.slices import SEGMENT
from tests.fixtures.images import make_png
from tests.fixtures.servers import Reply, Server, free_port, running
from tests.support.gateway import MIB, Exchange, ScriptedUpstream, gateway_before, post, scripted_upstream

MODEL = {"name": "tiny", "version": "1", "sha256": "0" * 64, "provider": "CPUExecutionProvider", "variant": "int8"}
CHECK = {"in_distribution": True, "score": 0.9, "reasons": []}
CLASS = {"label": "no_tumor", "probability": 0.9, "probabilities": {"glioma": 0.1, "no_tumor": 0.9}}
CLASS |= {"input_check": CHECK, "model": MODEL}
OUTLINE = {"tumor_pixels": 0, "candidate": None, "input_check": CHECK}
MOST = 8 * MIB

Trio = tuple[Server, ScriptedUpstream, ScriptedUpstream]


@pytest.fixture(scope="module")
def servers() -> Iterator[Trio]:
    env = {"FALX_MAX_REQUEST_BYTES": str(MOST), "FALX_CIRCUIT_FAILURES": "1000"}
    with (
        scripted_upstream() as classifier,
        scripted_upstream() as segmenter,
        gateway_before(classifier.url, segmenter.url, env=env) as gateway,
    ):
        yield gateway, classifier, segmenter


@pytest.fixture
def trio(servers: Trio) -> Trio:
    _, classifier, segmenter = servers
    classifier.reset()
    segmenter.reset()
    classifier.script = lambda exchange: exchange.answer(body=json.dumps(CLASS).encode())
    segmenter.script = lambda exchange: exchange.answer(body=json.dumps(OUTLINE).encode())
    return servers


def ask(gateway: Server, body: bytes = b"pixels", query: str = "", **headers: str) -> Reply:
    return post(gateway, body, ANALYZE.path + query, **headers)


def unavailable(reply: Reply, name: str) -> None:
    problem = reply.json()
    assert (reply.status, problem["code"], problem["retryable"]) == (503, "model-unavailable", True)
    assert f"'{name}'" in problem["detail"]
    assert int(reply.headers["retry-after"]) >= 1
    assert "classification" not in problem
    assert "segmentation" not in problem


def test_each_model_server_is_asked_for_its_part_alone(trio: Trio) -> None:
    gateway, classifier, segmenter = trio
    reply = ask(
        gateway,
        query="?segmenter=b&explain=cam&classifier=a%40b%2F1&threshold=0.5",
        Accept="application/json;q=0.5, image/png",
        X_Request_ID="mine",
    )
    assert reply.status == 200
    assert classifier.seen[0].target == f"{CLASSIFY_PART.path}?explain=cam&model=a%40b%2F1"
    assert segmenter.seen[0].target == f"{SEGMENT.path}?model=b&threshold=0.5"
    assert (classifier.seen[0].headers["accept"], segmenter.seen[0].headers["accept"]) == (
        JSON,
        "application/json;q=0.5, image/png",
    )
    for seen in (*classifier.seen, *segmenter.seen):
        assert seen.headers["x-request-id"] == "mine"
        assert 0 < int(seen.headers["x-request-timeout-ms"]) <= 60_000


@pytest.mark.parametrize("size", [0, 1, 70_000, MIB, MIB + 1, 5 * MIB])
def test_both_get_the_body_untouched(trio: Trio, size: int) -> None:
    gateway, classifier, segmenter = trio
    sent, received = os.urandom(size), []
    for upstream, answer, wait_s in ((classifier, CLASS, 0.0), (segmenter, OUTLINE, 0.3)):

        def keep(exchange: Exchange, answer: object = answer, wait_s: float = wait_s) -> None:
            time.sleep(wait_s)  # one of them begins to read later
            received.append(exchange.body())
            exchange.answer(body=json.dumps(answer).encode())

        upstream.script = keep
    assert ask(gateway, sent).status == 200
    assert received == [sent, sent]


@pytest.mark.parametrize("away", ["classifier", "segmenter"])
@pytest.mark.parametrize("size", [6, 2 * MIB])
def test_one_that_is_away_is_named_and_the_other_is_let_go(trio: Trio, away: str, size: int) -> None:
    gateway, classifier, segmenter = trio
    gone, there = (classifier, segmenter) if away == "classifier" else (segmenter, classifier)
    let_go: list[bool] = []

    def slow(exchange: Exchange) -> None:
        let_go.append(exchange.gone_within(10))

    there.script = slow
    gone.stop()
    try:
        started = time.monotonic()
        unavailable(ask(gateway, b"x" * size), away)
        assert time.monotonic() - started < 5
    finally:
        gone.start()
    end = time.monotonic() + 10
    while there.seen and not let_go:
        assert time.monotonic() < end, "the other one works on for nobody"
        time.sleep(0.02)
    assert all(let_go)


def test_a_connection_that_breaks_in_mid_answer_is_no_half_answer(trio: Trio) -> None:
    gateway, _, segmenter = trio

    def broken(exchange: Exchange) -> None:
        exchange.body()
        exchange.raw(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{"tumor_pixels"')
        exchange.hang_up()

    segmenter.script = broken
    reply = ask(gateway)
    assert (reply.status, reply.json()["code"]) == (502, "upstream-error")
    assert "'segmenter'" in reply.json()["detail"]


@pytest.mark.parametrize("full", ["classifier", "segmenter"])
def test_a_full_queue_of_either_refuses_the_whole(trio: Trio, full: str) -> None:
    gateway, classifier, segmenter = trio
    one = classifier if full == "classifier" else segmenter
    one.script = lambda exchange: exchange.problem(429, "queue-full", {"Retry-After": "7"})
    reply = ask(gateway)
    assert (reply.status, reply.json()["code"], reply.headers["retry-after"]) == (429, "queue-full", "7")


def test_one_that_starts_or_stops_refuses_the_whole(trio: Trio) -> None:
    gateway, classifier, _ = trio
    classifier.script = lambda exchange: exchange.problem(503, "not-ready", {"Retry-After": "2"})
    reply = ask(gateway)
    assert (reply.status, reply.json()["code"], reply.headers["retry-after"]) == (503, "not-ready", "2")


@pytest.mark.parametrize("path", [ANALYZE.path, ANALYZE_BATCH.path])
@pytest.mark.parametrize(
    ("answer", "headers"),
    [
        (b"{}", {}),
        (b"[]", {}),
        (b"[1]", {}),
        (b"no json", {}),
        (b'{"tumor_pixels": "many"}', {}),
        (b'{"items": []}', {"X-Falx-Files": "1"}),
        (b'{"items": [1]}', {"X-Falx-Files": "1"}),
    ],
)
def test_answers_that_do_not_fit_together_are_no_fault_of_the_gateway(
    trio: Trio, path: str, answer: bytes, headers: dict[str, str]
) -> None:
    gateway, classifier, segmenter = trio
    classifier.script = lambda exchange: exchange.answer(body=b'{"items": [2]}' if headers else b"{}")
    segmenter.script = lambda exchange: exchange.answer(body=answer, headers=headers)
    reply = post(gateway, path=path)
    assert (reply.status, reply.json()["code"]) == (502, "upstream-error")


def test_an_upload_above_the_limit_is_refused_while_it_streams(trio: Trio) -> None:
    gateway, _, _ = trio
    with gateway.connect() as connection:
        connection.sendall(b"POST %s HTTP/1.1\r\nHost: localhost\r\n" % ANALYZE.path.encode())
        connection.sendall(b"Content-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(MOST // MIB + 1):
                connection.sendall(b"%x\r\n%s\r\n" % (MIB, bytes(MIB)))
        except ConnectionError:
            pass  # refused in the middle
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_the_deadline_ends_both(trio: Trio) -> None:
    gateway, classifier, segmenter = trio
    gone: list[bool] = []
    for upstream in (classifier, segmenter):
        upstream.script = lambda exchange: gone.append(exchange.gone_within(10))
    reply = ask(gateway, X_Request_Timeout_Ms="400")
    assert (reply.status, reply.json()["code"]) == (504, "deadline-exceeded")
    wait_for_both(gone)


def test_a_caller_that_hangs_up_ends_both(trio: Trio) -> None:
    gateway, classifier, segmenter = trio
    gone: list[bool] = []
    for upstream in (classifier, segmenter):
        upstream.script = lambda exchange: gone.append(exchange.gone_within(10))
    with gateway.connect() as connection:
        connection.sendall(b"POST %s HTTP/1.1\r\nHost: localhost\r\n" % ANALYZE.path.encode())
        connection.sendall(b"Content-Type: image/png\r\nContent-Length: 6\r\n\r\npixels")
        end = time.monotonic() + 10
        while len(classifier.seen) + len(segmenter.seen) < 2:
            assert time.monotonic() < end
            time.sleep(0.02)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    wait_for_both(gone)


def wait_for_both(gone: list[bool]) -> None:
    end = time.monotonic() + 10
    while len(gone) < 2:
        assert time.monotonic() < end, "a model server works on for nobody"
        time.sleep(0.02)
    assert all(gone)


def test_each_model_server_has_its_time_measured(trio: Trio) -> None:
    gateway, _, _ = trio

    def count(name: str) -> float:
        lines = gateway.request("GET", "/metrics").body.decode().splitlines()
        return float(
            next(
                line for line in lines if line.startswith(f'falx_upstream_seconds_count{{upstream="{name}"}}')
            ).split()[1]
        )

    before = {name: count(name) for name in ("classifier", "segmenter")}
    assert ask(gateway).status == 200
    assert {name: count(name) - before[name] for name in before} == {"classifier": 1, "segmenter": 1}
    assert f'route="{ANALYZE.path}"' in gateway.request("GET", "/metrics").body.decode()


def test_a_real_model_server_that_is_killed_and_comes_back(tiny_models: Path, tmp_path: Path) -> None:
    image, port, env = make_png(64, 64), free_port(), {"FALX_MODELS_DIR": str(tiny_models)}
    audit = tmp_path / "audit.log"
    settings = {"FALX_CIRCUIT_RESET_S": "1", "FALX_AUDIT_LOG": str(audit)}
    with (
        running("classifier_service", env) as classifier,
        running("segmenter_service", env, port=port) as segmenter,
        gateway_before(classifier.base_url, segmenter.base_url, env=settings) as gateway,
    ):
        assert ask(gateway, image).status == 200
        segmenter.kill()
        unavailable(ask(gateway, image), "segmenter")
        assert post(gateway, image).status == 200
        with running("segmenter_service", env, port=port):
            end = time.monotonic() + 20
            while (reply := ask(gateway, image)).status != 200:
                assert time.monotonic() < end, reply.body
                time.sleep(0.2)
    lines = [json.loads(line) for line in audit.read_text().splitlines()]
    mine = [line for line in lines if line["route"] == ANALYZE.path]
    assert [(line["operation"], line["status"]) for line in mine[:2]] == [("analyze", 200), ("analyze", 503)]
    assert mine[1]["problem"] == "model-unavailable"
