"""``python -m classifier_service``: serves until SIGTERM, then finishes what is in flight."""

from __future__ import annotations

from classifier_service.app import create_app
from classifier_service.settings import ClassifierSettings
from core.http.settings import load_settings
from core.http.shell import run
from core.telemetry.logs import configure_logging


def main() -> None:
    """Reads the settings from the environment and serves."""
    settings = load_settings(ClassifierSettings)
    configure_logging("classifier", settings.log_level)
    run(create_app(settings), settings)


if __name__ == "__main__":
    main()
