"""Which provider serves, why, and that requests do not notice a change."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from weakref import ref

import numpy as np
import pytest

from core.contracts.manifest import BundleFile, Variant
from core.errors import ProviderMissing
from core.runtime.openvino.plug_in import OPENVINO, installed, why_not
from core.runtime.openvino.report import Report, Trial
from core.runtime.providers import CPU
from core.runtime.session import OrtSession
from core.serving.model_server import ModelRegistry
from core.serving.providers.choice import Candidate, ProviderChoice, choose
from core.serving.settings import ModelServingSettings
from core.telemetry.metrics import ModelMetrics
from tests.fixtures.images import to_png
from tests.fixtures.openvino import needs_plug_in
from tests.fixtures.servers import Server, running

FAULT = "masks turn empty or come out of nothing in 2 slices"
IMAGE = np.full((1, 4, 64, 64), 0.9, np.float32)
PASSED = Trial(hint="f32", cpu_ms=1, agreement=1)


def file(variant: Variant) -> BundleFile:
    return BundleFile(
        name=f"{variant}.onnx", sha256=("a" if variant == "int8" else "b") * 64, variant=variant, size_bytes=1
    )


REFERENCE, INT8 = file("reference"), file("int8")


def report(cpu_ms: float, *trials: tuple[Any, float, str]) -> Report:
    made = tuple(Trial(hint=hint, cpu_ms=ms, agreement=0.9998, fault=fault) for hint, ms, fault in trials)
    return Report(cpu_ms=cpu_ms, trials=made)


def test_the_fastest_that_passes_serves() -> None:
    reports = [(REFERENCE, report(31, ("f32", 23, ""), ("bf16", 8.8, FAULT))), (INT8, report(22, ("f32", 12.9, "")))]
    choice = choose(reports, INT8)
    assert choice.candidate is not None
    assert (choice.candidate.file, choice.candidate.trial.hint) == (INT8, "f32")
    assert choice.reason == "int8 in f32 on OpenVINO 12.9 ms, int8 on the CPU provider 22.0 ms, agreement 0.9998"
    assert [verdict for _, verdict in choice.verdicts] == ["slower", "differs", "serves"]


def test_what_is_no_faster_or_differs_leaves_the_cpu_provider() -> None:
    choice = choose([(REFERENCE, report(31, ("f32", 30.5, ""), ("bf16", 9, FAULT)))], REFERENCE)
    assert choice.candidate is None
    assert choice.reason == (
        "reference on the CPU provider 31.0 ms, reference in f32 on OpenVINO 30.5 ms (not faster), "
        f"reference in bf16 on OpenVINO 9.0 ms ({FAULT})"
    )


def test_forced_it_serves_if_slower_but_never_if_it_differs() -> None:
    choice = choose([(REFERENCE, report(31, ("f32", 40, "")))], REFERENCE, forced=True)
    assert choice.candidate is not None
    assert choose([(REFERENCE, report(31, ("f32", 9, FAULT)))], REFERENCE, forced=True).candidate is None


def test_what_cannot_be_tried_is_said() -> None:
    choice = choose([(REFERENCE, Report(refused="its graph holds Pad that wraps"))], REFERENCE)
    assert (choice.candidate, choice.reason) == (None, "not on OpenVINO: its graph holds Pad that wraps")


def make(models: Path, **settings: Any) -> tuple[ModelRegistry, ProviderChoice]:
    given = ModelServingSettings(models_dir=models, **settings)
    registry = ModelRegistry(given, "segmentation", ModelMetrics())
    registry.load()
    return registry, ProviderChoice(given, registry)


@asynccontextmanager
async def chosen(models: Path, **settings: Any) -> AsyncIterator[tuple[ModelRegistry, ProviderChoice]]:
    registry, choice = make(models, **settings)
    try:
        yield registry, choice
    finally:
        await choice.drain()
        await registry.drain()


async def ask(registry: ModelRegistry, seen: list[str], until: asyncio.Event) -> None:
    """Request after request, each of which writes down which provider has answered."""
    while not until.is_set():
        served = registry.resolve()
        await asyncio.sleep(0)  # as while a body is read
        with served.batcher.admit() as ticket:
            (outputs,) = (await ticket.submit_rows(IMAGE)).value
        assert outputs["probability"].shape == (1, 64, 64)
        seen.append(served.session.provider)
        del served


async def test_requests_live_through_a_change_and_the_old_network_goes(tiny_models: Path) -> None:
    """The change itself, between two sessions of the CPU provider: it is the same for any two."""
    async with chosen(tiny_models, precision="reference") as (registry, choice):
        seen: list[str] = []
        done = asyncio.Event()
        asking = [asyncio.create_task(ask(registry, seen, done)) for _ in range(4)]
        old = registry.resolve()
        session = OrtSession(old.bundle.file_path(old.file), force_cpu=True)
        gone = ref(old.session)
        with old.batcher.admit() as late:
            await choice.change([old], Candidate(old.file, PASSED), session, "faster")
            retiring = asyncio.create_task(choice.retire())
            before = len(seen)
            assert registry.resolve().session is session
            # A request that had found the old one.
            await asyncio.sleep(0.1)
            assert len((await late.submit_rows(IMAGE)).value) == 1
            assert not retiring.done()
        del old, late
        await asyncio.wait_for(retiring, 5)
        gc.collect()
        assert gone() is None
        done.set()
        await asyncio.gather(*asking)
        assert len(seen) > before > 0
        assert registry.dependencies()[0].detail == "reference; faster"


@needs_plug_in
async def test_the_plug_in_takes_over_while_requests_go_on(tiny_models: Path, tmp_path: Path) -> None:
    async with chosen(tiny_models, provider="openvino", gate_dir=tmp_path, precision="reference") as (registry, choice):
        seen: list[str] = []
        done = asyncio.Event()
        asking = [asyncio.create_task(ask(registry, seen, done)) for _ in range(4)]
        await choice.run()
        await asyncio.sleep(0.1)
        done.set()
        await asyncio.gather(*asking)
        assert (seen[0], seen[-1]) == (CPU, OPENVINO)
        assert seen == sorted(seen)
        served = registry.resolve()
        assert served.identity.provider == OPENVINO
        assert "reference in f32 on OpenVINO" in registry.dependencies()[0].detail
        gauge = registry.metrics.active_provider
        assert [gauge.labels(served.name, name)._value.get() for name in (CPU, OPENVINO)] == [0, 1]


@contextmanager
def serving(models: Path, **settings: str) -> Iterator[Server]:
    with running("segmenter_service", {"FALX_MODELS_DIR": str(models), "FALX_PROVIDER": "auto", **settings}) as server:
        yield server


def state_once_chosen(server: Server) -> dict[str, Any]:
    """What ``/readyz`` says of the model, as soon as it says why."""
    for _ in range(300):
        (state,) = server.request("GET", "/readyz").json()["dependencies"]
        if ";" in state["detail"]:
            return dict(state)
        time.sleep(0.1)
    raise AssertionError("nothing was chosen")


@pytest.mark.skipif(not installed(), reason="the OpenVINO plug-in is not installed")
def test_a_server_says_what_was_chosen_and_why(tiny_models: Path, tmp_path: Path) -> None:
    """Where the plug-in offers no device, the CPU provider stays and says so; what was found is kept."""
    with serving(tiny_models, FALX_GATE_DIR=str(tmp_path)) as server:
        state = state_once_chosen(server)
        head = to_png(np.full((80, 80), 90, np.uint8))
        reply = server.request("POST", "/v1/segmentations", head, {"Content-Type": "image/png"})
        assert reply.json()["model"]["provider"] == state["provider"]
        metrics = server.request("GET", "/metrics").body.decode()
        assert f'falx_active_provider{{model="tumor-segmenter",provider="{state["provider"]}"}} 1.0' in metrics
        if why_not():
            assert (state["provider"], state["detail"]) == (CPU, f"int8; not on OpenVINO: {why_not()}")
        else:
            assert "on OpenVINO" in state["detail"]
            assert 'falx_provider_cpu_seconds{model="tumor-segmenter",provider="OpenVINOExecutionProvider"' in metrics
    assert len(list(tmp_path.glob("*.json"))) == 2


def broken_plug_in(folder: Path) -> Path:
    """A package of that name whose library is no library."""
    package = folder / "onnxruntime_ep_openvino"
    package.mkdir()
    (package / "plug_in.so").write_bytes(b"no library")
    code = (
        "from pathlib import Path\n\ndef get_library_path():\n    return str(Path(__file__).with_name('plug_in.so'))\n"
    )
    (package / "__init__.py").write_text(code)
    return folder


def test_a_broken_plug_in_leaves_the_cpu_provider_and_says_so(tiny_models: Path, tmp_path: Path) -> None:
    with serving(tiny_models, PYTHONPATH=str(broken_plug_in(tmp_path)), FALX_GATE_DIR=str(tmp_path / "gate")) as server:
        state = state_once_chosen(server)
        assert state["provider"] == CPU
        assert "The OpenVINO plug-in cannot be loaded" in state["detail"]
        assert "the OpenVINO plug-in is not used" in server.log
    # It may be mended without another version.
    assert not list((tmp_path / "gate").glob("*.json"))


async def test_without_the_plug_in_the_cpu_provider_says_so(tiny_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.serving.providers.choice.installed", lambda: False)
    async with chosen(tiny_models, provider="auto") as (registry, choice):
        await choice.run()
        (state,) = registry.dependencies()
        assert (state.provider, state.detail) == (CPU, "int8; not on OpenVINO: The OpenVINO plug-in is not installed.")


@pytest.mark.parametrize("settings", [{}, {"provider": "builtin"}, {"provider": "cpu"}])
async def test_nothing_of_the_gate_runs_unless_asked_for(
    tiny_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    """No task, no process, no file, and no look at the plug-in: not where it is installed either."""
    monkeypatch.delenv("FALX_PROVIDER", raising=False)
    kept = tmp_path / "gate"
    looked: list[str] = []
    started: list[str] = []

    def look() -> bool:
        looked.append("looked")
        return True

    monkeypatch.setattr("core.serving.providers.choice.installed", look)
    monkeypatch.setattr("core.runtime.openvino.plug_in.installed", look)

    def hear(event: str, _: tuple[Any, ...]) -> None:
        if event == "subprocess.Popen" and hearing:
            started.append(event)

    hearing = True
    sys.addaudithook(hear)
    async with chosen(tiny_models, gate_dir=kept, **settings) as (registry, choice):
        before = asyncio.all_tasks()
        choice.start()
        await asyncio.sleep(0.2)
        assert asyncio.all_tasks() == before
        (state,) = registry.dependencies()
        assert (state.provider, state.detail) == (CPU, "int8")
    hearing = False
    assert (looked, started, kept.exists()) == ([], [], False)


@pytest.mark.skipif(not why_not(), reason="the OpenVINO plug-in can be used here")
def test_openvino_that_cannot_be_had_stops_the_start(tiny_models: Path) -> None:
    with pytest.raises(ProviderMissing) as raised:
        make(tiny_models, provider="openvino")
    assert raised.value.detail == f"FALX_PROVIDER is openvino. {why_not()}"


@pytest.mark.parametrize("settings", [{"provider": "cuda"}, {"provider": "cpu", "require_cuda": True}])
def test_cuda_that_cannot_be_had_stops_the_start(tiny_models: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(ProviderMissing, match="FALX_PROVIDER is cuda or FALX_REQUIRE_CUDA is set"):
        make(tiny_models, **settings)
