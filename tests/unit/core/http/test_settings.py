"""Settings: their rules, their messages, and their page in the documentation."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from core.http.known_settings import COMPOSE, SERVICES
from core.http.settings import ServingSettings, load_settings
from core.serving.settings import ModelServingSettings
from tests.fixtures.servers import ROOT

FIELDS = ModelServingSettings.model_fields


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FIELDS:
        monkeypatch.delenv(f"FALX_{name.upper()}", raising=False)


def test_the_defaults_are_those_of_one_safe_machine() -> None:
    settings = ServingSettings()
    assert (settings.host, settings.parent_fd, settings.drain_delay_s, settings.shutdown_grace_s) == (
        "127.0.0.1",
        None,
        0,
        30,
    )
    # Most balancers keep idle connections for 60 s at most.
    assert settings.keep_alive_s > 60


def test_names_of_models_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FALX_MODELS", " one, two ,,three")
    assert ModelServingSettings().models == ("one", "two", "three")
    monkeypatch.setenv("FALX_MODELS", "")
    assert ModelServingSettings().models == ()


def test_an_empty_variable_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FALX_PORT", "")
    assert ServingSettings().port == 8000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "65536"),
        ("port", "-1"),
        ("port", "http"),
        ("log_level", "loud"),
        ("drain_delay_s", "-1"),
        ("shutdown_grace_s", "0"),
        ("keep_alive_s", "0"),
        ("max_header_bytes", "10"),
        ("request_timeout_s", "601"),
        ("parent_fd", "2"),
        ("precision", "fp8"),
        ("require_cuda", "maybe"),
        ("max_queue", "0"),
        ("max_batch", "0"),
        ("max_image_bytes", "1"),
    ],
)
def test_a_wrong_value_stops_the_start_and_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"FALX_{name.upper()}", value)
    with pytest.raises(SystemExit) as caught:
        load_settings(ModelServingSettings)
    (line,) = str(caught.value.code).splitlines()
    assert line.startswith(f"falx: FALX_{name.upper()}: ")


def test_sound_settings_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FALX_REQUIRE_CUDA", "1")
    monkeypatch.setenv("FALX_PORT", "8001")
    settings = load_settings(ModelServingSettings)
    assert (settings.require_cuda, settings.port) == (True, 8001)


def test_settings_do_not_change_while_serving() -> None:
    with pytest.raises(ValidationError):
        setattr(ServingSettings(), "port", 1)  # noqa: B010  typed as read-only


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_is_explained_where_it_is_defined_and_in_the_documentation(name: str) -> None:
    description = FIELDS[name].description
    assert description
    page = (ROOT / "docs" / "configuration.md").read_text()
    row = re.search(rf"^\| `FALX_{name.upper()}` \| (.+?) \| (.+) \|$", page, flags=re.MULTILINE)
    assert row is not None
    assert row.group(2) == description
    default = FIELDS[name].default
    shown = str(default).lower() if isinstance(default, bool) else str(default)
    assert row.group(1) == ("unset" if default is None or default == () else f"`{shown}`")


@pytest.mark.parametrize(
    ("name", "meant"), [("FALX_MODLES_DIR", "FALX_MODELS_DIR"), ("FALX_XYZZY", None), ("falx_prot", "FALX_PORT")]
)
def test_an_unknown_setting_stops_the_start_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, meant: str | None
) -> None:
    monkeypatch.setenv(name, "secret")
    with pytest.raises(SystemExit) as caught:
        load_settings(ServingSettings)
    message = str(caught.value.code)
    assert message.startswith(f"falx: {name}: There is no such setting")
    assert (f"perhaps {meant} was meant" in message) if meant else ("perhaps" not in message)
    assert "secret" not in message


@pytest.mark.parametrize("name", ["FALX_VOLUME_MODEL", "FALX_CLASSIFIER_MEMORY", "FALX_URL", "FALX_OLD", "falx_port"])
def test_settings_of_others_and_of_clients_are_known(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    load_settings(ServingSettings)


def test_the_list_of_settings_is_what_the_services_define() -> None:
    from classifier_service.settings import ClassifierSettings
    from core.jobs.settings import WorkerSettings
    from deploy.plan import EmbeddedSettings
    from gateway.settings import GatewaySettings
    from segmenter_service.slices.settings import SegmenterSettings
    from segmenter_service.volumes.settings import VolumeSettings

    kinds = (ClassifierSettings, SegmenterSettings, VolumeSettings, GatewaySettings, WorkerSettings, EmbeddedSettings)
    assert {name for kind in kinds for name in kind.model_fields} == SERVICES


def test_the_list_of_settings_is_what_the_compose_files_ask_for() -> None:
    files = [ROOT / "docker-compose.yml", *(ROOT / "deploy").glob("*.yml")]
    asked = {name for file in files for name in re.findall(r"\$\{FALX_(\w+)", file.read_text())}
    assert {name.lower() for name in asked} - SERVICES == COMPOSE
