"""OrtSession on real tiny networks."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import psutil
import pytest
from onnx import TensorProto, helper

from core.errors import BundleCorrupt, InvalidRequest, ProviderMissing
from core.runtime.bundle import load_bundle
from core.runtime.cpus import usable_cpus
from core.runtime.providers import CPU, CUDA, CUDA_OPTIONS, check_provider, wanted_providers
from core.runtime.session import OrtSession, Session, SessionPool, TensorSpec
from tests.fixtures.models import write_label_sets


@pytest.fixture(scope="module")
def classifier(tiny_models: Path) -> OrtSession:
    return OrtSession(tiny_models / "tumor-classifier/1/model.onnx", force_cpu=True)


def quadrant(index: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """An image (1, 1, 64, 64), dark but for one quadrant."""
    image = np.full((1, 1, 64, 64), 0.1, np.float32)
    row, column = divmod(index, 2)
    image[..., 32 * row : 32 * row + 32, 32 * column : 32 * column + 32] = 0.9
    return image


def test_tensors_are_described(classifier: Session) -> None:
    assert classifier.inputs == (TensorSpec("image", np.dtype(np.float32), (None, 1, 64, 64)),)
    assert [spec.name for spec in classifier.outputs] == ["logits", "cam", "energy", "features", "distance"]
    assert classifier.inputs[0].text() == "(-1, 1, 64, 64)"
    assert classifier.provider == CPU
    assert classifier.runners == usable_cpus()


@pytest.mark.parametrize("variant", ["model.onnx", "model.int8.onnx"])
def test_answers_depend_on_the_image(tiny_models: Path, variant: str) -> None:
    session = OrtSession(tiny_models / "tumor-classifier/1" / variant, force_cpu=True)
    images = np.concatenate([quadrant(index) for index in range(4)])
    outputs = session.run({"image": images})
    assert outputs["logits"].argmax(axis=1).tolist() == [0, 1, 2, 3]
    assert outputs["cam"].shape == (4, 4, 8, 8)


def test_class_activation_maps_explain_the_logits(classifier: Session) -> None:
    outputs = classifier.run({"image": quadrant(2)})
    bias = np.array([0.1, 0.0, -0.1, 0.05])
    np.testing.assert_allclose(outputs["cam"].mean(axis=(2, 3)) + bias, 1.5 * outputs["logits"], atol=1e-5)
    np.testing.assert_allclose(outputs["energy"], -np.log(np.exp(outputs["logits"]).sum(axis=1)), atol=1e-5)


def test_segmenter_outlines_what_is_bright(tiny_models: Path) -> None:
    session = OrtSession(tiny_models / "tumor-segmenter/1/model.onnx", force_cpu=True)
    images = np.full((1, 4, 64, 64), 0.2, np.float32)
    images[:, :, 20:40, 10:30] = 0.95
    mask = session.run({"images": images})["probability"][0, 0] > 0.5
    assert mask[22:38, 12:28].all()
    assert 300 < mask.sum() < 480


@pytest.mark.parametrize(
    ("shape", "dtype", "fault"),
    [
        ((1, 1, 64, 64), np.float64, "is float64, the model takes float32"),
        ((1, 1, 64, 65), np.float32, r"has shape \(1, 1, 64, 65\), the model takes \(-1, 1, 64, 64\)"),
        ((1, 64, 64), np.float32, r"has shape \(1, 64, 64\)"),
        ((0, 1, 64, 64), np.float32, r"has shape \(0, 1, 64, 64\)"),
    ],
)
def test_what_does_not_fit_is_named(classifier: Session, shape: tuple[int, ...], dtype: type, fault: str) -> None:
    with pytest.raises(InvalidRequest, match=fault):
        classifier.run({"image": np.zeros(shape, dtype)})


@pytest.mark.parametrize("names", [(), ("images",), ("image", "mask")])
def test_inputs_are_exactly_those_of_the_network(classifier: Session, names: tuple[str, ...]) -> None:
    with pytest.raises(InvalidRequest, match="takes image, not"):
        classifier.run({name: quadrant(0) for name in names})


@pytest.mark.parametrize("data", [b"", b"not a network", b"\x08\x07" * 50])
def test_file_that_is_no_network(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    with pytest.raises(BundleCorrupt, match="cannot be loaded as an ONNX network"):
        OrtSession(path, force_cpu=True)


def test_network_that_takes_text_is_refused(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["text"], ["same"])],
        "text",
        [helper.make_tensor_value_info("text", TensorProto.STRING, ["N"])],
        [helper.make_tensor_value_info("same", TensorProto.STRING, ["N"])],
    )
    onnx.save(helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "t.onnx")
    with pytest.raises(BundleCorrupt, match=r"tensor\(string\); only numeric"):
        OrtSession(tmp_path / "t.onnx", force_cpu=True)


def heavy_network(path: Path) -> Path:
    """A network whose run takes some tens of milliseconds."""
    nodes = [helper.make_node("MatMul", ["x" if step == 0 else f"h{step - 1}", "x"], [f"h{step}"]) for step in range(8)]
    shape = [512, 512]
    graph = helper.make_graph(
        nodes,
        "heavy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("h7", TensorProto.FLOAT, shape)],
    )
    onnx.save(helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


def test_running_leaves_python_free(tmp_path: Path) -> None:
    """While one thread is inside the network, this one goes on: the longest stop is far below one run."""
    session = OrtSession(heavy_network(tmp_path / "heavy.onnx"), force_cpu=True)
    inputs = {"x": np.full((512, 512), 1e-3, np.float32)}
    started = time.perf_counter()
    session.run(inputs)
    seconds = time.perf_counter() - started
    thread = threading.Thread(target=lambda: [session.run(inputs) for _ in range(5)])
    thread.start()
    beats = 0
    while thread.is_alive():
        time.sleep(seconds / 20)
        beats += 1
    assert beats >= 10


def test_a_lone_run_has_threads_of_its_own_and_gives_the_same(tmp_path: Path) -> None:
    path = heavy_network(tmp_path / "heavy.onnx")
    inputs = {"x": np.random.default_rng(0).normal(0, 0.05, (512, 512)).astype(np.float32)}
    before = psutil.Process().num_threads()
    one = OrtSession(path, force_cpu=True)
    assert psutil.Process().num_threads() == before
    session = OrtSession(path, force_cpu=True, lone_threads=3)
    # The thread that asks is the third.
    assert psutil.Process().num_threads() == before + 2
    assert (session.splits_lone_runs, one.splits_lone_runs) == (True, False)
    assert session.runners == one.runners
    (expected,) = one.run(inputs).values()
    for alone in (False, True):
        (found,) = session.run(inputs, alone=alone).values()
        assert found.tobytes() == expected.tobytes()


def test_several_threads_share_one_session(classifier: Session) -> None:
    answers: dict[int, int] = {}

    def run(index: int) -> None:
        for _ in range(20):
            answers[index] = int(classifier.run({"image": quadrant(index)})["logits"].argmax())

    threads = [threading.Thread(target=run, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {0: 0, 1: 1, 2: 2, 3: 3}


def test_int8_is_opened_on_a_cpu(tiny_models: Path) -> None:
    file, session = SessionPool("auto").open(load_bundle(tiny_models / "tumor-classifier/1"))
    assert file.variant == ("int8" if session.provider == CPU else "reference")
    file, _ = SessionPool("reference").open(load_bundle(tiny_models / "tumor-classifier/1"))
    assert file.variant == "reference"


def test_bundles_with_the_same_weights_get_one_session(tmp_path: Path) -> None:
    models = write_label_sets(tmp_path)
    pool = SessionPool("reference")
    file, session = pool.open(load_bundle(models / "tumor-classifier/1"))
    other_file, other = pool.open(load_bundle(models / "tumor-classifier-6/1"))
    assert other is session
    assert (file.sha256, file.bundle, other_file.bundle) == (other_file.sha256, None, "tumor-classifier/1")


def test_bundles_with_other_weights_get_a_session_each(tiny_models: Path) -> None:
    pool = SessionPool("auto")
    _, classifier = pool.open(load_bundle(tiny_models / "tumor-classifier/1"))
    _, segmenter = pool.open(load_bundle(tiny_models / "tumor-segmenter/1"))
    assert [spec.name for spec in (*classifier.inputs, *segmenter.inputs)] == ["image", "images"]


@pytest.mark.skipif(CUDA in ort.get_available_providers(), reason="this ONNX Runtime has CUDA")
def test_required_cuda_that_is_missing_stops_the_start(tiny_models: Path) -> None:
    with pytest.raises(ProviderMissing, match="FALX_REQUIRE_CUDA is set, the session runs on CPUExecutionProvider"):
        SessionPool("auto", require_cuda=True).open(load_bundle(tiny_models / "tumor-classifier/1"))
    assert wanted_providers() == [(CPU, {})]


def test_provider_is_taken_as_it_is_unless_cuda_is_required() -> None:
    assert check_provider(CPU, require_cuda=False) == CPU
    assert check_provider(CUDA, require_cuda=True) == CUDA


@pytest.mark.skipif(CUDA in ort.get_available_providers(), reason="this ONNX Runtime has CUDA")
@pytest.mark.filterwarnings("ignore:Specified provider:UserWarning")
def test_silent_fallback_is_read_back_and_runs_the_file_for_the_cpu(
    tiny_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for a CUDA that cannot come up, ONNX Runtime itself goes on with the CPU."""
    monkeypatch.setattr("core.runtime.session.wanted_providers", lambda: [(CUDA, dict(CUDA_OPTIONS)), (CPU, {})])
    bundle = load_bundle(tiny_models / "tumor-classifier/1")
    pool = SessionPool("auto")
    file, session = pool.open(bundle)
    assert (file.variant, session.provider) == ("int8", CPU)
    assert pool.open(bundle) == (file, session)
    with pytest.raises(ProviderMissing):
        SessionPool("auto", require_cuda=True).open(bundle)
