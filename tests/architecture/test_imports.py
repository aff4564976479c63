"""Imports point downwards: the contracts of pyproject.toml hold, and the light parts really are light."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_import_contracts_hold() -> None:
    result = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("core.errors", ["pydantic", "numpy", "fastapi"]),
        ("core.contracts", ["numpy", "fastapi", "cv2", "onnxruntime"]),
        ("core.imaging.decode", ["fastapi", "onnxruntime"]),
        ("core.http.shell", ["numpy", "cv2", "onnxruntime", "pydicom"]),
        ("gateway.app", ["numpy", "cv2", "onnxruntime", "pydicom", "torch"]),
        ("classifier_service.app", ["torch", "monai"]),
        ("segmenter_service.slices.app", ["torch", "monai", "docket", "redis", "obstore", "nibabel", "scipy"]),
        ("segmenter_service.volumes.worker", ["torch", "monai", "nibabel", "scipy", "core.serving"]),
        ("segmenter_service.volumes.job", ["nibabel", "scipy", "pydicom", "core.serving", "fastapi", "docket"]),
    ],
)
def test_importing_stays_light(module: str, absent: list[str]) -> None:
    """What an image does not install must not be imported, not even indirectly."""
    code = f"import sys, {module}; print([name for name in {absent!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"
