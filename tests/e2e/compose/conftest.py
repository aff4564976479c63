"""One stack for the whole folder: built once, started once, taken down at the end."""

from __future__ import annotations

from collections.abc import Iterator

import docker
import pytest
from docker.errors import DockerException

from tests.e2e.compose.stack import ROOT, Stack, compose_command


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The running stack; tests that need it are skipped where no engine or no compose client is."""
    command = compose_command()
    if command is None:
        pytest.skip("neither docker compose nor docker-compose is installed")
    try:
        engine = docker.from_env()
    except DockerException as error:
        pytest.skip(f"no Docker engine: {error}")
    stack = Stack(command, engine)
    try:
        stack.compose("up", "-d", "--build")
        yield stack
    finally:
        stack.compose("down", "--volumes", "--remove-orphans", "--timeout", "10", check=False)
        engine.close()


@pytest.fixture(scope="session")
def image() -> bytes:
    return (ROOT / "docs" / "samples" / "slice.jpg").read_bytes()
