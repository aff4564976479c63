"""The gateway before real model servers: the whole way of a slice, and what happens when somebody gives up."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.images import make_png
from tests.fixtures.models import CARD
from tests.fixtures.servers import ROOT, Reply, Server, running
from tests.fixtures.slow_models import write_slow_classifier
from tests.support.gateway import gateway_before
from tests.support.watching import measure

CLASSIFY = "/v1/classifications"
SEGMENT = "/v1/segmentations"
PNG = {"Content-Type": "image/png"}
IMAGE = make_png(96, 128)
SLOW_S = 0.4
VARYING = ("timing_ms", "request_id")


@dataclass(frozen=True, slots=True)
class Stack:
    """A gateway and the two model servers behind it."""

    gateway: Server
    classifier: Server
    segmenter: Server


@pytest.fixture(scope="module")
def stack(tiny_models: Path) -> Iterator[Stack]:
    env = {"FALX_MODELS_DIR": str(tiny_models), "FALX_MAX_BATCH": "1"}
    with ExitStack() as servers:
        classifier = servers.enter_context(running("classifier_service", env))
        segmenter = servers.enter_context(running("segmenter_service", env))
        gateway = servers.enter_context(gateway_before(classifier.base_url, segmenter.base_url))
        yield Stack(gateway, classifier, segmenter)


def multipart(**parts: bytes) -> tuple[bytes, dict[str, str]]:
    pieces = [
        b'--edge\r\nContent-Disposition: form-data; name="%s"; filename="x"\r\n\r\n%s\r\n' % (name.encode(), data)
        for name, data in parts.items()
    ]
    return b"".join([*pieces, b"--edge--\r\n"]), {"Content-Type": "multipart/form-data; boundary=edge"}


def steady(reply: Reply) -> Any:
    """The answer without what differs from run to run."""
    assert reply.status == 200, reply.body
    return {name: value for name, value in reply.json().items() if name not in VARYING}


class TestAnswers:
    @pytest.mark.parametrize("path", [CLASSIFY + "?explain=cam", "/predict_classification?explain=cam"])
    def test_classification(self, stack: Stack, path: str) -> None:
        direct = stack.classifier.request("POST", CLASSIFY + "?explain=cam", IMAGE, PNG)
        assert steady(stack.gateway.request("POST", path, *multipart(file=IMAGE))) == steady(direct)

    @pytest.mark.parametrize("path", [SEGMENT, "/predict_segmentation"])
    def test_segmentation(self, stack: Stack, path: str) -> None:
        direct = stack.segmenter.request("POST", SEGMENT, IMAGE, PNG)
        assert steady(stack.gateway.request("POST", path, IMAGE, PNG)) == steady(direct)

    def test_sequences(self, stack: Stack) -> None:
        reply = stack.gateway.request("POST", SEGMENT, *multipart(flair=IMAGE, t1=IMAGE))
        assert set(steady(reply)["sequences"]) == {"flair", "t1"}

    def test_json(self, stack: Stack) -> None:
        body = b'{"image": "%s"}' % base64.b64encode(IMAGE)
        assert steady(stack.gateway.request("POST", CLASSIFY, body, {"Content-Type": "application/json"}))["label"]

    @pytest.mark.parametrize(
        ("query", "accept", "media_type"),
        [
            ("", "image/png", "image/png"),
            ("", "image/png; profile=overlay", "image/png; profile=overlay"),
            ("?render=overlay", "*/*", "image/png; profile=overlay"),
            ("", "image/png; profile=image", "image/png; profile=image"),
            ("?render=image", "application/json", "image/png; profile=image"),
        ],
    )
    def test_pictures(self, stack: Stack, query: str, accept: str, media_type: str) -> None:
        reply = stack.gateway.request("POST", SEGMENT + query, IMAGE, {**PNG, "Accept": accept})
        assert reply.headers["content-type"] == media_type
        assert reply.headers["x-falx-model"] == "tumor-segmenter@1"
        direct = stack.segmenter.request("POST", SEGMENT + query, IMAGE, {**PNG, "Accept": accept})
        assert reply.body == direct.body

    def test_refusal(self, stack: Stack) -> None:
        reply = stack.gateway.request("POST", CLASSIFY, IMAGE[:60], {**PNG, "X-Request-ID": "mine-1"})
        assert (reply.status, reply.json()["code"]) == (400, "invalid-image")
        assert reply.json()["request_id"] == reply.headers["x-request-id"] == "mine-1"

    def test_models(self, stack: Stack) -> None:
        models = stack.gateway.request("GET", "/v1/models").json()["models"]
        assert [model["name"] for model in models] == ["tumor-classifier", "tumor-segmenter"]
        assert all(model["ready"] for model in models)
        one = stack.gateway.request("GET", "/v1/models/tumor-segmenter@1").json()
        assert one == models[1]

    @pytest.mark.parametrize("name", ["tumor-classifier", "tumor-classifier@1"])
    def test_card(self, stack: Stack, name: str) -> None:
        reply = stack.gateway.request("GET", f"/v1/models/{name}/card")
        assert (reply.status, reply.body.decode()) == (200, CARD)
        assert reply.headers["content-type"] == "text/markdown; charset=utf-8"
        assert reply.headers["cache-control"] == "no-store"

    @pytest.mark.parametrize(("name", "code"), [("no-such", "unknown-model"), ("tumor-segmenter", "not-found")])
    def test_no_card(self, stack: Stack, name: str, code: str) -> None:
        reply = stack.gateway.request("GET", f"/v1/models/{name}/card")
        assert (reply.status, reply.json()["code"]) == (404, code)

    def test_readiness_names_providers_and_versions(self, stack: Stack) -> None:
        states = {state["name"]: state for state in stack.gateway.request("GET", "/readyz").json()["dependencies"]}
        assert states["classifier/tumor-classifier"]["provider"] == "CPUExecutionProvider"
        assert states["segmenter/tumor-segmenter"]["version"] == "1"

    def test_twenty_eight_good_beside_four_broken(self, stack: Stack) -> None:
        images = [IMAGE] * 28 + [IMAGE[:50]] * 4
        with ThreadPoolExecutor(32) as pool:
            replies = list(pool.map(lambda image: stack.gateway.request("POST", CLASSIFY, image, PNG), images))
        assert [reply.status for reply in replies] == [200] * 28 + [400] * 4


GUIDE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", GUIDE, flags=re.DOTALL)


# pycocotools warns of itself under NumPy 2.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_programs_of_the_guide_run(
    stack: Stack, program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("slice.png", "flair.png", "t1.png"):
        (tmp_path / name).write_bytes(IMAGE)
    monkeypatch.chdir(tmp_path)
    scope: dict[str, Any] = {}
    exec(compile(program.replace("http://127.0.0.1:8000", stack.gateway.base_url), "guide", "exec"), scope)
    if "classify" in scope:
        assert scope["classify"]("slice.png")["label"]
        (tmp_path / "slice.png").write_bytes(IMAGE[:60])
        with pytest.raises(RuntimeError, match="invalid-image"):
            scope["classify"]("slice.png")
    else:
        assert capsys.readouterr().out


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A gateway before a classifier that takes its time; nothing segments here."""
    models = write_slow_classifier(tmp_path_factory.mktemp("slow"), SLOW_S)
    env = {"FALX_MODELS_DIR": str(models), "FALX_MAX_BATCH": "1"}
    with running("classifier_service", env) as classifier, gateway_before(classifier.base_url) as gateway:
        yield Stack(gateway, classifier, classifier)


def wait_for(condition: Callable[[], bool], limit_s: float = 20.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.02)


def dropped(stack: Stack, reason: str) -> float:
    return measure(stack.classifier, "falx_dropped_total", reason=reason)


class TestGivingUp:
    def test_work_of_clients_that_hang_up_is_dropped(self, slow: Stack) -> None:
        before = dropped(slow, "cancelled")
        head = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n" % CLASSIFY.encode()
        sent = head + b"Content-Length: %d\r\n\r\n%s" % (len(IMAGE), IMAGE)
        connections = [slow.gateway.connect() for _ in range(12)]
        for connection in connections:
            connection.sendall(sent)
        wait_for(lambda: measure(slow.classifier, "falx_queue_depth") >= 6)
        # Whoever hangs up while his slice is being decoded was never queued; decoding takes milliseconds.
        time.sleep(0.1)
        for connection in connections:
            connection.close()
        wait_for(lambda: dropped(slow, "cancelled") - before >= 6)

    def test_work_past_its_deadline_never_runs(self, slow: Stack) -> None:
        wait_for(lambda: measure(slow.classifier, "falx_queue_depth") == 0)
        ran = measure(slow.classifier, "falx_inference_seconds_count")
        late = {**PNG, "X-Request-Timeout-Ms": str(int(SLOW_S * 500))}
        with ThreadPoolExecutor(12) as pool:
            replies = list(pool.map(lambda _: slow.gateway.request("POST", CLASSIFY, IMAGE, late), range(12)))
        assert {(reply.status, reply.json()["code"]) for reply in replies} == {(504, "deadline-exceeded")}
        wait_for(lambda: measure(slow.classifier, "falx_queue_depth") == 0)
        # Those on a runner when their time ran out are finished; what had to wait behind them is not begun.
        assert measure(slow.classifier, "falx_inference_seconds_count") - ran < 12

    def test_requests_in_flight_are_answered_while_the_gateway_drains(self, slow: Stack) -> None:
        with (
            gateway_before(slow.classifier.base_url, env={"FALX_SHUTDOWN_GRACE_S": "60"}) as gateway,
            ThreadPoolExecutor(6) as pool,
        ):
            started = [pool.submit(gateway.request, "POST", CLASSIFY, IMAGE, PNG, 60.0) for _ in range(6)]
            wait_for(lambda: measure(slow.classifier, "falx_queue_depth") >= 3)
            gateway.sigterm()
            assert [request.result().status for request in started] == [200] * 6
            assert gateway.wait() == 0
