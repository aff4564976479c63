"""``python -m drills.chaos``: jobs through real processes that are killed, starved and cut off meanwhile.

Exits with 1 where a promise about accepted jobs is broken. Two runs with one seed send the same jobs and do the same
damage in the same order; which job it hits is up to the machine. This process makes a folder, with a small file system
in it where the machine allows that, and leaves the rest to another one that sees it.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).resolve().parents[2]
_MOUNT: Final = 'mount -t tmpfs -o size=64m tmpfs "$1"'
_NAMESPACE: Final = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")


def main() -> int:
    """The exit code."""
    arguments = _arguments()
    if arguments.folder is not None:
        # Numerical libraries take long to load, and the process outside needs none of them.
        from drills.chaos.play import run

        return run(arguments)
    # Short: the path of Valkey's socket must fit.
    with tempfile.TemporaryDirectory(prefix="falx-chaos-") as name:
        (Path(name) / "disk").mkdir()
        command = [sys.executable, "-m", "drills.chaos", *sys.argv[1:], "--folder", name]
        if _can_mount(name):
            script = f'{_MOUNT} && shift && exec "$@"'
            command = [*_NAMESPACE, script, "sh", f"{name}/disk", *command, "--small-disk"]
        with subprocess.Popen(command, cwd=_ROOT) as process:
            # Ctrl-C is for the process inside, which has things to stop.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            return process.wait()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description="Hold the promises about jobs against damage.")
    parser.add_argument("--jobs", type=int, default=60, help="how many are sent (60)")
    parser.add_argument("--seed", type=int, default=7, help="decides on jobs, damage and pauses (7)")
    parser.add_argument("--deeds", type=int, default=None, help="how often damage is done (a third of the jobs)")
    parser.add_argument("--pause-s", type=float, default=3.0, help="longest pause between two deeds (3)")
    parser.add_argument("--limit-s", type=float, default=1800.0, help="all jobs must have ended by then (1800)")
    parser.add_argument("--cancel-limit-s", type=float, default=2.0, help="longest cancellation of a running job (2)")
    parser.add_argument("--folder", type=Path, default=None, help=argparse.SUPPRESS)
    parser.add_argument("--small-disk", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.jobs < 6:
        parser.error("--jobs: at least 6, or not every kind of job is there")
    return arguments


def _can_mount(folder: str) -> bool:
    """Whether this machine lets us have a small file system of our own, without being root."""
    try:
        probe = subprocess.run([*_NAMESPACE, _MOUNT, "sh", f"{folder}/disk"], capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return probe.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
