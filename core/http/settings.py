"""Settings that every HTTP service shares, each an environment variable ``FALX_<NAME>``; units are in the names."""

from __future__ import annotations

import os
import sys
from typing import Literal, TypeVar

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from core.http.known_settings import unknown_settings

MIB = 1024 * 1024


class ServingSettings(BaseSettings):
    """What every HTTP service reads at its start. Subclass it per service; a wrong value stops the start."""

    # A compose file hands unset variables on as empty ones.
    model_config = SettingsConfigDict(env_prefix="FALX_", env_ignore_empty=True, frozen=True, extra="ignore")

    host: str = Field(
        default="127.0.0.1",
        description=(
            "Address to listen on. A model server asks for no key: give it another address than loopback only on a "
            "private network behind the gateway."
        ),
    )
    port: int = Field(default=8000, ge=0, le=65535, description="TCP port; 0 takes any free one.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="Lowest level logged. debug adds the messages of unexpected errors, which may hold parts of the "
        "input: never use it with patient data.",
    )
    drain_delay_s: float = Field(
        default=0.0,
        ge=0,
        le=300,
        description="Seconds to go on accepting after SIGTERM while /readyz already answers 503, so that a balancer "
        "can notice before connections are refused. Behind one, set it above its health check interval.",
    )
    shutdown_grace_s: float = Field(
        default=30.0,
        gt=0,
        le=3600,
        description="Seconds that requests in flight get to finish once listening has stopped. Keep the orchestrator's "
        "stop period above drain_delay_s + shutdown_grace_s.",
    )
    keep_alive_s: int = Field(
        default=75,
        ge=1,
        le=3600,
        description="Seconds that an idle connection is kept. Above the idle time of every client in front (balancer, "
        "gateway), so that the client closes first and no request meets a closing connection.",
    )
    max_header_bytes: int = Field(
        default=64 * 1024,
        ge=4096,
        description="Size of a request's head above which it is refused with 431, so that endless headers cannot fill "
        "the memory.",
    )
    request_timeout_s: float = Field(
        default=60.0,
        gt=0,
        le=600,
        description="Deadline of a request that brings no X-Request-Timeout-Ms; no work is started after it.",
    )
    openapi: bool = Field(
        default=True, description="Serve /openapi.json and /docs. Harmless: they describe the interface, no data."
    )
    parent_fd: int | None = Field(
        default=None,
        ge=3,
        description="File descriptor of a pipe held open by a supervising process; its end of file starts the same "
        "drain as SIGTERM, so that no service outlives its supervisor. Set by the supervisor.",
    )


Settings = TypeVar("Settings", bound=BaseSettings)


def load_settings(kind: type[Settings]) -> Settings:
    """``kind`` from the environment; ends the process with one line per wrong variable. Values are not repeated.

    Wrong is a value that breaks a rule, and a variable with the prefix that is a setting of no part of Falx.
    """
    if unknown := unknown_settings(os.environ):
        sys.exit("\n".join(f"falx: {fault}" for fault in unknown))
    try:
        return kind()
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False)
        sys.exit("\n".join(f"falx: {_variable(fault['loc'])}: {fault['msg']}." for fault in faults))
    except SettingsError as error:
        sys.exit(f"falx: {error}.")


def _variable(location: tuple[int | str, ...]) -> str:
    # An empty location is a rule about several settings at once; its message names them.
    return f"FALX_{location[0]}".upper() if location else "settings"
