"""Two label sets on one graph, over the wire: four classes by default, six when they are asked for."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from core.contracts.classification import Classification
from tests.fixtures.answers import open_png
from tests.fixtures.images import to_png
from tests.fixtures.models import LABELS, SIX_LABELS, write_label_sets
from tests.fixtures.servers import Server, running

PATH = "/v1/classifications"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    models = write_label_sets(tmp_path_factory.mktemp("sets"))
    with running("classifier_service", {"FALX_MODELS_DIR": str(models), "FALX_PRECISION": "reference"}) as server:
        yield server


def head_bright_above() -> npt.NDArray[np.uint8]:
    """A grey head whose upper half is bright on both sides: the tiny network's fifth class."""
    head = np.zeros((200, 200), np.uint8)
    cv2.ellipse(head, (100, 100), (90, 90), 0, 0, 360, 60, -1)
    for column in (66, 134):
        cv2.circle(head, (column, 66), 26, 250, -1)
    return head


def classify(server: Server, query: str = "") -> dict[str, Any]:
    reply = server.request("POST", PATH + query, to_png(head_bright_above()), {"Content-Type": "image/png"})
    assert reply.status == 200
    Classification.model_validate_json(reply.body)
    answer: dict[str, Any] = reply.json()
    return answer


def raw_logits(answer: dict[str, Any], temperature: float) -> npt.NDArray[np.float64]:
    """Differences of the graph's logits that the probabilities of an answer imply."""
    values = np.log(list(answer["probabilities"].values())) * temperature
    return np.asarray(values - values[0], np.float64)


def test_the_default_answers_with_four_labels(server: Server) -> None:
    answer = classify(server)
    assert answer["model"]["name"] == "tumor-classifier"
    assert tuple(answer["probabilities"]) == LABELS
    assert sum(answer["probabilities"].values()) == pytest.approx(1.0)
    assert answer["label"] in ("glioma", "meningioma")
    assert answer["coverage"] == 0.95


def test_six_labels_come_when_asked_for(server: Server) -> None:
    answer = classify(server, "?model=tumor-classifier-6")
    assert answer["model"]["name"] == "tumor-classifier-6"
    assert tuple(answer["probabilities"]) == SIX_LABELS
    assert sum(answer["probabilities"].values()) == pytest.approx(1.0)
    assert answer["label"] == "neurocytoma"
    assert answer["prediction_set"][0] == "neurocytoma"
    assert answer["coverage"] == 0.9


def test_both_read_the_same_logits_at_their_own_temperature(server: Server) -> None:
    four, six = classify(server), classify(server, "?model=tumor-classifier-6")
    assert four["model"]["sha256"] == six["model"]["sha256"]
    expected = raw_logits(six, temperature=2.0)[:4]
    np.testing.assert_allclose(raw_logits(four, temperature=1.5), expected, atol=1e-4)
    assert np.ptp(expected) > 1


def sides(server: Server, query: str) -> tuple[float, float]:
    """How much colour the map of an answer has in the upper left and in the upper right quarter."""
    explanation = classify(server, query)["explanation"]
    tint = np.ptp(open_png(base64.b64decode(explanation["data"])).astype(np.int32), axis=2)
    assert tint[:100].sum() > 10 * tint[110:].sum()
    return float(tint[:100, :100].sum()), float(tint[:100, 100:].sum())


def test_the_map_is_that_of_the_label(server: Server) -> None:
    """The fifth class has its evidence on both sides, each of the first four on one."""
    both = sides(server, "?model=tumor-classifier-6&explain=cam")
    one = sides(server, "?explain=cam")
    assert max(both) < 2 * min(both)
    assert max(one) > 5 * min(one)


def test_both_are_listed(server: Server) -> None:
    models: Any = server.request("GET", "/v1/models").json()["models"]
    assert [(model["name"], len(model["labels"])) for model in models] == [
        ("tumor-classifier", 4),
        ("tumor-classifier-6", 6),
    ]
    index: Any = server.request("POST", "/v2/repository/index", b"{}").json()
    assert [model["name"] for model in index] == ["tumor-classifier", "tumor-classifier-6"]
    for name in ("tumor-classifier", "tumor-classifier-6"):
        assert server.request("GET", f"/v1/models/{name}").json()["ready"]
        outputs: Any = server.request("GET", f"/v2/models/{name}").json()["outputs"]
        assert {output["name"]: output["shape"] for output in outputs}["logits"] == [-1, 6]
    ready: Any = server.request("GET", "/readyz").json()
    assert [state["name"] for state in ready["dependencies"]] == ["tumor-classifier", "tumor-classifier-6"]


def test_what_both_do_is_counted_under_the_first(server: Server) -> None:
    classify(server, "?model=tumor-classifier-6")
    text = server.request("GET", "/metrics").body.decode()
    assert 'falx_batch_size_count{model="tumor-classifier"}' in text
    assert 'falx_batch_size_count{model="tumor-classifier-6"}' not in text


def test_the_second_may_be_served_alone(tmp_path: Path) -> None:
    models = write_label_sets(tmp_path)
    with running("classifier_service", {"FALX_MODELS_DIR": str(models), "FALX_MODELS": "tumor-classifier-6"}) as server:
        assert len(classify(server)["probabilities"]) == 6


def test_open_inference_tells_how_to_read_the_logits(server: Server) -> None:
    for name, indices, temperature in (
        ("tumor-classifier", "0,1,2,3", "1.5"),
        ("tumor-classifier-6", "0,1,2,3,4,5", "2.0"),
    ):
        parameters: Any = server.request("GET", f"/v2/models/{name}/config").json()["parameters"]
        assert parameters["label_indices"] == {"string_value": indices}
        assert parameters["temperature"] == {"string_value": temperature}
        assert parameters["labels"]["string_value"].startswith("glioma,meningioma")
