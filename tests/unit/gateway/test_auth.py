"""Who is let in, and which configurations are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.errors import Forbidden, Unauthorized, UnsafeConfiguration
from gateway.auth import authenticator, is_loopback
from gateway.keys import Scope, create_key
from gateway.settings import GatewaySettings


@pytest.fixture
def key_file(tmp_path: Path) -> tuple[Path, str]:
    made = create_key("pacs", frozenset({Scope.INFER}))
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": [made.record.model_dump(mode="json")]}))
    return path, made.key


def test_loopback_needs_no_key() -> None:
    auth = authenticator(GatewaySettings())
    assert not auth.needs_key
    assert auth.require({}, "127.0.0.1", Scope.ADMIN).name == "address:127.0.0.1"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "falx.example.org", ""])
def test_other_addresses_need_one(host: str) -> None:
    with pytest.raises(UnsafeConfiguration, match="no API key is configured") as refusal:
        authenticator(GatewaySettings(host=host))
    assert "\n" not in refusal.value.detail


def test_other_addresses_with_an_empty_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    path.write_text("")
    with pytest.raises(UnsafeConfiguration, match="no API key"):
        authenticator(GatewaySettings(host="0.0.0.0", api_keys_file=path))


def test_loopback_with_an_empty_file_lets_nobody_in(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    path.write_text("")
    auth = authenticator(GatewaySettings(api_keys_file=path))
    assert auth.needs_key
    with pytest.raises(Unauthorized):
        auth.require({}, "127.0.0.1", Scope.INFER)


def test_anonymous_by_explicit_wish() -> None:
    assert not authenticator(GatewaySettings(host="0.0.0.0", allow_anonymous=True)).needs_key


def test_anonymous_does_not_switch_keys_off(key_file: tuple[Path, str]) -> None:
    auth = authenticator(GatewaySettings(host="0.0.0.0", allow_anonymous=True, api_keys_file=key_file[0]))
    with pytest.raises(Unauthorized):
        auth.require({}, "10.0.0.1", Scope.INFER)


def test_a_key_names_its_caller(key_file: tuple[Path, str]) -> None:
    path, key = key_file
    auth = authenticator(GatewaySettings(host="0.0.0.0", api_keys_file=path))
    assert auth.require({"x-api-key": key}, "10.0.0.1", Scope.INFER).name == "key:pacs"


def test_refusals_say_what_is_missing(key_file: tuple[Path, str]) -> None:
    path, key = key_file
    auth = authenticator(GatewaySettings(api_keys_file=path))
    with pytest.raises(Unauthorized) as missing:
        auth.require({}, "10.0.0.1", Scope.INFER)
    assert missing.value.headers["WWW-Authenticate"] == 'Bearer realm="falx"'
    with pytest.raises(Unauthorized) as wrong:
        auth.require({"x-api-key": key + "x"}, "10.0.0.1", Scope.INFER)
    assert "invalid_token" in wrong.value.headers["WWW-Authenticate"]
    assert key not in wrong.value.detail
    with pytest.raises(Forbidden, match="scope 'admin'; the key 'pacs' has: infer"):
        auth.require({"x-api-key": key}, "10.0.0.1", Scope.ADMIN)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False)],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
