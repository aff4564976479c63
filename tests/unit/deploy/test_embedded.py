"""``python -m deploy.embedded``: what it says before anything is started, and once all is ready."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from deploy.embedded import SAMPLE, welcome
from deploy.plan import EmbeddedSettings, plan

ROOT = Path(__file__).resolve().parents[3]


def embedded(**settings: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "deploy.embedded"]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **settings}, capture_output=True, text=True, timeout=60)


def test_a_taken_port_is_one_clear_line_and_nothing_is_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        run = embedded(FALX_PORT=str(port), FALX_DATA_DIR=str(tmp_path))
    assert run.returncode == 1
    line = f"port {port} (gateway) is taken by another program: set FALX_PORT to a free port"
    assert line in run.stdout.splitlines()
    assert list(tmp_path.iterdir()) == []
    assert run.stderr == ""


def test_a_wrong_setting_names_its_variable(tmp_path: Path) -> None:
    run = embedded(FALX_SEGMENTER_PORT="many", FALX_DATA_DIR=str(tmp_path))
    assert run.returncode == 1
    assert run.stdout.startswith("FALX_SEGMENTER_PORT: ")
    assert "Traceback" not in run.stdout + run.stderr


def test_an_unknown_setting_is_named_and_nothing_is_started(tmp_path: Path) -> None:
    run = embedded(FALX_MODLES_DIR="models", FALX_DATA_DIR=str(tmp_path))
    assert run.returncode == 1
    assert run.stdout == "FALX_MODLES_DIR: There is no such setting; perhaps FALX_MODELS_DIR was meant.\n"
    assert list(tmp_path.iterdir()) == []


def test_the_welcome_has_the_addresses_and_a_curl_line_for_a_file_that_is_there() -> None:
    _, (gateway,) = plan(EmbeddedSettings(port=8123))
    text = welcome(gateway)
    for path in ("/", "/docs", "/metrics"):
        assert f" http://localhost:8123{path}\n" in text
    assert f'curl -F file=@{SAMPLE} "http://localhost:8123/v1/classifications"' in text
    assert (ROOT / SAMPLE).is_file()
    assert "Not a medical device." in text


def test_the_welcome_names_the_address_that_was_asked_for() -> None:
    _, (gateway,) = plan(EmbeddedSettings(host="192.0.2.7"))
    assert "http://192.0.2.7:8000/docs" in welcome(gateway)
