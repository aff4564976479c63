"""MONAI's side of the comparison: needs training's packages, and is skipped where they are absent."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.volumes_torch import choose, infer, random_network
from core.contracts.manifest import VolumePreprocessing
from training.bundle.onnx_files import OnnxModel
from training.config import Phase, ScheduleConfig, VolumeSegmenterConfig
from training.loop.trainer import CHECKPOINT
from training.networks.slices_in_volume import SlicesInVolume

ROOT = Path(__file__).parents[3]
WINDOW = (32, 48, 16)
SMALL = replace(
    VolumeSegmenterConfig(),
    width=2,
    spacing_mm=(2.0, 2.0, 5.0),
    in_plane=WINDOW[:2],
    schedule=ScheduleConfig(phases=(Phase(size=8, images=8, batch=1), Phase(size=WINDOW[2], images=8, batch=1))),
)


def write_run(folder: Path) -> tuple[Path, SlicesInVolume]:
    """A run that ended at once, and its network."""
    model = random_network(SMALL.width)
    content = {
        "about": {"kind": "volume-segmenter", "config": asdict(SMALL)},
        "average": model.state_dict(),
        "state": {"images_seen": 0, "history": []},
    }
    folder.mkdir()
    torch.save(content, folder / CHECKPOINT)
    return folder, model.eval()


def files(folder: Path, tensor: np.ndarray[Any, Any]) -> dict[str, str]:
    """Where a request's arrays lie; the tensor and even weights are there."""
    paths = {name: str(folder / f"{name}.npy") for name in ("tensor", "result", "weights")}
    np.save(paths["tensor"], tensor)
    np.save(paths["weights"], np.full(WINDOW, 0.3, np.float32))
    return paths


def test_without_a_run_it_is_what_would_be_trained() -> None:
    preset = VolumeSegmenterConfig()
    described = json.loads(json.dumps(choose(None).described()))
    assert described["architecture"] == preset.architecture
    preprocessing = VolumePreprocessing.model_validate_json(json.dumps(described["preprocessing"]))
    assert preprocessing.window == preset.window(preset.schedule.phases[-1].size)
    assert preprocessing.spacing_mm == preset.spacing_mm
    assert preprocessing.keep_thick_slices == preset.keep_thick_slices


def test_random_weights_answer_near_one_half_by_what_slices_and_their_neighbours_show() -> None:
    torch.set_num_threads(1)
    model = random_network(4).eval()
    volumes = torch.rand(1, 4, *WINDOW)
    changed = volumes.clone()
    changed[..., -1] = 0
    with torch.inference_mode():
        answer, other = (torch.sigmoid(model(seen)) for seen in (volumes, changed))
        by_slice = model.slices(volumes[0].permute(3, 0, 2, 1))
    assert 0.1 < answer.mean() < 0.9
    assert 0.02 < answer.std() < 0.4
    assert by_slice.std() > 0.02
    assert (answer - other)[..., 0].abs().max() > 1e-3


def test_weights_and_windows_do_not_matter_where_one_window_shows_all(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    run, model = write_run(tmp_path / "run")
    chosen = choose(run)
    assert chosen.preprocessing.window == WINDOW
    tensor = np.random.default_rng(0).random((4, *WINDOW), np.float32)
    paths = files(tmp_path, tensor)
    with torch.inference_mode():
        expected = chosen.graph(torch.from_numpy(tensor)[None])[0].numpy()
        unfolded = torch.sigmoid(model(torch.from_numpy(tensor)[None]))[0].numpy()
    # Weights that fp16 holds are what sets them apart.
    assert np.abs(expected - unfolded).max() < 0.01
    for weights in (None, paths["weights"]):
        times = infer(chosen.graph, {**paths, "weights": weights, "overlap": 0.5, "batch": 1}, WINDOW)
        assert 0 < times["network_s"] <= times["seconds"]
        assert np.abs(np.load(paths["result"]) - expected).max() < 1e-5


@pytest.mark.timeout(300)
def test_the_process_says_what_it_runs_and_writes_a_graph_that_answers_alike(tmp_path: Path) -> None:
    run, _ = write_run(tmp_path / "run")
    tensor = np.random.default_rng(1).random((4, *WINDOW), np.float32)
    paths = files(tmp_path, tensor)
    request = {**paths, "weights": None, "overlap": 0.5, "batch": 2}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.volumes_torch", str(tmp_path), "1", str(run)],
        input=json.dumps(request) + "\n",
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        check=True,
    )
    described, times = (json.loads(line) for line in done.stdout.splitlines())
    assert set(described["versions"]) == {"torch", "monai"}
    assert described["architecture"] == "slices-in-volume"
    assert described["preprocessing"]["window"] == list(WINDOW)
    assert described["preprocessing"]["spacing_mm"] == [2.0, 2.0, 5.0]
    assert described["preprocessing"]["keep_thick_slices"] is True
    assert 0 < times["network_s"] <= times["seconds"]
    (answer,) = OnnxModel(tmp_path / "model.onnx", threads=1).run(tensor[None])["probability"]
    assert np.abs(answer - np.load(paths["result"])).max() < 1e-4
