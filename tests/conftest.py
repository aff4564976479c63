"""Fixtures that every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.fixtures.models import write_models

# No test asserts how long something takes, and training's stand back behind others.
settings.register_profile("falx", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("falx")


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with real, tiny ONNX bundles: tumor-classifier/1 and tumor-segmenter/1. Do not write into it."""
    return write_models(tmp_path_factory.mktemp("models"))
