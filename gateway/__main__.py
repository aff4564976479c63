"""``python -m gateway`` serves; ``python -m gateway keys create`` makes an API key."""

from __future__ import annotations

from gateway.cli import cli

if __name__ == "__main__":
    cli()
