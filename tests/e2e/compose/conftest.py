"""One stack for the whole folder: built once, started once, taken down at the end."""

from __future__ import annotations

import gc
import json
import warnings
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from docker.errors import DockerException

from tests.fixtures.volume_models import write_volume_bundle
from tests.support.compose_stack import ROOT, Stack, compose_command


def with_volume_model(folder: Path) -> Path:
    """A compose file that puts a tiny model for volumes into the worker, whatever its image ships."""
    models = write_volume_bundle(folder / "models")
    for path in (folder, models, *models.rglob("*")):
        path.chmod(0o755)
    override = folder / "volumes.yml"
    mount = f"{models}:/app/models:ro"
    override.write_text(json.dumps({"services": {"segmenter-worker": {"volumes": [mount]}}}))
    return override


def connect() -> docker.DockerClient | str:
    """The engine, or why there is none."""
    try:
        return docker.from_env()
    except DockerException as error:
        reason = str(error)
    # The client leaves the socket of a failed connection to the garbage, which warns, and warnings are errors here.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    return reason


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The running stack; tests that need it are skipped where no engine or no compose client is."""
    command = compose_command()
    if command is None:
        pytest.skip("neither docker compose nor docker-compose is installed")
    engine = connect()
    if isinstance(engine, str):
        pytest.skip(f"no Docker engine: {engine}")
    folder = tmp_path_factory.mktemp("compose")
    # The engine reads it as root, the worker as nobody in particular.
    folder.parent.chmod(0o755)
    stack = Stack(command, engine, overrides=(with_volume_model(folder),))
    try:
        stack.compose("up", "-d", "--build")
        yield stack
    finally:
        stack.compose("down", "--volumes", "--remove-orphans", "--timeout", "10", check=False)
        engine.close()


@pytest.fixture(scope="session")
def image() -> bytes:
    return (ROOT / "docs" / "samples" / "slice.jpg").read_bytes()
