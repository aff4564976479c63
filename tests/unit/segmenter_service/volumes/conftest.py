"""A bench on which jobs of volumes are done in this process, with a real network."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fixtures.volume_models import write_volume_bundle
from tests.support.volume_bench import Bench


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_volume_bundle(tmp_path_factory.mktemp("volume-models"))


@pytest.fixture
def bench(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("FALX_MODELS_DIR", str(models))
    monkeypatch.setenv("FALX_BLOBS_URL", str(tmp_path / "blobs"))
    monkeypatch.setenv("FALX_BLOBS_MIN_FREE_BYTES", "0")
    return Bench(tmp_path / "blobs")
