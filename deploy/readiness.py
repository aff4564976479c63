"""Asking a service whether it is ready."""

from __future__ import annotations

import http.client
from dataclasses import dataclass

from pydantic import ValidationError

from core.contracts.service import DependencyState, Readiness

PROBE_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Probe:
    """One look at ``/readyz``: the verdict, and in words what is there or what is missing."""

    ready: bool
    detail: str


def probe(host: str, port: int, timeout_s: float = PROBE_TIMEOUT_S) -> Probe:
    """Ask ``/readyz`` once; a server that does not answer is not ready, whatever the reason."""
    # http.client and not urllib: proxy variables of the shell must not redirect a question to loopback.
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request("GET", "/readyz", headers={"Connection": "close"})
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException):
        return Probe(ready=False, detail="does not answer yet")
    finally:
        connection.close()
    return Probe(ready=response.status == http.client.OK, detail=_detail(response.status, body))


def _detail(status: int, body: bytes) -> str:
    try:
        readiness = Readiness.model_validate_json(body)
    except ValidationError:
        return f"answered {status}"
    if readiness.ready:
        # The gateway lists the models of its servers too, as server/model: they have said so themselves.
        return ", ".join(_present(one) for one in readiness.dependencies if "/" not in one.name)
    missing = (dependency for dependency in readiness.dependencies if not dependency.ready)
    return "waits for " + (", ".join(_absent(dependency) for dependency in missing) or "itself")


def _present(dependency: DependencyState) -> str:
    named = f"{dependency.name} {dependency.version}" if dependency.version else dependency.name
    return f"{named} on {dependency.provider}" if dependency.provider else named


def _absent(dependency: DependencyState) -> str:
    return f"{dependency.name} ({dependency.detail})" if dependency.detail else dependency.name
