"""Runs the real supervisor over toy services: ``python -m tests.support.toy_stack MODE PORT MODE PORT``.

The first pair is the lower tier ("model"), the second the upper one ("front").
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from deploy.plan import LOOPBACK, EmbeddedSettings, Service
from deploy.supervisor import Supervisor

TOY = Path(__file__).with_name("toy_service.py")


def toy(name: str, mode: str, port: int) -> Service:
    environment = {**os.environ, "FALX_HOST": LOOPBACK, "FALX_PORT": str(port), "TOY_NAME": name}
    return Service(name, (sys.executable, str(TOY), mode), port, "FALX_PORT", LOOPBACK, environment)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    model_mode, model_port, front_mode, front_port = sys.argv[1:5]
    tiers = ((toy("model", model_mode, int(model_port)),), (toy("front", front_mode, int(front_port)),))
    options = sys.argv[5:]
    supervisor = Supervisor(
        tiers,
        EmbeddedSettings(),
        say,
        follow_logs="--verbose" in options,
        stop_with_parent="--stop-with-parent" in options,
    )
    return supervisor.run(on_ready=lambda: say("all ready"))


if __name__ == "__main__":
    sys.exit(main())
