"""Keys, scopes, rate limits and start-up refusals, on real processes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.keys import Scope
from tests.fixtures.servers import ROOT, Reply, Server, free_port
from tests.support.gateway import ScriptedUpstream, gateway_before, scripted_upstream

PATH = "/v1/classifications"


def command(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """One run of ``python -m gateway`` that ends by itself."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FALX_")}
    return subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        cwd=ROOT,
        env={**inherited, **env},
        capture_output=True,
        text=True,
        timeout=60,
    )


def add_key(file: Path, key_id: str, *scopes: Scope) -> str:
    wanted = [argument for scope in scopes for argument in ("--scope", scope)]
    done = command("keys", "create", "--id", key_id, *wanted, "--file", str(file))
    return shown_key(done)


def shown_key(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return next(word for word in done.stdout.split() if word.startswith("falx_"))


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys.toml"


@pytest.fixture(scope="module")
def infer_key(key_file: Path) -> str:
    return add_key(key_file, "pacs", Scope.INFER)


@pytest.fixture(scope="module")
def jobs_key(key_file: Path) -> str:
    return add_key(key_file, "queue", Scope.JOBS)


@pytest.fixture(scope="module")
def admin_key(key_file: Path) -> str:
    return add_key(key_file, "ops", Scope.ADMIN)


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedUpstream]:
    with scripted_upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def guarded(
    upstream: ScriptedUpstream, key_file: Path, infer_key: str, jobs_key: str, admin_key: str
) -> Iterator[Server]:
    env = {"FALX_API_KEYS_FILE": str(key_file), "FALX_HOST": "0.0.0.0"}
    with gateway_before(upstream.url, env=env) as server:
        yield server


def post(gateway: Server, path: str = PATH, **headers: str) -> Reply:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return gateway.request("POST", path, b"pixels", {"Content-Type": "image/png", **sent})


class TestKeys:
    def test_no_key(self, guarded: Server, upstream: ScriptedUpstream) -> None:
        upstream.reset()
        for path in (PATH, "/v1/segmentations", "/predict_classification", "/predict_segmentation"):
            reply = post(guarded, path)
            assert (reply.status, reply.json()["code"]) == (401, "unauthorized")
            assert reply.headers["www-authenticate"] == 'Bearer realm="falx"'
        for path in ("/v1/models", "/v1/models/tumor-classifier", "/v1/models/tumor-classifier/card"):
            assert guarded.request("GET", path).status == 401
        assert not upstream.seen

    def test_wrong_key(self, guarded: Server) -> None:
        reply = post(guarded, X_API_Key="falx_pacs_" + "A" * 43)
        assert reply.status == 401
        assert "invalid_token" in reply.headers["www-authenticate"]

    def test_both_headers(self, guarded: Server, infer_key: str) -> None:
        assert post(guarded, X_API_Key=infer_key).status == 200
        assert post(guarded, Authorization=f"Bearer {infer_key}").status == 200

    def test_missing_scope_is_named(self, guarded: Server, jobs_key: str) -> None:
        reply = post(guarded, X_API_Key=jobs_key)
        assert (reply.status, reply.json()["code"]) == (403, "forbidden")
        assert "'infer'" in reply.json()["detail"]

    def test_admin_may_do_all(self, guarded: Server, admin_key: str) -> None:
        assert post(guarded, X_API_Key=admin_key).status == 200

    def test_what_stays_open(self, guarded: Server) -> None:
        for path in ("/livez", "/readyz", "/", "/docs", "/docs/problems", "/openapi.json"):
            assert guarded.request("GET", path).status == 200

    def test_metrics_need_admin(self, guarded: Server, infer_key: str, admin_key: str) -> None:
        assert guarded.request("GET", "/metrics").status == 401
        assert guarded.request("GET", "/metrics", headers={"X-API-Key": infer_key}).status == 403
        reply = guarded.request("GET", "/metrics", headers={"Authorization": f"Bearer {admin_key}"})
        assert reply.status == 200
        assert b"falx_circuit_open" in reply.body
        ends = re.search(rb'^falx_key_ends_seconds\{key="pacs"\} (.+)$', reply.body, re.MULTILINE)
        assert ends
        assert 364 < (float(ends[1]) - time.time()) / 86_400 <= 365

    def test_another_key_locks_nobody_out(self, guarded: Server, key_file: Path) -> None:
        old = add_key(key_file, "rotated", Scope.INFER)
        _wait_for_status(guarded, old, 200)
        new = shown_key(command("keys", "rotate", "--id", "rotated", "--file", str(key_file)))
        _wait_for_status(guarded, new, 200)
        _wait_for_status(guarded, old, 200)
        assert command("keys", "rotate", "--id", "rotated", "--overlap", "0", "--file", str(key_file)).returncode == 0
        _wait_for_status(guarded, old, 401)
        _wait_for_status(guarded, new, 401)

    def test_keys_are_followed_and_never_logged(self, guarded: Server, key_file: Path) -> None:
        late = add_key(key_file, "late", Scope.INFER)
        _wait_for_status(guarded, late, 200)
        text = key_file.read_text()
        key_file.write_text(text[: text.rindex("[[keys]]")])
        _wait_for_status(guarded, late, 401)
        assert late not in guarded.log


def _wait_for_status(gateway: Server, key: str, status: int) -> None:
    end = time.monotonic() + 10
    while post(gateway, X_API_Key=key).status != status:
        assert time.monotonic() < end
        time.sleep(0.1)


def test_public_metrics(upstream: ScriptedUpstream, key_file: Path, infer_key: str) -> None:
    env = {"FALX_API_KEYS_FILE": str(key_file), "FALX_METRICS_PUBLIC": "1"}
    with gateway_before(upstream.url, env=env) as gateway:
        assert gateway.request("GET", "/metrics").status == 200


def test_rate_limit_and_origins(upstream: ScriptedUpstream) -> None:
    env = {"FALX_RATE_LIMIT": "5/2second", "FALX_CORS_ORIGINS": "https://viewer.example.org"}
    with gateway_before(upstream.url, env=env) as gateway:
        statuses = [post(gateway).status for _ in range(6)]
        assert statuses == [200] * 5 + [429]
        refused = post(gateway, Origin="https://viewer.example.org")
        assert (refused.status, refused.json()["code"], refused.json()["retryable"]) == (429, "rate-limited", True)
        assert refused.headers["access-control-allow-origin"] == "https://viewer.example.org"
        assert gateway.request("GET", "/v1/models").status == 200, "only inference is counted"
        time.sleep(int(refused.headers["retry-after"]))
        assert post(gateway, Origin="https://other.example.org").headers.get("access-control-allow-origin") is None
        allowed = gateway.request(
            "OPTIONS",
            PATH,
            headers={
                "Origin": "https://viewer.example.org",
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "authorization,content-type",
            },
        )
        assert allowed.status == 200
        assert allowed.headers["access-control-allow-origin"] == "https://viewer.example.org"


class TestRefusesToStart:
    @pytest.mark.parametrize(
        ("env", "reason"),
        [
            ({"FALX_HOST": "0.0.0.0"}, "no API key is configured"),
            ({"FALX_HOST": "0.0.0.0", "FALX_API_KEYS_FILE": "/nowhere/keys.toml"}, "cannot be used"),
            ({"FALX_API_KEYS_FILE": "/nowhere/keys.toml"}, "cannot be used"),
            ({"FALX_RATE_LIMIT": "now and then"}, "FALX_RATE_LIMIT"),
            ({"FALX_CLASSIFIER_URL": "classifier"}, "FALX_CLASSIFIER_URL"),
        ],
    )
    def test_one_clear_line(self, env: dict[str, str], reason: str) -> None:
        done = command(FALX_PORT=str(free_port()), **env)
        assert done.returncode == 1
        assert reason in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1

    def test_anonymous_by_explicit_wish(self, upstream: ScriptedUpstream) -> None:
        with gateway_before(upstream.url, env={"FALX_HOST": "0.0.0.0", "FALX_ALLOW_ANONYMOUS": "1"}) as gateway:
            assert post(gateway).status == 200
