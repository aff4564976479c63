"""Another scanner's slices: the model servers count them, and a real Prometheus raises the alert."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import yaml

from tests.fixtures.images import to_png
from tests.fixtures.servers import Server, free_port, request, running
from tests.support.make_samples import SAMPLES, SLICES

RULES = Path(__file__).parents[2] / "deploy" / "observability" / "rules.yml"
PNG = {"Content-Type": "image/png"}
# The alert asks for fifty answers in an hour.
SHOWN = 60


def familiar() -> bytes:
    return (SAMPLES / next(iter(SLICES))).read_bytes()


def inverted(index: int) -> bytes:
    """White around a dark head, as a viewer's negative is; no two are alike."""
    grain: npt.NDArray[np.uint8] = np.random.default_rng(index).integers(0, 60, (200, 200), np.uint8)
    y, x = np.mgrid[-1:1:200j, -1:1:200j]
    return to_png(np.where(x**2 + y**2 < 0.7, grain, 255).astype(np.uint8))


def metric(server: Server, name: str) -> float:
    lines = server.request("GET", "/metrics").body.decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def until(told: Callable[[], bool], what: str) -> None:
    end_s = time.monotonic() + 60
    while not told():
        assert time.monotonic() < end_s, what
        time.sleep(0.5)


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


def alerts(url: str) -> dict[str, str]:
    """Names of alerts, with the model that each is about."""
    try:
        reply = request(url, "GET", "/api/v1/alerts")
    except ConnectionError:
        return {}
    found = json.loads(reply.body)["data"]["alerts"] if reply.status == 200 else []
    return {alert["labels"]["alertname"]: alert["labels"].get("model", "") for alert in found}


def test_answers_are_counted_by_what_is_found_and_how_familiar_it_is(classifier: Server) -> None:
    known = classifier.request("POST", "/v1/classifications", familiar(), PNG)
    strange = classifier.request("POST", "/v1/classifications", inverted(0), PNG)
    assert [json.loads(reply.body)["input_check"]["in_distribution"] for reply in (known, strange)] == [True, False]
    label = json.loads(known.body)["label"]
    assert metric(classifier, f'falx_answers_total{{finding="{label}",model="tumor-classifier"}}') >= 1
    assert metric(classifier, "falx_answers_total") == 2
    assert metric(classifier, 'falx_unfamiliar_total{model="tumor-classifier"}') == 1
    assert metric(classifier, "falx_input_check_score_count") == 2
    sets = [len(json.loads(reply.body)["prediction_set"]) for reply in (known, strange)]
    assert metric(classifier, "falx_prediction_set_size_sum") == sum(sets)


def test_outlines_are_counted_by_their_size(tiny_models: Path) -> None:
    with running("segmenter_service", {"FALX_MODELS_DIR": str(tiny_models)}) as server:
        reply = server.request("POST", "/v1/segmentations", familiar(), PNG)
        found = json.loads(reply.body)["tumor_pixels"] > 0
        assert metric(server, f'falx_answers_total{{finding="{"tumor" if found else "nothing"}"') == 1
        assert metric(server, "falx_outlined_share_count") == found


def test_another_scanner_raises_the_alert(classifier: Server, tmp_path: Path) -> None:
    with prometheus(classifier.base_url, tmp_path) as url:
        assert classifier.request("POST", "/v1/classifications", inverted(0), PNG).status == 200
        until(lambda: bool(request_series(url)), "Prometheus has not looked at the classifier")
        assert "FalxUnfamiliarInput" not in alerts(url)
        for index in range(SHOWN):
            assert classifier.request("POST", "/v1/classifications", inverted(index), PNG).status == 200
        until(lambda: alerts(url).get("FalxUnfamiliarInput") == "tumor-classifier", f"no alert: {alerts(url)}")
        assert "FalxInternalErrors" not in alerts(url)


def request_series(url: str) -> list[object]:
    """What Prometheus holds of the count of unfamiliar slices."""
    try:
        reply = request(url, "GET", "/api/v1/query?query=falx_unfamiliar_total")
    except ConnectionError:
        return []
    found: list[object] = json.loads(reply.body)["data"]["result"] if reply.status == 200 else []
    return found
