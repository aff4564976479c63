"""Without keys, the browser of this machine must not become anybody's key: who may call from inside it.

A page of another site can send simple requests to a loopback port, and a DNS name that it rebinds to 127.0.0.1 makes
it read the answers too. Where no keys are configured, names other than this machine's own are refused as ``Host``, and
writes that a page of another origin sends are refused before their body is read.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from core.errors import Forbidden
from core.http.problems import problem_response
from core.telemetry.metrics import Metrics
from gateway.auth import is_loopback

ANY: Final = "*"
_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
# Asked by probes and scrapers under whatever name their network has for this machine; they tell of no patient.
_PROBES: Final = frozenset({"/livez", "/readyz", "/metrics"})
# What a browser says of a request that a page of another site began.
_FOREIGN_SITES: Final = frozenset({"cross-site", "same-site"})


class LocalCallersOnly:
    """Wraps the application of a gateway without keys. ``hosts`` and ``origins`` are allowed besides; ``*`` is any."""

    def __init__(self, app: ASGIApp, hosts: Collection[str], origins: Collection[str], metrics: Metrics) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self._origins = frozenset(origins)
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI 3: pass on, or answer 403 without reading the body."""
        if scope["type"] == "http" and scope["path"] not in _PROBES:
            fault = self._fault(scope["method"], Headers(scope=scope))
            if fault is not None:
                await problem_response(Forbidden(fault), scope, self._metrics)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _fault(self, method: str, headers: Headers) -> str | None:
        host = headers.get("host", "")
        if not self._is_ours(host):
            return (
                "Without API keys this gateway answers under the names of this machine alone (localhost, 127.0.0.1, "
                "[::1]). FALX_ALLOWED_HOSTS allows others."
            )
        if method not in _READS and self._is_foreign(headers, host):
            return (
                "Without API keys a page of another origin may not send this. FALX_CORS_ORIGINS allows single origins."
            )
        return None

    def _is_ours(self, host: str) -> bool:
        name = _name_of(host)
        return ANY in self._hosts or name in self._hosts or name.endswith(".localhost") or is_loopback(name)

    def _is_foreign(self, headers: Headers, host: str) -> bool:
        origin = headers.get("origin")
        if origin is None:
            return headers.get("sec-fetch-site") in _FOREIGN_SITES
        if origin in self._origins or ANY in self._origins:
            return False
        return urlsplit(origin).netloc.lower() != host.lower()


def _name_of(host: str) -> str:
    """The name or address in a header ``Host``: without its port, and without brackets."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""
