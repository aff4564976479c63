"""Whose jobs are whose, and what is left when queue or store are away."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from core.contracts.jobs import hashed_uid
from gateway.cli import _toml
from gateway.keys import NewKey, Scope, create_key
from tests.fixtures.servers import Server
from tests.support.gateway import gateway_before, scripted_upstream
from tests.support.gateway_jobs import JOBS, LIMIT_S, Volumes, body, volume, volumes

pytestmark = pytest.mark.timeout(600)

ANNA = create_key("anna", frozenset({Scope.JOBS}))
BERT = create_key("bert", frozenset({Scope.JOBS, Scope.INFER}))
HASTY = create_key("hasty", frozenset({Scope.JOBS, Scope.URGENT}))
SLICES = create_key("slices", frozenset({Scope.INFER}))


def by(key: NewKey) -> dict[str, str]:
    return {"Authorization": f"Bearer {key.key}"}


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Volumes]:
    """A gateway with three keys."""
    folder = tmp_path_factory.mktemp("keyed")
    keys = folder / "keys.toml"
    keys.write_text("\n".join(_toml(key) for key in (ANNA, BERT, SLICES)))
    with (
        scripted_upstream() as upstream,
        volumes(folder, upstream.url, FALX_API_KEYS_FILE=str(keys), FALX_RATE_LIMIT="40/minute") as served,
    ):
        yield served


class TestKeys:
    def test_jobs_need_a_key_with_their_scope(self, keyed: Volumes) -> None:
        reply = keyed.submit()
        assert (reply.status, reply.json()["code"]) == (401, "unauthorized")
        assert reply.headers["www-authenticate"].startswith("Bearer")
        for method, path in (("POST", JOBS), ("GET", JOBS), ("GET", f"{JOBS}/{'0' * 32}")):
            reply = keyed.ask(method, path, headers=by(SLICES))
            assert (reply.status, reply.json()["code"]) == (403, "forbidden")
        assert keyed.files() == []

    def test_a_job_is_its_owners_alone(self, keyed: Volumes) -> None:
        job = keyed.submit(headers=by(ANNA)).json()
        path = f"{JOBS}/{job['id']}"
        for method, tail in (
            ("GET", ""),
            ("DELETE", ""),
            ("POST", "/cancel"),
            ("GET", "/events"),
            ("GET", "/results"),
            ("GET", "/results/report.json"),
        ):
            reply = keyed.ask(method, path + tail, headers=by(BERT))
            assert (reply.status, reply.json()["code"]) == (404, "not-found")
        assert keyed.ask("GET", path, headers=by(ANNA)).json()["status"] == "queued"
        assert keyed.ask("DELETE", path, headers=by(ANNA)).status == 204

    def test_lists_hold_the_callers_own(self, keyed: Volumes) -> None:
        hers = [keyed.submit(headers=by(ANNA)).json()["id"] for _ in range(2)]
        his = keyed.submit(headers=by(BERT)).json()["id"]
        assert keyed.ask("POST", f"{JOBS}/{hers[0]}/cancel", headers=by(ANNA)).status == 202

        def listed(key: NewKey, query: str = "") -> list[str]:
            page = keyed.ask("GET", JOBS + query, headers=by(key)).json()
            assert page["total"] == len(page["jobs"])
            return [job["id"] for job in page["jobs"]]

        assert listed(ANNA) == hers[::-1]
        assert listed(ANNA, "?status=queued") == hers[1:]
        assert listed(ANNA, "?status=cancelled") == hers[:1]
        assert listed(BERT) == [his]
        for key, ids in ((ANNA, hers), (BERT, [his])):
            for job_id in ids:
                assert keyed.ask("DELETE", f"{JOBS}/{job_id}", headers=by(key)).status == 204
            assert listed(key) == []

    def test_two_callers_may_use_one_idempotency_key(self, keyed: Volumes) -> None:
        ids = set()
        for key in (ANNA, BERT, ANNA):
            reply = keyed.submit(headers={**by(key), "Idempotency-Key": "mine"}, flair=volume())
            assert reply.status == 202
            ids.add(reply.json()["id"])
        assert len(ids) == 2

    def test_submits_count_for_the_rate_limit(self, keyed: Volumes) -> None:
        data, headers = body(None, flair=b"none")
        for _ in range(41):
            reply = keyed.ask("POST", JOBS, data, {**headers, **by(BERT)})
            if reply.status == 429:
                break
        assert (reply.status, reply.json()["code"]) == (429, "rate-limited")


def test_without_a_queue_the_operator_is_told_what_to_set() -> None:
    with scripted_upstream() as upstream, gateway_before(upstream.url) as gateway:
        for method, path in (("POST", JOBS), ("GET", JOBS), ("GET", f"{JOBS}/{'0' * 32}/events")):
            data, headers = body(None, flair=volume()) if method == "POST" else (None, {})
            reply = gateway.request(method, path, data, headers)
            assert (reply.status, reply.json()["code"]) == (503, "queue-unavailable")
            assert "FALX_REDIS_URL" in reply.json()["detail"]
            assert int(reply.headers["retry-after"]) >= 1
        names = [state["name"] for state in gateway.request("GET", "/readyz").json()["dependencies"]]
        assert not {"queue", "blobs"} & set(names)


@pytest.mark.parametrize(
    ("name", "value"),
    [("FALX_REDIS_URL", "http://localhost"), ("FALX_BLOBS_URL", "ftp://x"), ("FALX_BLOBS_URL", "/proc/x")],
)
def test_an_address_of_nonsense_stops_the_start(tmp_path: Path, name: str, value: str) -> None:
    env = {"FALX_REDIS_URL": f"unix://{tmp_path}/none", "FALX_BLOBS_URL": str(tmp_path / "blobs"), name: value}
    with gateway_before("http://127.0.0.1:9", env=env, wait_ready=False) as gateway:
        assert gateway.wait(LIMIT_S) == 1
        assert name in gateway.log
        assert "Traceback" not in gateway.log


def states(gateway: Server) -> dict[str, bool]:
    return {state["name"]: state["ready"] for state in gateway.request("GET", "/readyz").json()["dependencies"]}


def test_slices_go_on_while_the_queue_is_away(tmp_path: Path) -> None:
    with (
        scripted_upstream() as upstream,
        volumes(tmp_path, upstream.url, FALX_REDIS_TIMEOUT_S="3") as served,
    ):
        job = served.submit().json()
        served.valkey.stop()
        reply = served.submit()
        assert (reply.status, reply.json()["code"]) == (503, "queue-unavailable")
        assert int(reply.headers["retry-after"]) >= 1
        reply = served.ask("GET", f"{JOBS}/{job['id']}")
        assert (reply.status, reply.json()["code"], reply.json()["retryable"]) == (503, "queue-unavailable", True)
        png = {"Content-Type": "image/png"}
        assert served.ask("POST", "/v1/classifications", b"pixels", png).status == 200
        wait_until(
            lambda: states(served.gateway) == {"classifier": True, "segmenter": True, "queue": False, "blobs": True}
        )
        assert served.gateway.request("GET", "/readyz").status == 503
        served.valkey.start()
        wait_until(lambda: states(served.gateway)["queue"])
        assert served.ask("GET", f"{JOBS}/{job['id']}").json()["status"] == "queued"
        assert served.submit().status == 202


def wait_until(condition: object) -> None:
    """Return once ``condition`` holds."""
    assert callable(condition)
    end_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.1)


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Volumes]:
    """A gateway whose keys may have little, and its audit log in a file."""
    folder = tmp_path_factory.mktemp("narrow")
    keys = folder / "keys.toml"
    quota = "quota = {waiting = 2, stored_bytes = 40000}\n"
    keys.write_text("\n".join(_toml(key) + quota for key in (ANNA, BERT, HASTY)))
    settings = {"FALX_API_KEYS_FILE": str(keys), "FALX_AUDIT_LOG": str(folder / "audit.log")}
    with scripted_upstream() as upstream, volumes(folder, upstream.url, **settings) as served:
        yield served


def audited(log: Path, last: str) -> list[dict[str, Any]]:
    """The last five lines once ``last`` is in the log: a line comes just after its answer."""
    end_s = time.monotonic() + LIMIT_S
    while not log.exists() or last not in log.read_text():
        assert time.monotonic() < end_s, "no such line"
        time.sleep(0.05)
    return [json.loads(line) for line in log.read_text().splitlines()][-5:]


class TestQuotas:
    def test_a_key_cannot_keep_others_out(self, narrow: Volumes) -> None:
        hers = [narrow.submit(headers=by(ANNA)).json()["id"] for _ in range(2)]
        refused = narrow.submit(headers=by(ANNA))
        assert (refused.status, refused.json()["code"]) == (429, "quota-exceeded")
        assert "waiting" in refused.json()["detail"]
        assert int(refused.headers["retry-after"]) >= 1
        his = narrow.submit(headers=by(BERT))
        assert (his.status, his.json()["queue_position"]) == (202, 2)
        for key, job in ((ANNA, hers[0]), (ANNA, hers[1]), (BERT, his.json()["id"])):
            assert narrow.ask("DELETE", f"{JOBS}/{job}", headers=by(key)).status == 204
        assert narrow.files() == []

    def test_bytes_are_counted_until_they_are_erased(self, narrow: Volumes) -> None:
        first = narrow.submit(headers=by(ANNA), flair=volume(24, compress=False)).json()["id"]
        refused = narrow.submit(headers=by(ANNA), flair=volume(24, compress=False))
        assert (refused.status, refused.json()["code"]) == (429, "quota-exceeded")
        assert "stored_bytes" in refused.json()["detail"]
        assert len(narrow.files()) == 1
        assert narrow.ask("DELETE", f"{JOBS}/{first}", headers=by(ANNA)).status == 204
        again = narrow.submit(headers=by(ANNA), flair=volume(24, compress=False))
        assert again.status == 202
        assert narrow.ask("DELETE", f"{JOBS}/{again.json()['id']}", headers=by(ANNA)).status == 204

    def test_urgent_jobs_need_their_scope(self, narrow: Volumes) -> None:
        data, headers = body({"priority": "urgent"}, flair=volume())
        refused = narrow.ask("POST", JOBS, data, headers | by(ANNA))
        assert (refused.status, refused.json()["code"]) == (403, "forbidden")
        assert "'urgent'" in refused.json()["detail"]
        taken = narrow.ask("POST", JOBS, data, headers | by(HASTY))
        assert (taken.status, taken.json()["priority"]) == (202, "urgent")
        assert narrow.ask("DELETE", f"{JOBS}/{taken.json()['id']}", headers=by(HASTY)).status == 204

    def test_who_did_what_is_written_down_without_patients(self, narrow: Volumes) -> None:
        log = narrow.folder / "audit.log"
        data, headers = body({"series": {"1.2.840.99999.7": "t1"}}, dicom=b"PK\x03\x04 no study")
        job = narrow.ask("POST", JOBS, data, {**headers, **by(ANNA), "X-Request-ID": "mine"}).json()["id"]
        narrow.ask("GET", f"{JOBS}/DOE-JANE?name=DOE", headers=by(BERT))
        narrow.ask("GET", JOBS)
        narrow.ask("GET", f"{JOBS}/{'0' * 32}", headers=by(SLICES))
        narrow.ask("DELETE", f"{JOBS}/{job}", headers=by(ANNA))
        lines = audited(
            log, f'"operation":"deleteJob","method":"DELETE","route":"/v1/jobs/{{job_id}}","job_id":"{job}"'
        )
        told = [
            tuple(line.get(name) for name in ("caller", "operation", "job_id", "status", "problem")) for line in lines
        ]
        assert told == [
            ("key:anna", "submitJob", job, 202, None),
            ("key:bert", "readJob", None, 400, "invalid-request"),
            (None, "listJobs", None, 401, "unauthorized"),
            (None, "readJob", "0" * 32, 401, "unauthorized"),
            ("key:anna", "deleteJob", job, 204, None),
        ]
        assert lines[0]["request_id"] == "mine"
        assert not any(word in log.read_text() for word in ("DOE", "99999", ANNA.key, "no study"))
        assert log.stat().st_mode & 0o777 == 0o600
        moved = log.rename(log.with_name("audit.log.1"))
        narrow.ask("GET", JOBS, headers=by(ANNA))
        assert len(audited(log, "listJobs")) == 1
        assert len(moved.read_text().splitlines()) > 5

    def test_a_record_names_series_by_a_hash(self, narrow: Volumes) -> None:
        uid = "1.2.840.99999.7"
        data, headers = body({"series": {uid: "t1"}}, dicom=b"PK\x03\x04 no study")
        job = narrow.ask("POST", JOBS, data, headers | by(BERT)).json()["id"]
        with Redis(unix_socket_path=narrow.environment["FALX_REDIS_URL"].removeprefix("unix://")) as client:
            everything = b" ".join(filter(None, (client.get(key) for key in client.scan_iter("*job:*")))).decode()
        assert uid not in everything
        assert hashed_uid(uid) in everything
        assert narrow.ask("DELETE", f"{JOBS}/{job}", headers=by(BERT)).status == 204
