"""Another scanner's slices: the model servers count them, and a real Prometheus raises the alert."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import yaml

from tests.fixtures.images import to_png
from tests.fixtures.servers import Server, free_port, request, running
from tests.support.make_samples import SAMPLES, SLICES
from tests.support.watching import measure, until

RULES = Path(__file__).parents[2] / "deploy" / "observability" / "rules.yml"
PNG = {"Content-Type": "image/png"}
# The alert asks for fifty answers in an hour.
SHOWN = 60
LIMIT_S = 60.0


def familiar() -> bytes:
    return (SAMPLES / next(iter(SLICES))).read_bytes()


def inverted(index: int) -> bytes:
    """White around a dark head, as a viewer's negative is; no two are alike."""
    grain: npt.NDArray[np.uint8] = np.random.default_rng(index).integers(0, 60, (200, 200), np.uint8)
    y, x = np.mgrid[-1:1:200j, -1:1:200j]
    return to_png(np.where(x**2 + y**2 < 0.7, grain, 255).astype(np.uint8))


@pytest.fixture
def classifier(tiny_models: Path) -> Iterator[Server]:
    with running("classifier_service", {"FALX_MODELS_DIR": str(tiny_models)}) as server:
        yield server


@contextmanager
def prometheus(target: str, folder: Path) -> Iterator[str]:
    """A Prometheus with our rules that looks at ``target`` every second; its address."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("Prometheus is not installed (Debian: prometheus)")
    jobs = [{"job_name": "falx-classifier", "static_configs": [{"targets": [target.removeprefix("http://")]}]}]
    every = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config = folder / "prometheus.yml"
    config.write_text(yaml.safe_dump({"global": every, "rule_files": [str(RULES)], "scrape_configs": jobs}))
    url = f"http://127.0.0.1:{free_port()}"
    options = [f"--config.file={config}", f"--storage.tsdb.path={folder}", f"--web.listen-address={url[7:]}"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([program, *options], stdout=log, stderr=log)
        try:
            yield url
        finally:
            process.terminate()
            process.wait(20)


def asked(url: str, path: str) -> Any:
    """What Prometheus answers, None while it is not there."""
    try:
        reply = request(url, "GET", path)
    except ConnectionError:
        return None
    return json.loads(reply.body)["data"] if reply.status == 200 else None


def alerts(url: str) -> dict[str, str]:
    """Names of alerts, with the model that each is about."""
    found = (asked(url, "/api/v1/alerts") or {"alerts": []})["alerts"]
    return {alert["labels"]["alertname"]: alert["labels"].get("model", "") for alert in found}


def has_looked(url: str) -> bool:
    """Whether Prometheus holds the count of unfamiliar slices."""
    return bool((asked(url, "/api/v1/query?query=falx_unfamiliar_total") or {"result": []})["result"])


def test_answers_are_counted_by_what_is_found_and_how_familiar_it_is(classifier: Server) -> None:
    known = classifier.request("POST", "/v1/classifications", familiar(), PNG)
    strange = classifier.request("POST", "/v1/classifications", inverted(0), PNG)
    assert [json.loads(reply.body)["input_check"]["in_distribution"] for reply in (known, strange)] == [True, False]
    label = json.loads(known.body)["label"]
    assert measure(classifier, "falx_answers_total", finding=label, model="tumor-classifier") >= 1
    assert measure(classifier, "falx_answers_total") == 2
    assert measure(classifier, "falx_unfamiliar_total", model="tumor-classifier") == 1
    assert measure(classifier, "falx_input_check_score_count") == 2
    sets = [len(json.loads(reply.body)["prediction_set"]) for reply in (known, strange)]
    assert measure(classifier, "falx_prediction_set_size_sum") == sum(sets)


def test_outlines_are_counted_by_their_size(tiny_models: Path) -> None:
    with running("segmenter_service", {"FALX_MODELS_DIR": str(tiny_models)}) as server:
        reply = server.request("POST", "/v1/segmentations", familiar(), PNG)
        answer = json.loads(reply.body)
        share = answer["tumor_pixels"] / (answer["size"][0] * answer["size"][1])
        assert measure(server, "falx_answers_total", finding="tumor" if share else "nothing") == 1
        assert measure(server, "falx_outlined_share_count") == bool(share)
        assert measure(server, "falx_outlined_share_sum") == pytest.approx(share)


def test_another_scanner_raises_the_alert(classifier: Server, tmp_path: Path) -> None:
    with prometheus(classifier.base_url, tmp_path) as url:
        assert classifier.request("POST", "/v1/classifications", inverted(0), PNG).status == 200
        until(lambda: has_looked(url), "Prometheus has not looked at the classifier", LIMIT_S)
        assert "FalxUnfamiliarInput" not in alerts(url)
        for index in range(SHOWN):
            assert classifier.request("POST", "/v1/classifications", inverted(index), PNG).status == 200
        until(lambda: alerts(url).get("FalxUnfamiliarInput") == "tumor-classifier", "the alert does not come", LIMIT_S)
        assert "FalxInternalErrors" not in alerts(url)
