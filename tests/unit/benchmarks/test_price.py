"""The price of serving: what is measured is a bundle that serves, and the figures are hand-worked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.price import table, write_bundle
from core.contracts.tensors import CAM, DISTANCE, ENERGY, IMAGE, LOGITS
from core.runtime.bundle import load_bundle
from core.runtime.session import OrtSession
from core.runtime.tensors import check_tensors
from tests.fixtures.images import as_image, encode, make_head_slice

ROOT = Path(__file__).parents[3]


def test_the_small_network_is_a_classifier(tiny_models: Path, tmp_path: Path) -> None:
    bundle = load_bundle(write_bundle(tmp_path, tiny_models / "tumor-classifier/1"))
    session = OrtSession(bundle.file_path(bundle.manifest.files[0]), force_cpu=True)
    check_tensors(bundle, session)
    outputs = session.run({IMAGE: np.ones((3, 1, 64, 64), np.float32)})
    assert outputs[LOGITS].shape == (3, 4)
    assert outputs[CAM].shape == (3, 4, 8, 8)
    assert outputs[ENERGY].shape == outputs[DISTANCE].shape == (3,)
    assert outputs[DISTANCE] == pytest.approx(np.linalg.norm(outputs[LOGITS], axis=1))


def test_both_steps_are_measured_by_a_program_of_their_own(tiny_models: Path, tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "models", tiny_models / "tumor-classifier/1")
    image = tmp_path / "slice.jpg"
    image.write_bytes(encode(as_image(make_head_slice(64, 64, seed=1)), "JPEG"))
    command = [sys.executable, "benchmarks/price_parts.py", str(folder), str(image), "2", "0.2"]
    found = json.loads(subprocess.check_output(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}))
    assert found.keys() == {"preparation", "network"}
    assert all(0 < cpu_ms < 1000 for cpu_ms in found.values())


def test_a_table_has_a_row_for_each_checkout_and_their_ratio() -> None:
    ours = {"preparation": 2.0, "network": 0.5, "server": 0.5, "gateway": 1.0, "whole": 4.0}
    theirs = {name: 2 * value for name, value in ours.items()}
    lines = table({"this checkout": [ours] * 3, "the other": [theirs] * 3}).splitlines()
    assert lines[2] == "| this checkout | 2.00 | 0.50 | 0.50 | 1.00 | 4.00 |"
    assert lines[3] == "| the other | 4.00 | 1.00 | 1.00 | 2.00 | 8.00 |"
    half = "0.50 (0.50 to 0.50)"
    assert lines[4] == f"| ratio | {half} | {half} |  | {half} | {half} |"
    assert len(table({"this checkout": [ours]}).splitlines()) == 3
