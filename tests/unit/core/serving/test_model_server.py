"""Loading, choosing and describing models, with real bundles."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

from core.contracts.tensors import Task
from core.errors import BundleCorrupt, NotReady, ProviderMissing, UnknownModel
from core.serving.model_server import ModelRegistry
from core.serving.settings import ModelServingSettings
from core.telemetry.metrics import ModelMetrics
from tests.fixtures.models import (
    classifier_manifest,
    classifier_network,
    describe,
    segmenter_network,
    write_label_sets,
)


def make_registry(models_dir: Path, task: Task = "classification", **settings: Any) -> ModelRegistry:
    return ModelRegistry(ModelServingSettings(models_dir=models_dir, **settings), task, ModelMetrics())


@asynccontextmanager
async def loaded(models_dir: Path, task: Task = "classification", **settings: Any) -> AsyncIterator[ModelRegistry]:
    registry = make_registry(models_dir, task, **settings)
    registry.load()
    try:
        yield registry
    finally:
        await registry.drain()


@pytest.fixture
def models(tiny_models: Path, tmp_path: Path) -> Path:
    """A copy that a test may add to."""
    return Path(shutil.copytree(tiny_models, tmp_path / "models"))


def add_classifier(models: Path, name: str, version: str) -> None:
    folder = Path(shutil.copytree(models / "tumor-classifier" / "1", models / name / version))
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "name": name, "version": version}))


def addresses(registry: ModelRegistry) -> list[str]:
    return [f"{served.name}@{served.version}" for served in registry.models]


async def test_models_are_served_once_loaded(tiny_models: Path) -> None:
    registry = make_registry(tiny_models)
    ready = [registry.ready]
    assert [state.ready for state in registry.dependencies()] == [False]
    with pytest.raises(NotReady):
        registry.resolve()
    registry.load()
    ready.append(registry.ready)
    assert ready == [False, True]
    (state,) = registry.dependencies()
    assert (state.name, state.version, state.ready) == ("tumor-classifier", "1", True)
    assert state.provider == "CPUExecutionProvider"
    await registry.drain()


@pytest.mark.parametrize(("task", "shape"), [("classification", (1, 64, 64)), ("segmentation", (4, 64, 64))])
async def test_item_in_outputs_of_that_item_out(tiny_models: Path, task: Task, shape: tuple[int, ...]) -> None:
    async with loaded(tiny_models, task) as registry:
        served = registry.resolve()
        with served.batcher.admit() as ticket:
            outcome = await ticket.submit_rows(np.full((1, *shape), 0.9, np.float32))
        expected = served.session.run({served.session.inputs[0].name: np.full((1, *shape), 0.9, np.float32)})
    (outputs,) = outcome.value
    assert outputs.keys() == expected.keys()
    for name, value in outputs.items():
        np.testing.assert_allclose(value, expected[name][0], rtol=1e-5)


async def test_identity_and_summary_say_what_runs(tiny_models: Path) -> None:
    async with loaded(tiny_models, precision="reference") as registry:
        served = registry.resolve()
        files = {file.variant: file.sha256 for file in served.bundle.manifest.files}
        assert served.identity.model_dump() == {
            "name": "tumor-classifier",
            "version": "1",
            "sha256": files["reference"],
            "provider": "CPUExecutionProvider",
            "variant": "reference",
        }
        (summary,) = registry.summaries().models
    assert summary.labels == ("glioma", "meningioma", "pituitary", "no_tumor")
    assert summary.ready
    assert summary.sha256 == files["reference"]


async def test_newest_version_answers_unless_another_is_asked_for(models: Path) -> None:
    add_classifier(models, "tumor-classifier", "2")
    add_classifier(models, "tumor-classifier", "10")
    async with loaded(models) as registry:
        assert addresses(registry) == ["tumor-classifier@10", "tumor-classifier@2", "tumor-classifier@1"]
        assert registry.resolve("tumor-classifier").version == "10"
        assert registry.resolve("tumor-classifier@2").version == "2"


async def test_default_model_is_the_plain_tumor_one(models: Path) -> None:
    add_classifier(models, "a-classifier", "1")
    add_classifier(models, "tumor-classifier-six", "1")
    async with loaded(models) as registry:
        assert registry.resolve().name == "tumor-classifier"
        assert addresses(registry) == ["tumor-classifier@1", "tumor-classifier-six@1", "a-classifier@1"]


async def test_first_configured_name_is_the_default(models: Path) -> None:
    add_classifier(models, "a-classifier", "1")
    async with loaded(models, models=("a-classifier", "tumor-classifier")) as registry:
        assert registry.resolve().name == "a-classifier"


@pytest.mark.parametrize("model", ["absent", "tumor-classifier@9", "tumor-classifier@1@1", "", "@", "../x", "x" * 5000])
async def test_unknown_model_is_told_the_known_ones(tiny_models: Path, model: str) -> None:
    async with loaded(tiny_models) as registry:
        with pytest.raises(UnknownModel, match="Known: tumor-classifier@1") as refusal:
            registry.resolve(model)
    assert len(refusal.value.detail) < 200


async def test_batch_size_is_the_operators_where_set(tiny_models: Path) -> None:
    async with loaded(tiny_models, max_batch=3, max_queue=5) as registry:
        limits = registry.resolve().batcher.limits
    assert (limits.max_rows, limits.max_queue) == (3, 5)


def test_no_bundle_of_the_task_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(BundleCorrupt, match="holds no classification bundle"):
        make_registry(tmp_path).load()


def test_required_cuda_stops_the_start(tiny_models: Path) -> None:
    with pytest.raises(ProviderMissing):
        make_registry(tiny_models, require_cuda=True).load()


def spoiled(models_dir: Path, network: onnx.ModelProto, **changes: Any) -> Path:
    """A models folder with one sound bundle around ``network``."""
    folder = models_dir / "tumor-classifier" / "1"
    folder.mkdir(parents=True)
    onnx.save(network, folder / "model.onnx")
    files = [describe(folder / "model.onnx", "reference")]
    (folder / "manifest.json").write_text(json.dumps({**classifier_manifest(), **changes, "files": files}))
    return models_dir


def rename(network: onnx.ModelProto, old: str, new: str) -> onnx.ModelProto:
    """``network`` with one tensor called otherwise."""
    for node in network.graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]
    for value in [*network.graph.input, *network.graph.output]:
        value.name = new if value.name == old else value.name
    return network


def fix_batch(network: onnx.ModelProto) -> onnx.ModelProto:
    """``network`` for one image at a time."""
    for value in [*network.graph.input, *network.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    return network


@pytest.mark.parametrize(
    ("network", "changes", "fault"),
    [
        (rename(classifier_network(), "image", "picture"), {}, "the network takes"),
        (rename(classifier_network(), "energy", "heat"), {}, "lacks the outputs energy"),
        (fix_batch(classifier_network()), {}, "the batch axis of image must be free"),
        (classifier_network(), {"labels": ["a", "b", "c"]}, "4 logits for 3 labels"),
        (classifier_network(), {"label_indices": [0, 1, 2, 4]}, "label_indices name logit 4 of 4"),
        (classifier_network(classes=6), {}, "6 logits for 4 labels"),
    ],
    ids=["input", "output", "batch axis", "labels", "index", "more logits than labels"],
)
def test_network_that_does_not_keep_the_contract_stops_the_start(
    tmp_path: Path, network: onnx.ModelProto, changes: dict[str, Any], fault: str
) -> None:
    with pytest.raises(BundleCorrupt, match=fault):
        make_registry(spoiled(tmp_path, network, **changes)).load()


def test_segmenter_network_in_a_classifier_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleCorrupt, match="its task needs"):
        make_registry(spoiled(tmp_path, segmenter_network())).load()


async def test_decoding_runs_on_its_own_threads_and_is_counted(tiny_models: Path) -> None:
    async with loaded(tiny_models, decode_threads=1) as registry:
        name = await registry.decode(lambda prefix: prefix + threading.current_thread().name, "on ")
        assert name.startswith("on decode")
        with pytest.raises(ZeroDivisionError):
            await registry.decode(lambda: 1 // 0)
        await registry.offload(len, "not counted")
        assert "falx_decode_seconds_count 2.0" in registry.metrics.render().decode()
    assert cv2.getNumThreads() == 1


async def test_drain_ends_every_thread(tiny_models: Path) -> None:
    before = set(threading.enumerate())
    async with loaded(tiny_models) as registry:
        await registry.decode(int)
        assert set(threading.enumerate()) - before
    leftover = [thread for thread in set(threading.enumerate()) - before if "runner" in thread.name]
    assert leftover == []


async def test_label_sets_on_one_graph_share_session_and_batcher(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    async with loaded(write_label_sets(tmp_path)) as registry:
        four, six = registry.models
        runners = [thread for thread in set(threading.enumerate()) - before if "runner" in thread.name]
        assert (four.name, six.name) == ("tumor-classifier", "tumor-classifier-6")
        assert six.session is four.session
        assert six.batcher is four.batcher
        assert len(runners) == four.session.runners
        assert [len(summary.labels) for summary in registry.summaries().models] == [4, 6]
        assert six.identity.sha256 == four.identity.sha256
        rendered = registry.metrics.render().decode()
    for name in ("tumor-classifier", "tumor-classifier-6"):
        assert f'falx_active_provider{{model="{name}",provider="{four.session.provider}"}} 1.0' in rendered


async def test_versions_with_other_weights_share_nothing(models: Path) -> None:
    add_classifier(models, "other", "1")
    folder = models / "other" / "1"
    onnx.save(classifier_network(temperature=3.0), folder / "model.onnx")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(
        json.dumps({**manifest, "files": [describe(folder / "model.onnx", "reference")]})
    )
    async with loaded(models) as registry:
        first, second = registry.models
        assert first.session is not second.session
        assert first.batcher is not second.batcher
