"""``python -m segmenter_service [serve|worker]``: slices over HTTP, or volumes from the queue, until SIGTERM."""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the settings from the environment and serves, or works; ends once what is in flight is finished."""
    parser = argparse.ArgumentParser(prog="python -m segmenter_service", description=__doc__)
    parser.add_argument("command", nargs="?", choices=("serve", "worker"), default="serve")
    if parser.parse_args(arguments).command == "worker":
        _work()
    else:
        _serve()


# Imported where they are needed: neither command pays for the other's libraries.
def _serve() -> None:
    from core.http.settings import load_settings
    from core.http.shell import run
    from core.telemetry.logs import configure_logging
    from segmenter_service.slices.app import create_app
    from segmenter_service.slices.settings import SegmenterSettings

    settings = load_settings(SegmenterSettings)
    configure_logging("segmenter", settings.log_level)
    run(create_app(settings), settings)


def _work() -> None:
    from segmenter_service.volumes.worker import main as work

    work()


if __name__ == "__main__":
    main()
