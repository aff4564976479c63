"""``python -m deploy.embedded``: the whole of Falx on this machine, under one supervisor, on loopback."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from core.contracts.base import DISCLAIMER
from deploy.plan import EmbeddedSettings, Service, plan, port_faults
from deploy.supervisor import Supervisor

SAMPLE = Path("docs/samples/slice.jpg")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until Ctrl-C; the exit code is 0 after a clean drain and 1 after any failure."""
    options = _parser().parse_args(arguments)
    try:
        settings = EmbeddedSettings()
    except ValidationError as error:
        for fault in error.errors():
            _say(f"FALX_{'_'.join(map(str, fault['loc'])).upper()}: {fault['msg']}")
        return 1
    tiers = plan(settings)
    services = tuple(service for tier in tiers for service in tier)
    if faults := port_faults(services):
        for line in faults:
            _say(line)
        return 1
    _say(f"Falx starts {', '.join(service.name for service in services)} (logs: {settings.log_dir}/)")
    supervisor = Supervisor(
        tiers, settings, _say, follow_logs=options.verbose, stop_with_parent=options.stop_with_parent
    )
    return supervisor.run(on_ready=lambda: _say(welcome(services[-1])))


def welcome(gateway: Service) -> str:
    """Return what a person needs to know once everything is ready."""
    url = f"http://localhost:{gateway.port}" if gateway.probe_host == "127.0.0.1" else gateway.url
    return f"""
Falx is ready. {DISCLAIMER}

  page     {url}/
  docs     {url}/docs
  metrics  {url}/metrics

Try it (a synthetic picture, no patient):

  curl -F file=@{SAMPLE} "{url}/v1/classifications"

Ctrl-C stops everything.
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deploy.embedded", description=__doc__)
    parser.add_argument("-v", "--verbose", action="store_true", help="print the services' own log lines as well")
    parser.add_argument(
        "--stop-with-parent", action="store_true", help="drain and stop when the process that started this one is gone"
    )
    return parser


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
