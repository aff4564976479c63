"""The command line of the gateway."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from core.errors import StartupError
from gateway.keys import NewKey, Scope, create_key, read_key_file

cli = typer.Typer(help="The gateway of Falx. Without a command it serves.", no_args_is_help=False, add_completion=False)
keys = typer.Typer(help="API keys.", no_args_is_help=True)
cli.add_typer(keys, name="keys")


@cli.callback(invoke_without_command=True)
def serve(context: typer.Context) -> None:
    """Serve, as the environment variables FALX_* say, until SIGTERM."""
    if context.invoked_subcommand is not None:
        return
    # The command that only makes keys should not wait for the web framework.
    from core.http.settings import load_settings
    from core.http.shell import run
    from core.telemetry.logs import configure_logging
    from gateway.app import create_app
    from gateway.settings import GatewaySettings

    settings = load_settings(GatewaySettings)
    configure_logging("gateway", settings.log_level)
    try:
        app = create_app(settings)
    except StartupError as error:
        sys.exit(f"falx: {error.detail}")
    run(app, settings)


@keys.command()
def create(
    key_id: Annotated[str, typer.Option("--id", help="Name of the caller: lower-case letters, digits and hyphens.")],
    scope: Annotated[list[Scope], typer.Option(help="What the key may do; may be repeated.")],
    days: Annotated[int | None, typer.Option(min=1, help="Days until the key expires; without it, never.")] = None,
    file: Annotated[Path | None, typer.Option(help="TOML key file to append the record to.")] = None,
) -> None:
    """Make an API key: it is shown this once, and only its hash is kept."""
    expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=days) if days else None
    try:
        new = create_key(key_id, frozenset(scope), expires)
        if file is not None:
            _append(file, new)
    except ValidationError:
        raise _misuse(f"'{key_id}' is no id: 1 to 32 lower-case letters, digits and hyphens, no hyphen first") from None
    except StartupError as error:
        raise _misuse(error.detail) from None
    typer.echo(f"Key (shown this once): {new.key}")
    typer.echo(f"Record added to {file}." if file else f"Record for the key file:\n\n{_toml(new)}")


def _append(file: Path, new: NewKey) -> None:
    if file.exists() and new.record.id in read_key_file(file):
        raise _misuse(f"{file} already has a key with the id '{new.record.id}'")
    # Created for its owner alone: hashes of random keys give nothing away, ids and scopes may.
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "a", encoding="utf-8") as out:
        out.write(_toml(new) + "\n")


def _toml(new: NewKey) -> str:
    record = new.record
    scopes = ", ".join(f'"{scope}"' for scope in sorted(record.scopes))
    lines = [
        "[[keys]]",
        f'id = "{record.id}"',
        f'sha256 = "{record.sha256}"',
        f"scopes = [{scopes}]",
    ]
    if record.expires is not None:
        lines.append(f"expires = {record.expires.isoformat()}")
    return "\n".join(lines) + "\n"


def _misuse(reason: str) -> typer.BadParameter:
    return typer.BadParameter(reason)
