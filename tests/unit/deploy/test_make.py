"""The Makefile and the bootstrap script, run as a stranger would."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
BOOTSTRAP = ROOT / "deploy" / "bootstrap.sh"
UV_VERSION = "0.13.8"

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def bootstrap(venv: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["sh", str(BOOTSTRAP), str(venv), UV_VERSION]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """A PATH with coreutils and no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("cut", "sh"):
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    return folder


def test_a_bare_make_explains_every_target() -> None:
    text = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    for target in set(phony[1].split()) - {"help"}:
        assert f"make {target} " in text


def test_no_python_new_enough_is_said_in_words(system: Path, tmp_path: Path) -> None:
    program(system, "python3", 'case "$*" in *version*) echo Python 3.9.2; [ "$1" = --version ];; esac')
    run = bootstrap(tmp_path / "venv", PATH=str(system))
    assert run.returncode == 1
    assert run.stderr.splitlines()[0] == "Falx needs Python 3.11, 3.12, 3.13 or 3.14; found: Python 3.9.2."
    assert "PYTHON=" in run.stderr


def test_no_python_at_all_is_said_in_words(system: Path, tmp_path: Path) -> None:
    run = bootstrap(tmp_path / "venv", PATH=str(system))
    assert run.returncode == 1
    assert "found: no python3." in run.stderr


def test_a_python_without_venv_is_said_in_words(system: Path, tmp_path: Path) -> None:
    program(system, "python3", '[ "$1" = -c ]')
    run = bootstrap(tmp_path / "venv", PATH=str(system))
    assert run.returncode == 1
    assert "python3-venv" in run.stderr


def test_a_newer_python_beside_an_old_python3_is_found(system: Path, tmp_path: Path) -> None:
    program(system, "python3", "exit 1")
    calls = tmp_path / "calls"
    # Real enough to make an environment: its python notes what it is asked and has uv already.
    program(
        system,
        "python3.12",
        f'echo "$@" >> "{calls}"\n[ "$1" = -m ] || exit 0\n'
        f'mkdir -p "$4/bin"\nprintf "#!/bin/sh\\necho uv {UV_VERSION}\\n" > "$4/bin/uv"\nchmod +x "$4/bin/uv"',
    )
    system_tools = os.pathsep.join([str(system), "/usr/bin", "/bin"])
    run = bootstrap(tmp_path / "venv", PATH=system_tools, PYTHON="python3 python3.12")
    assert run.returncode == 0, run.stderr
    assert f"-m venv --clear {tmp_path / 'venv'}" in calls.read_text()


def test_an_environment_that_is_complete_is_left_alone() -> None:
    venv = Path(sys.prefix)
    if not (venv / "bin" / "uv").exists():
        pytest.skip("the tests do not run from an environment that the Makefile made")
    before = (venv / "pyvenv.cfg").stat().st_mtime_ns
    assert bootstrap(venv, PATH="/usr/bin:/bin").returncode == 0
    assert (venv / "pyvenv.cfg").stat().st_mtime_ns == before
