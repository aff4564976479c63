"""The command line of the gateway."""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

import typer
from pydantic import ValidationError

from core.errors import StartupError
from gateway.keys import KeyFile, KeyRecord, NewKey, Scope, create_key, read_key_file, rotate_key

cli = typer.Typer(help="The gateway of Falx. Without a command it serves.", no_args_is_help=False, add_completion=False)
keys = typer.Typer(help="API keys.", no_args_is_help=True)
cli.add_typer(keys, name="keys")


# A year: a key that nobody remembers ends by itself.
_DAYS: Final = 365
DaysOption = Annotated[int, typer.Option(min=1, help="Days until the key expires.")]
NeverOption = Annotated[bool, typer.Option("--never", help="The key never expires.")]


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
    days: DaysOption = _DAYS,
    never: NeverOption = False,
    file: Annotated[Path | None, typer.Option(help="TOML key file to append the record to.")] = None,
) -> None:
    """Make an API key: it is shown this once, and only its hash is kept."""
    try:
        new = create_key(key_id, frozenset(scope), None if never else _in(days))
        if file is not None:
            _append(file, new)
    except ValidationError:
        raise _misuse(f"'{key_id}' is no id: 1 to 32 lower-case letters, digits and hyphens, no hyphen first") from None
    except StartupError as error:
        raise _misuse(error.detail) from None
    typer.echo(f"Key (shown this once): {new.key}")
    typer.echo(f"Record added to {file}." if file else f"Record for the key file:\n\n{_toml(new)}")


@keys.command()
def rotate(
    key_id: Annotated[str, typer.Option("--id", help="The caller who gets another key.")],
    file: Annotated[Path, typer.Option(help="TOML key file that has the record.")],
    overlap: Annotated[int, typer.Option(min=0, help="Days for which the old key stays good.")] = 7,
    days: DaysOption = _DAYS,
    never: NeverOption = False,
) -> None:
    """Make another key for a caller, who keeps id, scopes, quota and jobs. Both keys are good for a while."""
    try:
        records = read_key_file(file)
        if key_id not in records:
            raise _misuse(f"{file} has no key with the id '{key_id}'")
        new = rotate_key(records[key_id], _in(overlap), None if never else _in(days))
        _replace(file, records, new)
    except StartupError as error:
        raise _misuse(error.detail) from None
    typer.echo(f"Key (shown this once): {new.key}")
    typer.echo(f"The old one is good for {overlap} days more, if it does not end before.")


def _in(days: int) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)


def _replace(file: Path, records: Mapping[str, KeyRecord], new: NewKey) -> None:
    """Change the lines of the file's ``records`` that rotating changes, and leave comments and order as they are.

    Raises typer.BadParameter for a file in which they are not lines of their own, and leaves it alone.
    """
    names = ("sha256", "expires", "former")
    kept, found = [], 0
    inside = False
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.strip() == f'sha256 = "{records[new.record.id].sha256}"':
            found, inside = found + 1, True
            kept += _changing(new)
            continue
        inside = inside and not line.startswith("[")
        if not (inside and line.partition("=")[0].strip() in names):
            kept.append(line)
    text = "\n".join(kept) + "\n"
    if found != 1 or not _holds(text, {**records, new.record.id: new.record}):
        raise _misuse(f"{file} is not written as 'keys create' writes: change it by hand, as docs/api.md shows")
    # In its place: a container has this very file mounted, and would not see another one of its name. Over what is
    # there, since an empty file would lock everybody out for as long as it is read as one.
    with file.open("r+b") as out:
        out.write(text.encode())
        out.truncate()


def _holds(text: str, records: Mapping[str, KeyRecord]) -> bool:
    try:
        return KeyFile.model_validate(tomllib.loads(text)).keys == tuple(records.values())
    except ValueError:
        return False


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
    return "\n".join(["[[keys]]", f'id = "{record.id}"', f"scopes = [{scopes}]", *_changing(new)]) + "\n"


def _changing(new: NewKey) -> list[str]:
    """The lines of a record that another key changes."""
    record = new.record
    lines = [f'sha256 = "{record.sha256}"']
    if record.expires is not None:
        lines.append(f"expires = {record.expires.isoformat()}")
    if record.former is not None:
        former = record.former
        lines.append(f'former = {{sha256 = "{former.sha256}", expires = {former.expires.isoformat()}}}')
    return lines


def _misuse(reason: str) -> typer.BadParameter:
    return typer.BadParameter(reason)
