"""Who calls, and whether they may."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address
from typing import Any

from core.contracts.jobs import Priority
from core.errors import Forbidden, Unauthorized, UnsafeConfiguration
from core.jobs.quota import JobQuota
from gateway.keys import KeyRecord, KeyRing, Scope, presented_key
from gateway.settings import GatewaySettings

AUDITED = "caller"
"""Where a request's state has the name of its caller."""
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="falx"'}
CHALLENGE_INVALID = {"WWW-Authenticate": 'Bearer realm="falx", error="invalid_token"'}


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller: ``name`` is ``key:<id>`` or ``address:<ip>``, for rate limits.

    ``owner`` is whose jobs it may see: the key's id, or None where no keys are configured and everybody sees all.
    ``quota`` binds it, and ``urgent`` says whether its jobs may be: both are a matter of keys.
    """

    name: str
    owner: str | None = None
    quota: JobQuota | None = None
    urgent: bool = True

    def check_priority(self, priority: Priority) -> None:
        """Raise ``Forbidden`` for an urgent job of a key without that scope."""
        if priority == "urgent" and not self.urgent:
            raise Forbidden(f"Urgent jobs need the scope '{Scope.URGENT}'; the key '{self.owner}' does not have it.")


class Authenticator:
    """Checks keys; with no key ring everybody may call, which ``authenticator`` grants on loopback alone."""

    def __init__(self, ring: KeyRing | None) -> None:
        self._ring = ring

    @property
    def needs_key(self) -> bool:
        return self._ring is not None

    def require(
        self, headers: Mapping[str, str], address: str, scope: Scope, state: MutableMapping[str, Any] | None = None
    ) -> Principal:
        """The caller of a request that needs ``scope``; its name is noted in the request's ``state`` (``AUDITED``).

        Raises:
            Unauthorized: no key, or one that is unknown, wrong or expired.
            Forbidden: the key lacks the scope; the problem names it.
        """
        if self._ring is None:
            return _noted(Principal(f"address:{address}"), state)
        record = self._recognise(self._ring, headers)
        caller = Principal(f"key:{record.id}", record.id, record.quota, record.allows(Scope.URGENT))
        _noted(caller, state)
        if not record.allows(scope):
            held = ", ".join(sorted(record.scopes))
            raise Forbidden(f"This needs the scope '{scope}'; the key '{record.id}' has: {held}.")
        return caller

    def key_ends(self) -> Mapping[str, datetime]:
        """When keys end, by their ids."""
        return {} if self._ring is None else self._ring.expiries()

    @staticmethod
    def _recognise(ring: KeyRing, headers: Mapping[str, str]) -> KeyRecord:
        key = presented_key(headers)
        if key is None:
            raise Unauthorized(
                "Send an API key as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'.",
                headers=CHALLENGE,
            )
        record = ring.find(key)
        if record is None:
            raise Unauthorized("The API key is not valid here: unknown, wrong or expired.", headers=CHALLENGE_INVALID)
        return record


def _noted(caller: Principal, state: MutableMapping[str, Any] | None) -> Principal:
    if state is not None:
        state[AUDITED] = caller.name
    return caller


def authenticator(settings: GatewaySettings) -> Authenticator:
    """The authenticator that the settings ask for.

    Raises:
        UnsafeConfiguration: the listener is open to other machines and no key protects it, or the key file is unusable.
    """
    ring = KeyRing(settings.api_keys_file) if settings.api_keys_file else None
    if not ring and not is_loopback(settings.host) and not settings.allow_anonymous:
        raise UnsafeConfiguration(
            f"FALX_HOST={settings.host} can be reached from other machines and no API key is configured. Make one with "
            "'python -m gateway keys create --id NAME --scope infer --file keys.toml' and set FALX_API_KEYS_FILE, "
            "or listen on 127.0.0.1."
        )
    return Authenticator(ring)


def is_loopback(host: str) -> bool:
    """Whether ``host``, a name or an address, leads to this machine and can be reached from it only."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
