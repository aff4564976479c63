"""``python -m tests --training PYTHON [PYTEST'S ARGUMENTS]``: the whole suite, each half in its own environment.

The services' tests run here, training's with ``PYTHON``, whose environment has torch. Both begin at once: training's
compute on one core and wait for nothing, the others mostly wait, so training's stand back by their niceness. The
services' half is shown as it goes, training's when both are done, or as it goes where it is the only one. Arguments are
for both halves; paths below ``tests/`` go where they belong, and a half that none of them names is left out.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[1]
# Tests that need torch, which the services' lock leaves out; pyproject.toml has pytest ignore them without a path.
TRAINING: Final = "tests/unit/training"
NO_TESTS: Final = int(pytest.ExitCode.NO_TESTS_COLLECTED)


def main(arguments: list[str]) -> int:
    """The first exit code that tells of a failure, or 0. A half in which ``-k`` selects nothing has not failed."""
    parser = argparse.ArgumentParser(prog="python -m tests", add_help=False, allow_abbrev=False)
    parser.add_argument("--training", metavar="PYTHON", required=True)
    known, rest = parser.parse_known_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    services, training = halves(rest)
    codes: dict[str, int] = {}
    with tempfile.TemporaryFile() as log:
        # Beside the services' half it would garble the screen.
        output = None if services is None else log
        process = None if training is None else begin_training(known.training, training, output)
        try:
            if services is not None:
                codes["services"] = subprocess.run([sys.executable, "-m", "pytest", *services], cwd=ROOT).returncode
            if process is not None:
                codes["training"] = process.wait()
        finally:
            if process is not None:
                process.terminate()
                process.wait()
        show(log)
    for name, code in codes.items():
        said = {0: "passed", NO_TESTS: "none selected"}.get(code, f"failed, exit code {code}")
        sys.stdout.write(f"{name} tests: {said}\n")
    return verdict(list(codes.values()))


def halves(arguments: list[str]) -> tuple[list[str] | None, list[str] | None]:
    """pytest's arguments for the services' half and for training's; None for a half that is not to be run."""
    paths = [argument for argument in arguments if argument.startswith("tests/")]
    options = [argument for argument in arguments if argument not in paths]
    training = [path for path in paths if path.startswith(TRAINING)]
    services = [path for path in paths if path not in training]
    if not paths:
        training = [TRAINING]
    return (
        [*options, *services] if services or not paths else None,
        [*options, *training] if training else None,
    )


def begin_training(python: str, arguments: list[str], output: IO[bytes] | None) -> subprocess.Popen[bytes]:
    """Start training's half, with its own last failures, and with more time for a test: the cores are not its own."""
    options = ["-o", "cache_dir=.pytest_cache/training", "-o", "timeout=600"]
    command = ["nice", "-n", "19", python, "-m", "pytest", *options, *arguments]
    # Threads that wait for each other busily cost the tests beside them more than they gain on networks this small.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)


def show(log: IO[bytes]) -> None:
    """Write out all of ``log``."""
    log.seek(0)
    sys.stdout.flush()
    sys.stdout.buffer.write(log.read())


def verdict(codes: list[int]) -> int:
    """The suite's exit code of those of its halves."""
    return next((code for code in codes if code not in (0, NO_TESTS)), min(codes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
