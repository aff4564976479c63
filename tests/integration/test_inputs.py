"""Every upload of the tables, sent to a real model server and through a real gateway: the right answer, never a 500."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from core.contracts.problem import PROBLEM_MEDIA_TYPE, Problem
from tests.fixtures.cases import INPUT_CASES, InputCase
from tests.fixtures.request_cases import REQUEST_CASES, RequestCase
from tests.fixtures.servers import Reply, Server, running

PATH = "/v1/classifications"
HOPS = ("model server", "gateway")


@dataclass(frozen=True, slots=True)
class Stack:
    """A model server and a gateway before it."""

    servers: dict[str, Server]

    def post(self, hop: str, body: bytes, content_type: str | None) -> Reply:
        """One upload to one of ``HOPS``."""
        headers = {} if content_type is None else {"Content-Type": content_type}
        return self.servers[hop].request("POST", PATH, body, headers)


@pytest.fixture(scope="module")
def stack(tiny_models: Path) -> Iterator[Stack]:
    models = {"FALX_MODELS_DIR": str(tiny_models), "FALX_LOG_LEVEL": "warning"}
    with running("classifier_service", models) as model_server:
        # The gateway is ready once both of its servers are; only one of them is needed here.
        upstreams = dict.fromkeys(("FALX_CLASSIFIER_URL", "FALX_SEGMENTER_URL"), model_server.base_url)
        with running("gateway", {**upstreams, "FALX_LOG_LEVEL": "warning"}) as gateway:
            yield Stack({"model server": model_server, "gateway": gateway})


def check_answer(reply: Reply) -> None:
    answer = reply.json()
    assert answer["label"] in answer["probabilities"]
    assert sum(answer["probabilities"].values()) == pytest.approx(1.0, abs=1e-3)


def check_problem(reply: Reply, case: InputCase | RequestCase) -> None:
    assert reply.headers["content-type"].partition(";")[0] == PROBLEM_MEDIA_TYPE
    problem = Problem.model_validate(reply.json())
    assert (problem.status, problem.code) == (reply.status, case.code)
    assert case.mentions in problem.detail
    assert problem.type.endswith(f"#{problem.code}")
    assert problem.request_id == reply.headers["x-request-id"]
    assert not problem.retryable
    assert ("accept-post" in reply.headers) == (problem.status == 415)


def check(reply: Reply, case: InputCase | RequestCase) -> None:
    assert reply.status == case.status, reply.body
    if case.status == 200:
        check_answer(reply)
    else:
        check_problem(reply, case)


@pytest.mark.parametrize("hop", HOPS)
@pytest.mark.parametrize("case", INPUT_CASES, ids=lambda case: case.id)
def test_a_file_gets_its_right_answer(stack: Stack, hop: str, case: InputCase) -> None:
    check(stack.post(hop, case.data(), case.media_type), case)


@pytest.mark.parametrize("hop", HOPS)
@pytest.mark.parametrize("case", REQUEST_CASES, ids=lambda case: case.id)
def test_a_body_gets_its_right_answer(stack: Stack, hop: str, case: RequestCase) -> None:
    check(stack.post(hop, case.body(), case.content_type), case)


def test_what_was_animated_or_has_pages_is_said(stack: Stack) -> None:
    chosen = {case.id: case for case in INPUT_CASES}
    for name in ("png-animated", "webp-animated", "tiff-multi-page", "dicom-multi-frame"):
        case = chosen[name]
        answer = stack.post("gateway", case.data(), case.media_type).json()
        assert any("is used" in warning for warning in answer["warnings"]), name


def test_nothing_of_it_reached_the_logs(stack: Stack) -> None:
    for server in stack.servers.values():
        assert server.process.poll() is None
        assert "Traceback" not in server.log
        assert "alert(1)" not in server.log
