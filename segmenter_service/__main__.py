"""``python -m segmenter_service``: serves until SIGTERM, then finishes what is in flight."""

from __future__ import annotations

from core.serving.settings import load_settings
from core.serving.shell import run
from core.telemetry.logs import configure_logging
from segmenter_service.app import create_app
from segmenter_service.settings import SegmenterSettings


def main() -> None:
    """Reads the settings from the environment and serves."""
    settings = load_settings(SegmenterSettings)
    configure_logging("segmenter", settings.log_level)
    run(create_app(settings), settings)


if __name__ == "__main__":
    main()
