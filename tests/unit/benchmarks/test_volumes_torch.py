"""MONAI's side of the comparison: needs training's packages, and is skipped where they are absent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("monai")

from benchmarks.volumes_torch import infer, make_network  # noqa: E402

SIDE = 32


def test_weights_and_windows_do_not_matter_where_one_window_shows_all(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    network = make_network(None)
    tensor = np.random.default_rng(0).random((4, SIDE, SIDE, SIDE), np.float32)
    paths = {name: str(tmp_path / f"{name}.npy") for name in ("tensor", "result", "weights")}
    np.save(paths["tensor"], tensor)
    np.save(paths["weights"], np.full((SIDE, SIDE, SIDE), 0.3, np.float32))
    with torch.inference_mode():
        expected = network(torch.from_numpy(tensor)[None])[0].numpy()
    assert 0.1 < expected.mean() < 0.9
    for weights in (None, paths["weights"]):
        times = infer(network, {**paths, "weights": weights, "overlap": 0.5, "batch": 1}, SIDE)
        assert 0 < times["network_s"] <= times["seconds"]
        assert np.abs(np.load(paths["result"]) - expected).max() < 1e-5
