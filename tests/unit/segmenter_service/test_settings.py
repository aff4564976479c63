"""What the worker of volumes reads is explained where it is defined and in the documentation."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from segmenter_service import VERSION
from segmenter_service.slices.settings import SegmenterSettings
from segmenter_service.volumes.settings import VolumeSettings

ROOT = Path(__file__).parents[3]
OWN = {name: field for name, field in VolumeSettings.model_fields.items() if name.startswith("volume_")} | {
    name: SegmenterSettings.model_fields[name] for name in ("max_metadata_bytes", "max_selections")
}


@pytest.mark.parametrize("name", OWN)
def test_every_setting_is_explained(name: str) -> None:
    field = OWN[name]
    page = (ROOT / "docs" / "configuration.md").read_text()
    row = re.search(rf"^\| `FALX_{name.upper()}` \| (.+?) \| (.+) \|$", page, flags=re.MULTILINE)
    assert row is not None
    assert row.group(2) == field.description
    assert row.group(1) == ("unset" if field.default is None else f"`{str(field.default).lower()}`")


def test_the_version_that_results_carry_is_the_packages() -> None:
    project = tomllib.loads((ROOT / "segmenter_service" / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION
