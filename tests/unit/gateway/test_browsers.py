"""Who may call a gateway without keys from inside a browser of its machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from gateway.app import create_app
from gateway.settings import GatewaySettings
from tests.fixtures.servers import request, serving

LET_THROUGH = 503  # there is no queue behind this gateway


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    settings = GatewaySettings(cors_origins=("https://viewer.example",), allowed_hosts=("falx.site.example",))
    with serving(create_app(settings)) as url:
        yield url


def write(url: str, headers: Mapping[str, str]) -> int:
    """Status of a write."""
    return request(url, "POST", f"/v1/jobs/{'0' * 32}/cancel", headers={"Host": "localhost:8000", **headers}).status


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "localhost:8000", "LOCALHOST", "localhost.", "page.localhost:8000", "127.0.0.1:8000", "127.0.0.2",
        "[::1]:8000", "falx.site.example", "FALX.site.example:80",
    ],
)  # fmt: skip
def test_names_of_this_machine_are_answered(url: str, host: str) -> None:
    assert request(url, "GET", "/openapi.json", headers={"Host": host}).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "rebound.example", "rebound.example:8000", "localhost.example", "127.0.0.1.example", "10.0.0.1",
        "[2001:db8::1]", "notlocalhost", "[::1", "", "x@localhost.example",
    ],
)  # fmt: skip
def test_other_names_are_refused(url: str, host: str) -> None:
    answer = request(url, "GET", "/openapi.json", headers={"Host": host})
    assert answer.status == 403
    assert answer.json()["code"] == "forbidden"
    assert "FALX_ALLOWED_HOSTS" in answer.json()["detail"]
    assert answer.headers["x-request-id"] == answer.json()["request_id"]


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
def test_probes_may_use_any_name(url: str, path: str) -> None:
    assert request(url, "GET", path, headers={"Host": "gateway:8000"}).status != 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://foreign.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:9000"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://foreign.example", "Sec-Fetch-Site": "same-origin"},
    ],
)
def test_pages_of_other_origins_may_not_write(url: str, headers: dict[str, str]) -> None:
    assert write(url, headers) == 403


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://localhost:8000"},
        {"Origin": "http://localhost:8000", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "https://viewer.example", "Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_programs_own_pages_and_allowed_origins_may_write(url: str, headers: dict[str, str]) -> None:
    assert write(url, headers) == LET_THROUGH
