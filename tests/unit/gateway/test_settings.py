"""The gateway's settings: safe by default, explained, and the same in the documentation."""

from __future__ import annotations

import re

import pytest

from core.http.settings import ServingSettings, load_settings
from gateway.settings import GatewaySettings
from tests.fixtures.servers import ROOT

OWN = {name: field for name, field in GatewaySettings.model_fields.items() if name not in ServingSettings.model_fields}


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in GatewaySettings.model_fields:
        monkeypatch.delenv(f"FALX_{name.upper()}", raising=False)


def test_the_defaults_are_safe() -> None:
    settings = GatewaySettings()
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert not settings.allow_anonymous
    assert not settings.cors_origins
    # Or a request would now and then meet a connection that a model server is closing.
    assert settings.upstream_keepalive_s < settings.keep_alive_s


def test_four_sequences_in_base64_fit() -> None:
    assert GatewaySettings().max_request_bytes > 4 * 32 * 2**20 * 4 / 3


def test_origins_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FALX_CORS_ORIGINS", "https://a.example.org, http://localhost:3000 ,")
    assert GatewaySettings().cors_origins == ("https://a.example.org", "http://localhost:3000")


def test_a_job_has_room_for_its_volumes_within_the_time_of_an_upload() -> None:
    settings = GatewaySettings()
    assert settings.redis_url is None
    assert settings.max_job_bytes >= settings.max_volume_bytes
    assert settings.job_types == ("segmentation",)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("classifier_url", "classifier"),
        ("segmenter_url", "ftp://segmenter"),
        ("rate_limit", "often"),
        ("cors_origins", "https://a.example.org/viewer"),
        ("cors_origins", "a.example.org"),
        ("max_request_bytes", "10"),
        ("max_request_timeout_s", "601"),
        ("circuit_failures", "0"),
        ("job_types", "Segment everything"),
        ("job_types", ","),
        ("max_queued_jobs", "0"),
        ("blobs_endpoint", "minio:9000"),
    ],
)
def test_a_wrong_value_stops_the_start(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"FALX_{name.upper()}", value)
    with pytest.raises(SystemExit) as caught:
        load_settings(GatewaySettings)
    assert str(caught.value.code).startswith(f"falx: FALX_{name.upper()}: ")


@pytest.mark.parametrize("name", OWN)
def test_every_setting_is_explained_in_the_documentation(name: str) -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    row = re.search(rf"^\| `FALX_{name.upper()}` \| (.+?) \| (.+) \|$", page, flags=re.MULTILINE)
    assert row is not None
    assert row.group(2) == OWN[name].description
    default = OWN[name].default
    shown = ",".join(default) if isinstance(default, tuple) else str(default)
    if isinstance(default, bool):
        shown = shown.lower()
    assert row.group(1) == ("unset" if default is None or default == () else f"`{shown}`")
