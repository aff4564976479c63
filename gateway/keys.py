"""API keys: how they are made, stored and looked up.

A key reads ``falx_<id>_<secret>``. The secret is 256 random bits, so one round of SHA-256 is enough to store it: there
is nothing to guess, and a slow password hash would only slow every request down.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import structlog
from pydantic import AwareDatetime, Field, ValidationError, field_validator

from core.contracts.base import Contract
from core.errors import UnsafeConfiguration
from core.jobs.quota import JobQuota

log = structlog.get_logger(__name__)

KEY_BYTES = 32
KEY_PATTERN = re.compile(r"falx_([a-z0-9][a-z0-9-]{0,31})_[A-Za-z0-9_-]{43}")
# A changed file is noticed within this time; revoking a key needs no restart.
RELOAD_INTERVAL_S = 1.0

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
KeyId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]


class Scope(StrEnum):
    """What a key may do. ``admin`` includes the others; ``urgent`` is for jobs of that priority, and needs ``jobs``."""

    INFER = "infer"
    JOBS = "jobs"
    URGENT = "urgent"
    ADMIN = "admin"


class FormerKey(Contract):
    """A key that another has taken the place of; until it ``expires`` both are good."""

    sha256: Sha256
    expires: AwareDatetime


class KeyRecord(Contract):
    """What the key file holds of one key: never the key itself.

    Whoever has the ``former`` key has the same id, and with it the same jobs, scopes and quota.
    """

    id: KeyId
    sha256: Sha256
    scopes: frozenset[Scope] = Field(min_length=1)
    expires: AwareDatetime | None = None
    former: FormerKey | None = None
    quota: JobQuota = JobQuota()

    def allows(self, scope: Scope) -> bool:
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def recognises(self, sha256: str, now: datetime) -> bool:
        """Whether a key of this hash is good, in time that does not depend on how much of the hash is right."""
        keys: list[KeyRecord | FormerKey] = [self] if self.former is None else [self, self.former]
        good = [hmac.compare_digest(sha256, key.sha256) and (key.expires is None or now < key.expires) for key in keys]
        return any(good)


class KeyFile(Contract):
    """The whole file: ``[[keys]]`` tables in TOML, or ``{"keys": [...]}`` in JSON."""

    keys: tuple[KeyRecord, ...] = ()

    @field_validator("keys")
    @classmethod
    def _ids_are_unique(cls, keys: tuple[KeyRecord, ...]) -> tuple[KeyRecord, ...]:
        ids = [key.id for key in keys]
        if repeated := {name for name in ids if ids.count(name) > 1}:
            raise ValueError(f"key ids occur twice: {', '.join(sorted(repeated))}")
        return keys


# Stands for an unknown id, so that it takes as long as a known one.
_NOBODY = KeyRecord(id="nobody", sha256="0" * 64, scopes=frozenset({Scope.INFER}))


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key fresh from the generator; ``key`` is shown once and stored nowhere."""

    key: str
    record: KeyRecord


def create_key(key_id: str, scopes: frozenset[Scope], expires: datetime | None = None) -> NewKey:
    """Make a key of 256 random bits and the record that recognises it."""
    key = f"falx_{key_id}_{secrets.token_urlsafe(KEY_BYTES)}"
    return NewKey(key, KeyRecord(id=key_id, sha256=digest(key), scopes=scopes, expires=expires))


def rotate_key(record: KeyRecord, former_until: datetime, expires: datetime | None) -> NewKey:
    """Another key for the same caller; the one that he has is good until ``former_until``, or its own end."""
    ends = former_until if record.expires is None else min(former_until, record.expires)
    new = create_key(record.id, record.scopes, expires)
    former = FormerKey(sha256=record.sha256, expires=ends)
    return NewKey(new.key, new.record.model_copy(update={"former": former, "quota": record.quota}))


def digest(key: str) -> str:
    """SHA-256 of the whole key, in hexadecimal digits."""
    return hashlib.sha256(key.encode()).hexdigest()


def read_key_file(path: Path) -> dict[str, KeyRecord]:
    """Read the records by id.

    Raises:
        UnsafeConfiguration: the file is missing or does not hold valid records.
    """
    try:
        text = path.read_text(encoding="utf-8")
        data = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
        records = KeyFile.model_validate(data).keys
    except (OSError, ValueError) as error:
        raise UnsafeConfiguration(f"the API key file {path} cannot be used: {_reason(error)}") from error
    return {record.id: record for record in records}


def _reason(error: Exception) -> str:
    """One line that never shows a value of the file: a careless operator may have pasted a key into it."""
    if isinstance(error, ValidationError):
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        return "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults)
    return str(error)


class KeyRing:
    """The records in force, read again when the file changes.

    A file that becomes unreadable or invalid while the gateway runs is reported once and the last good records stay in
    force, so that a slip of the editor does not lock every caller out.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._stamp = self._stat()
        self._checked_at = clock()
        self._records = read_key_file(path)

    def __len__(self) -> int:
        return len(self._records)

    def find(self, key: str) -> KeyRecord | None:
        """The record of a valid, unexpired key; None for anything else, in time that does not depend on the secret."""
        self._reload_if_changed()
        match = KEY_PATTERN.fullmatch(key)
        if match is None:
            return None
        record = self._records.get(match[1])
        good = (record or _NOBODY).recognises(digest(key), datetime.now(UTC))
        return record if record and good else None

    def expiries(self) -> Mapping[str, datetime]:
        """When each key that ends does, by its id."""
        self._reload_if_changed()
        return {name: record.expires for name, record in self._records.items() if record.expires is not None}

    def _reload_if_changed(self) -> None:
        now = self._clock()
        if now - self._checked_at < RELOAD_INTERVAL_S:
            return
        self._checked_at = now
        stamp = self._stat()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._records = read_key_file(self._path)
        except UnsafeConfiguration as error:
            # Without the traceback: it would add nothing to the detail.
            log.error("key file unusable", detail=error.detail, keys_in_force=len(self._records))  # noqa: TRY400
        else:
            log.info("key file read", keys_in_force=len(self._records))

    def _stat(self) -> tuple[int, int, int]:
        try:
            stat = self._path.stat()
        except OSError:
            return (0, 0, 0)
        return (stat.st_mtime_ns, stat.st_size, stat.st_ino)


def presented_key(headers: Mapping[str, str]) -> str | None:
    """The key of ``Authorization: Bearer KEY`` or ``X-API-Key: KEY``; None when there is none."""
    authorization = headers.get("authorization")
    if authorization is not None:
        kind, _, value = authorization.partition(" ")
        return value.strip() if kind.lower() == "bearer" else ""
    return headers.get("x-api-key")
