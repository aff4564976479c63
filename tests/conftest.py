"""Fixtures that every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fixtures.models import write_models


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with real, tiny ONNX bundles: tumor-classifier/1 and tumor-segmenter/1. Do not write into it."""
    return write_models(tmp_path_factory.mktemp("models"))
