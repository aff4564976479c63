"""The whole way, for real: train, be killed, resume, export, quantise, evaluate, bundle, serve, and answer over HTTP.

``test_pipeline`` walks the shipped configurations through the command line. Here stand what it leaves out: other
networks and the paper's preset, a training that is killed, and the service that loads what came out.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from typer.testing import CliRunner

from core.contracts.manifest import ClassificationPreprocessing, SegmentationPreprocessing
from core.imaging.preparation.transforms import ANY_SEQUENCE, prepare_classification, prepare_segmentation
from core.runtime.bundle import load_bundle
from training import cli
from training.bundle import quantize
from training.bundle.onnx_files import OnnxModel
from training.classification import export as classifier_export
from training.data.labelled import read_greys
from training.data.outlined import outlined_rows
from training.loop.checkpoints import load_trained
from training.loop.trainer import CHECKPOINT
from training.records import REFERENCE_FILE, Evaluate, Export
from training.segmentation import export as segmenter_export

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
    pytest.mark.timeout(600),
]

ROOT = Path(__file__).resolve().parents[3]
# The services have an environment of their own, made by `make lint` or `make test`; torch is not in it.
SERVICES = ROOT / ".venv/bin/python"
LIMIT_S = 240.0


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread, few calibration slices and one way to quantise: the networks are tiny."""
    torch.set_num_threads(1)
    for room in (classifier_export, segmenter_export):
        monkeypatch.setattr(room, "CALIBRATION_SLICES", 8)
    monkeypatch.setattr(quantize.quantise_run, "__defaults__", (quantize.ATTEMPTS[:1],))


def falx(*arguments: str | Path) -> str:
    """Run ``python -m training`` in this process; what it printed."""
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    return result.output


def checkpoint(run: Path) -> Mapping[str, Any]:
    """How far a run's last checkpoint is."""
    state: Mapping[str, Any] = torch.load(run / CHECKPOINT, map_location="cpu", weights_only=False)["state"]
    return state


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    """Until the file is there; fails when the process ends before."""
    end = time.monotonic() + LIMIT_S
    while not path.exists():
        assert process.poll() is None, f"it ended with {process.returncode} before it wrote {path.name}"
        assert time.monotonic() < end, f"no {path.name} after {LIMIT_S} s"
        time.sleep(0.02)


def environment(**settings: str) -> dict[str, str]:
    """This process's environment with ``settings``, able to import the repository from any folder."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FALX_")}
    return {**inherited, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **settings}


def train_killed_once(folder: Path, *arguments: str | Path) -> int:
    """Start a training as a process and kill it after its first checkpoint; how many images it had seen by then."""
    command = [sys.executable, "-m", "training", "train", *map(str, arguments)]
    process = subprocess.Popen(command, cwd=folder, env=environment(), stdout=subprocess.DEVNULL)
    run = Path(str(arguments[arguments.index("--run") + 1]))
    try:
        wait_for(run / CHECKPOINT, process)
    finally:
        process.kill()
        process.wait()
    return int(checkpoint(run)["images_seen"])


@contextmanager
def serving(module: str, models: Path) -> Iterator[str]:
    """The real service as a process on the bundles in ``models``; yields its address once it is ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {"FALX_PORT": str(port), "FALX_MODELS_DIR": str(models), "FALX_PRECISION": "reference"}
    process = subprocess.Popen([str(SERVICES), "-m", module], cwd=ROOT, env=environment(**settings))
    address = f"http://127.0.0.1:{port}"
    end = time.monotonic() + LIMIT_S
    try:
        while True:
            assert process.poll() is None, f"{module} ended with {process.returncode}"
            assert time.monotonic() < end, f"{module} is not ready after {LIMIT_S} s"
            try:
                with urllib.request.urlopen(f"{address}/readyz", timeout=10):
                    break
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        yield address
    finally:
        process.kill()
        process.wait()


def ask(address: str, image: bytes) -> dict[str, Any]:
    """POST one PNG; the answer."""
    request = urllib.request.Request(address, image, {"Content-Type": "image/png"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        answer: dict[str, Any] = json.load(reply)
    return answer


def outlined_test_slice(data: Path) -> tuple[bytes, npt.NDArray[np.float32]]:
    """A slice of ``test`` with a tumour: as a file, and as grey float32 (h, w) in [0, 1]."""
    row = outlined_rows(data, "test")[0]
    (grey,) = read_greys(data, [row])
    with tarfile.open(data / "slices_figshare.tar") as tar:
        file = tar.extractfile(row.image)
        assert file is not None
        return file.read(), grey


needs_services = pytest.mark.skipif(not SERVICES.exists(), reason="the services' environment is made by `make lint`")


@needs_services
def test_a_classifier_from_noise_to_an_answer(data: Path, in_workspace: Path, tmp_path: Path) -> None:
    run, models = tmp_path / "densenet", tmp_path / "models"
    command = (
        *("classifier", "--data", data, "--run", run, "--architecture", "densenet121"),
        *("--preset", "paper", "--width", "8", "--scale", "0.08", "--threads", "1"),
    )
    seen = train_killed_once(in_workspace, *command)
    first = checkpoint(run)["history"][0]
    # 96 slices in batches of 32, one an epoch; it was killed within them.
    assert 0 < seen < 96
    falx("train", *command)
    state = checkpoint(run)
    assert state["images_seen"] == 96
    assert [epoch["images"] for epoch in state["history"]] == [32, 64, 96]
    assert state["history"][0] == first

    falx("export", "--data", data, "--run", run)
    falx("quantize", "--data", data, "--run", run)
    falx("evaluate", "--data", data, "--run", run, "--split", "test")
    falx("bundle", "--run", run, "--out", models)
    export, evaluated = Export.read(run), Evaluate.read(run)
    assert (export.architecture, export.preset, export.size) == ("densenet121", "paper", 224)
    assert export.parity <= 1e-4
    assert len(evaluated.int8) == len(evaluated.reference) > 0

    (manifest,) = (load_bundle(path.parent).manifest for path in models.glob("tumor-classifier/*/manifest.json"))
    assert (manifest.architecture, "DenseNet121" in manifest.title) == ("densenet121", True)
    image, pixels = outlined_test_slice(data)
    with serving("classifier_service", models) as address:
        answer = ask(f"{address}/v1/classifications?model=tumor-classifier&explain=cam", image)
    tensor, _ = prepare_classification(pixels, ClassificationPreprocessing(size=224))
    with torch.no_grad():
        logits = load_trained(run).model(torch.from_numpy(tensor)[None]).logits[0]
    places = [export.labels.index(label) for label in manifest.labels]
    assert manifest.calibration is not None
    expected = torch.softmax(logits[places] / manifest.calibration.temperature, dim=0).tolist()
    # Weights are stored as fp16, hence the tolerance.
    assert list(answer["probabilities"].values()) == pytest.approx(expected, abs=5e-3)
    assert list(answer["probabilities"]) == list(manifest.labels)
    assert answer["label"] in answer["prediction_set"]
    assert answer["model"]["sha256"] == next(file.sha256 for file in manifest.files if file.variant == "reference")
    assert len(answer["explanation"]["data"]) > 1000


@needs_services
def test_a_segmenter_from_noise_to_an_answer(data: Path, in_workspace: Path, tmp_path: Path) -> None:
    run, models = tmp_path / "attention", tmp_path / "models"
    falx(
        *("train", "segmenter", "--data", data, "--run", run, "--architecture", "attention-unet"),
        *("--preset", "paper", "--width", "4", "--scale", "0.02", "--threads", "1"),
    )
    assert checkpoint(run)["images_seen"] == 28
    falx("export", "--data", data, "--run", run, "--size", "128")
    falx("quantize", "--data", data, "--run", run)
    falx("evaluate", "--data", data, "--run", run, "--split", "test")
    falx("bundle", "--run", run, "--out", models)
    export = Export.read(run)
    assert (export.architecture, export.size) == ("attention-unet", 128)

    image, pixels = outlined_test_slice(data)
    with serving("segmenter_service", models) as address:
        answer = ask(f"{address}/v1/segmentations?threshold=0.02", image)
    tensor, placement = prepare_segmentation({ANY_SEQUENCE: pixels}, SegmentationPreprocessing(size=128))
    with torch.no_grad():
        probability = torch.sigmoid(load_trained(run).model(torch.from_numpy(tensor)[None]))[0, 0].numpy()
    restored = placement.restore(probability)
    assert answer["size"] == list(pixels.shape)
    assert answer["max_probability"] == pytest.approx(float(restored.max()), abs=5e-3)
    sure, possible = int((restored >= 0.025).sum()), int((restored >= 0.015).sum())
    assert sure <= answer["tumor_pixels"] <= possible


def test_two_tasks_from_one_command(data: Path, in_workspace: Path, tmp_path: Path) -> None:
    run = tmp_path / "multitask"
    falx(
        *("train", "classifier", "--data", data, "--run", run, "--architecture", "vgg16", "--multitask"),
        *("--width", "8", "--scale", "0.0001", "--threads", "1"),
    )
    history = checkpoint(run)["history"]
    assert all(0 <= epoch["dice"] <= 1 and np.isfinite(epoch["loss"]) for epoch in history)
    falx("export", "--data", data, "--run", run, "--size", "64")
    falx("evaluate", "--data", data, "--run", run, "--split", "val")
    assert Export.read(run).multitask
    assert "probability" in OnnxModel(run / REFERENCE_FILE).outputs
    assert any("outline of the classifier" in metric.name for metric in Evaluate.read(run).reference)
