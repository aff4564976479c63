"""The programs that compare: the network that peers and Falx share, and when a GPU's answers are taken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from benchmarks.gpu import NO_GPU, compared, inputs_of, main, opened
from benchmarks.peers.resnet50 import NAME, write_bundle
from core.contracts.tensors import TENSORS
from core.runtime.bundle import find_bundles, load_bundle
from core.runtime.providers import CUDA

without_cuda = pytest.mark.skipif(CUDA in ort.get_available_providers(), reason="there is a GPU")


def test_the_shared_network_is_a_resnet50_that_falx_serves(tmp_path: Path) -> None:
    path = write_bundle(tmp_path)
    (bundle,) = find_bundles(tmp_path, "classification", [NAME])
    session = opened(path, "cpu")
    assert [node.name for node in session.get_outputs()] == list(TENSORS[bundle.manifest.task].outputs)
    # 23.5 million parameters up to the last features, 4 bytes each; a head of four labels; biases in place of norms.
    assert path.stat().st_size == pytest.approx(23.5e6 * 4, rel=0.01)
    outputs = session.run(None, {"image": inputs_of(session, 3)})
    assert [output.shape for output in outputs] == [(3, 4), (3, 4, 7, 7), (3,), (3, 2048), (3,)]
    assert np.allclose(outputs[0], outputs[1].mean(axis=(2, 3)), atol=1e-5)
    assert all(np.isfinite(output).all() for output in outputs)


@pytest.mark.parametrize(
    ("precision", "shift", "passed"),
    [("fp32", 0.001, True), ("fp32", 0.1, False), ("fp16", 0.1, True), ("fp16", 9.0, False), ("fp16", np.nan, False)],
)
def test_answers_of_a_device_may_differ_by_so_much(precision: str, shift: float, passed: bool) -> None:
    bundle = load_bundle(Path(__file__).parents[3] / "models" / "tumor-classifier" / "1")
    reference = np.array([[3.0, 0.0, 0.0, 0.0]] * 8, np.float32)
    found = reference + np.array([0, shift, 0, 0], np.float32)
    assert compared(bundle, precision, reference, found).passed is passed


@without_cuda
def test_without_a_gpu_it_says_so_and_ends_with_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == NO_GPU
    assert "There is no GPU" in capsys.readouterr().err
