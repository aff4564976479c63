"""``python -m deploy.embedded``: the whole of Falx on this machine, under one supervisor, on loopback."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from core.contracts.base import DISCLAIMER
from core.errors import StartupError
from core.http.known_settings import unknown_settings
from deploy.plan import EmbeddedSettings, Service, Tier, plan, port_faults, volumes_fault
from deploy.queue_server import QueueServer
from deploy.supervisor import Supervisor

SAMPLE = Path("docs/samples/slice.jpg")
_VOLUME_HINT = """
Volumes are jobs; name what you have of t1, t1ce, t2 and flair:

  curl -F flair=@flair.nii.gz -F t1ce=@t1ce.nii.gz "{url}/v1/jobs"
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until Ctrl-C; the exit code is 0 after a clean drain and 1 after any failure."""
    options = _parser().parse_args(arguments)
    if unknown := unknown_settings(os.environ):
        _say("\n".join(unknown))
        return 1
    try:
        settings = EmbeddedSettings()
    except ValidationError as error:
        for fault in error.errors():
            _say(f"FALX_{'_'.join(map(str, fault['loc'])).upper()}: {fault['msg']}")
        return 1
    # Looked at before anything is started, the queue's server included, whose address is not known yet.
    planned = plan(settings, None if volumes_fault(settings) else settings.redis_url or "unix:///")
    if faults := port_faults(_flat(planned)):
        for line in faults:
            _say(line)
        return 1
    with queue_for(settings) as redis_url:
        tiers = plan(settings, redis_url)
        services = _flat(tiers)
        _say(f"Falx starts {', '.join(service.name for service in services)} (logs: {settings.log_dir}/)")
        supervisor = Supervisor(
            tiers, settings, _say, follow_logs=options.verbose, stop_with_parent=options.stop_with_parent
        )
        return supervisor.run(on_ready=lambda: _say(welcome(services[-1], volumes=redis_url is not None)))


@contextmanager
def queue_for(settings: EmbeddedSettings) -> Iterator[str | None]:
    """The queue's address while everything runs: that of ``FALX_REDIS_URL``, else of a server of our own.

    None, with a line that says why, where volumes cannot be done here; slices need no queue.
    """
    if fault := volumes_fault(settings):
        _say(f"Volumes are off: {fault}.")
        yield None
        return
    if settings.redis_url is not None:
        yield settings.redis_url
        return
    server = QueueServer(settings.queue_dir)
    try:
        address = server.start()
    except StartupError as error:
        _say(f"Volumes are off: {error.detail}")
        yield None
        return
    try:
        yield address
    finally:
        server.stop()


def _flat(tiers: Iterable[Tier]) -> tuple[Service, ...]:
    return tuple(service for tier in tiers for service in tier)


def welcome(gateway: Service, *, volumes: bool = False) -> str:
    """Return what a person needs to know once everything is ready."""
    url = f"http://localhost:{gateway.port}" if gateway.probe_host == "127.0.0.1" else gateway.url
    return f"""
Falx is ready. {DISCLAIMER}

  page     {url}/
  docs     {url}/docs
  metrics  {url}/metrics

Try it (a synthetic picture, no patient):

  curl -F file=@{SAMPLE} "{url}/v1/classifications"
{_VOLUME_HINT.format(url=url) if volumes else ""}
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
