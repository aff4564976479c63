"""Settings, services and ports of the embedded default."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from deploy.plan import EmbeddedSettings, Service, plan, port_faults, volumes_fault


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def service(name: str, port: int, host: str = "127.0.0.1") -> Service:
    return Service(name, ("true",), port, f"FALX_{name.upper()}_PORT", host)


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_the_gateway_is_told_where_the_model_servers_are() -> None:
    (classifier, segmenter), (gateway,) = plan(EmbeddedSettings(port=9000, classifier_port=9001, segmenter_port=9002))
    assert gateway.environment["FALX_CLASSIFIER_URL"] == "http://127.0.0.1:9001"
    assert gateway.environment["FALX_SEGMENTER_URL"] == "http://127.0.0.1:9002"
    ports = [one.environment["FALX_PORT"] for one in (classifier, segmenter, gateway)]
    assert ports == ["9001", "9002", "9000"]


def test_another_address_is_for_the_gateway_alone() -> None:
    models, (gateway,) = plan(EmbeddedSettings(host="0.0.0.0"))
    assert gateway.environment["FALX_HOST"] == "0.0.0.0"
    assert gateway.url == "http://127.0.0.1:8000"
    assert {one.environment["FALX_HOST"] for one in models} == {"127.0.0.1"}


def test_without_a_queue_there_is_no_worker_and_the_gateway_takes_no_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FALX_REDIS_URL", "redis://elsewhere")
    models, (gateway,) = plan(EmbeddedSettings())
    assert [one.name for one in models] == ["classifier", "segmenter"]
    assert gateway.environment["FALX_REDIS_URL"] == ""


def test_gateway_and_worker_share_one_queue_and_one_store(tmp_path: Path) -> None:
    settings = EmbeddedSettings(data_dir=tmp_path, worker_port=9003, drain_timeout_s=40)
    (_, segmenter, worker), (gateway,) = plan(settings, "unix:///queue.sock")
    for service_ in (worker, gateway):
        assert service_.environment["FALX_REDIS_URL"] == "unix:///queue.sock"
        assert service_.environment["FALX_BLOBS_URL"] == str(tmp_path / "blobs")
    assert worker.command[-2:] == ("segmenter_service", "worker")
    assert worker.environment["FALX_PORT"] == "9003"
    # Handed back well before the supervisor loses patience.
    assert float(worker.environment["FALX_JOB_DRAIN_S"]) < 40
    assert "worker" not in segmenter.command


@pytest.mark.parametrize(
    ("manifest", "on"),
    [
        ('{"task": "volume-segmentation"}', True),
        ('{"task": "segmentation"}', False),
        ("[1, 2]", False),
        ("not json", False),
    ],
)
def test_volumes_need_a_model_for_them(tmp_path: Path, manifest: str, on: bool) -> None:
    folder = tmp_path / "some-model" / "1"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(manifest)
    fault = volumes_fault(EmbeddedSettings(models_dir=tmp_path))
    assert (fault is None) is on


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FALX_PORT", "8123")
    monkeypatch.setenv("FALX_DATA_DIR", str(tmp_path))
    settings = EmbeddedSettings()
    assert settings.port == 8123
    assert settings.log_dir == tmp_path / "logs"


@pytest.mark.parametrize("port", ["0", "65536", "http"])
def test_a_port_that_is_none_is_refused(port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FALX_CLASSIFIER_PORT", port)
    with pytest.raises(ValidationError, match="classifier_port"):
        EmbeddedSettings()


def test_free_ports_are_no_fault() -> None:
    assert port_faults([service("gateway", unused_port())]) == []


def test_a_taken_port_names_the_port_the_service_and_the_variable(taken_port: int) -> None:
    (fault,) = port_faults([service("gateway", taken_port), service("classifier", unused_port())])
    assert fault == (f"port {taken_port} (gateway) is taken by another program: set FALX_GATEWAY_PORT to a free port")


def test_a_port_taken_on_loopback_is_taken_for_a_wildcard_listener(taken_port: int) -> None:
    assert len(port_faults([service("gateway", taken_port, host="0.0.0.0")])) == 1


def test_one_port_for_two_services_is_a_fault_of_both() -> None:
    port = unused_port()
    faults = port_faults([service("gateway", port), service("classifier", port)])
    assert len(faults) == 2
    assert all("is given to two services" in fault for fault in faults)


def test_an_address_of_another_machine_is_a_fault() -> None:
    (fault,) = port_faults([service("gateway", unused_port(), host="192.0.2.1")])
    assert "cannot be used on 192.0.2.1" in fault
