"""A model server goes away and comes back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.fixtures.servers import START_LIMIT_S, Reply, Server
from tests.support.gateway import ScriptedUpstream, gateway_before, scripted_upstream

PATH = "/v1/classifications"
RESET_S = 2
MODEL = {
    "name": "tumor-classifier",
    "version": "1",
    "task": "classification",
    "title": "Classifier",
    "architecture": "ResNet50",
    "labels": ["glioma"],
    "provider": "CPUExecutionProvider",
    "variant": "int8",
    "sha256": "0" * 64,
    "ready": True,
    "licence": "Apache-2.0",
    "intended_use": "Research use only.",
}


@pytest.fixture(scope="module")
def trio() -> Iterator[tuple[Server, ScriptedUpstream, ScriptedUpstream]]:
    env = {"FALX_CIRCUIT_FAILURES": "3", "FALX_CIRCUIT_RESET_S": str(RESET_S)}
    with (
        scripted_upstream() as classifier,
        scripted_upstream() as segmenter,
        gateway_before(classifier.url, segmenter.url, env=env) as server,
    ):
        yield server, classifier, segmenter


def post(gateway: Server, path: str = PATH, body: bytes = b"pixels") -> Reply:
    return gateway.request("POST", path, body, {"Content-Type": "image/png"})


def wait_for(condition: Callable[[], bool], limit_s: float = 10.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.05)


def circuit_open(gateway: Server, upstream: str) -> bool:
    return f'falx_circuit_open{{upstream="{upstream}"}} 1.0' in gateway.request("GET", "/metrics").body.decode()


def test_outage_and_recovery(trio: tuple[Server, ScriptedUpstream, ScriptedUpstream]) -> None:
    gateway, classifier, _segmenter = trio
    assert post(gateway).status == 200

    classifier.stop()
    first = post(gateway)
    assert (first.status, first.json()["code"], first.json()["retryable"]) == (503, "model-unavailable", True)
    assert int(first.headers["retry-after"]) >= 1

    wait_for(lambda: post(gateway).status == 503 and circuit_open(gateway, "classifier"))
    assert not circuit_open(gateway, "segmenter")
    started = time.monotonic()
    refused = post(gateway)
    assert time.monotonic() - started < 0.5, "an open circuit refuses at once"
    wait_s = int(refused.headers["retry-after"])
    assert 1 <= wait_s <= RESET_S
    assert post(gateway, "/v1/segmentations").status == 200, "the other model server is not concerned"

    classifier.start()
    time.sleep(wait_s)
    assert post(gateway).status == 200, "Retry-After proves right"
    assert not circuit_open(gateway, "classifier")


def test_readiness_follows(trio: tuple[Server, ScriptedUpstream, ScriptedUpstream]) -> None:
    gateway, _classifier, segmenter = trio
    assert gateway.request("GET", "/readyz").status == 200
    segmenter.stop()
    wait_for(lambda: gateway.request("GET", "/readyz").status == 503)
    reply = gateway.request("GET", "/readyz")
    states = {state["name"]: state for state in reply.json()["dependencies"]}
    assert states["classifier"]["ready"] is True
    assert states["segmenter"]["ready"] is False
    assert "cannot be reached" in states["segmenter"]["detail"]
    assert gateway.request("GET", "/livez").status == 200, "alive all the same: a restart would not help"
    segmenter.start()
    wait_for(lambda: gateway.request("GET", "/readyz").status == 200)


def test_models_of_a_server_that_is_away_stay_listed(
    trio: tuple[Server, ScriptedUpstream, ScriptedUpstream],
) -> None:
    gateway, classifier, segmenter = trio
    classifier.models = ({**MODEL},)
    segmenter.models = ({**MODEL, "name": "tumor-segmenter", "task": "segmentation"},)

    def listed() -> dict[str, Any]:
        return {m["name"]: m["ready"] for m in gateway.request("GET", "/v1/models").json()["models"]}

    assert listed() == {"tumor-classifier": True, "tumor-segmenter": True}
    segmenter.stop()
    try:
        assert listed() == {"tumor-classifier": True, "tumor-segmenter": False}
        assert gateway.request("GET", "/v1/models/tumor-segmenter@1").json()["ready"] is False
    finally:
        segmenter.start()
    assert gateway.request("GET", "/v1/models/tumor-classifier").json() == {
        **gateway.request("GET", "/v1/models").json()["models"][0]
    }
    unknown = gateway.request("GET", "/v1/models/no-such")
    assert (unknown.status, unknown.json()["code"]) == (404, "unknown-model")


def test_the_card_of_a_server_that_is_away_can_be_asked_for_later(
    trio: tuple[Server, ScriptedUpstream, ScriptedUpstream],
) -> None:
    gateway, classifier, segmenter = trio
    classifier.models, segmenter.models = ({**MODEL},), ()
    classifier.script = lambda exchange: exchange.answer(body=b"# A card", media_type="text/markdown")
    card = "/v1/models/tumor-classifier/card"
    try:
        assert gateway.request("GET", card).body == b"# A card"
        assert classifier.seen[-1].target == "/v1/models/tumor-classifier@1/card"
        classifier.script = lambda exchange: exchange.problem(503, "not-ready")
        assert (gateway.request("GET", card)).json()["code"] == "model-unavailable"
        classifier.stop()
        away = gateway.request("GET", card)
        assert (away.status, away.json()["code"]) == (503, "model-unavailable")
        assert int(away.headers["retry-after"]) >= 1
    finally:
        classifier.start()
        classifier.reset()


def test_nobody_there_at_all() -> None:
    with gateway_before("http://127.0.0.1:9", wait_ready=False) as gateway:
        wait_for(lambda: _answers(gateway), START_LIMIT_S)
        for path in ("/v1/models", "/v1/models/tumor-classifier", "/v1/models/tumor-classifier/card"):
            reply = gateway.request("GET", path)
            assert (reply.status, reply.json()["code"]) == (503, "model-unavailable")
            assert int(reply.headers["retry-after"]) >= 1
        assert gateway.request("GET", "/readyz").status == 503
        assert post(gateway).status == 503


def test_name_that_does_not_resolve() -> None:
    with gateway_before("http://falx-classifier.invalid:8001", wait_ready=False) as gateway:
        wait_for(lambda: _answers(gateway), START_LIMIT_S)
        assert post(gateway).json()["code"] == "model-unavailable"


def _answers(gateway: Server) -> bool:
    try:
        return gateway.request("GET", "/livez").status == 200
    except OSError:
        return False
