"""Two real stores: a local folder, and moto's S3 server on a loopback port."""

from __future__ import annotations

import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from core.blobs.settings import BlobSettings
from core.blobs.store import BlobStore, open_store
from tests.support.blobs import BUCKET


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """Address of an S3 server with an empty bucket."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    with urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{BUCKET}", method="PUT")):
        pass
    yield endpoint
    server.stop()


@pytest.fixture
def s3_settings(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> BlobSettings:
    """Settings of a store under a prefix of its own."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    return BlobSettings(blobs_url=f"s3://{BUCKET}/{uuid.uuid4().hex}", blobs_endpoint=s3_endpoint)


@pytest.fixture
def local_settings(tmp_path: Path) -> BlobSettings:
    """Settings of a local store in a folder that is not there yet."""
    return BlobSettings(blobs_url=str(tmp_path / "blobs"), blobs_min_free_bytes=0)


@pytest.fixture(params=["local", "s3"])
def settings(request: pytest.FixtureRequest) -> BlobSettings:
    """Settings of either store."""
    settings = request.getfixturevalue(f"{request.param}_settings")
    assert isinstance(settings, BlobSettings)
    return settings


@pytest.fixture
def store(settings: BlobSettings) -> BlobStore:
    """Either store, empty."""
    return open_store(settings)
