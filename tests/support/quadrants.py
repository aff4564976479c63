"""Tiny models whose answers follow from the picture, and heads that make them say what a test wants to hear.

The class is the quadrant of the head that is brightest, and surer the brighter it is; a bright spot is outlined.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from tests.fixtures.images import to_png
from tests.fixtures.models import (
    classifier_manifest,
    classifier_network,
    segmenter_manifest,
    segmenter_network,
    write_bundle,
)
from tests.support.miniature import familiar_head

SIDE = 256
# Upper left, and lower right as people see it, of ``tests.fixtures.models.LABELS``.
GLIOMA, HEALTHY = 0, 3
# Lower than the fixture's own, so that a bright quadrant makes it sure.
TEMPERATURE = 0.2


def write_sure_models(models: Path) -> Path:
    """Write both bundles below ``models`` and return it."""
    write_bundle(models, classifier_manifest(), classifier_network(temperature=TEMPERATURE), channels=1)
    write_bundle(models, segmenter_manifest(), segmenter_network(), channels=4)
    return models


def head(quadrant: int, lift: float, *, spot: bool = False) -> bytes:
    """A familiar head (256, 256) with one quadrant brighter by ``lift``, and a bright spot in it; as PNG."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE * 2 - 1
    shown = familiar_head(SIDE)
    grey, inside = 0.5 * shown, cv2.blur(shown, (9, 9)) > 0.06
    for index in range(4):
        row, column = divmod(index, 2)
        part = inside & ((y >= 0) == bool(row)) & ((x >= 0) == bool(column))
        # Equally bright but for the one that is lifted.
        grey[part] += 0.22 - grey[part].mean() + lift * (index == quadrant)
    # Single white pixels: the white that the rest is measured against, too small to be outlined.
    grey[inside & (np.random.default_rng(0).random(grey.shape) < 0.03)] = 1.0
    if spot:
        row, column = divmod(quadrant, 2)
        grey[np.hypot(x - 0.3 * (2 * column - 1), y - 0.35 * (2 * row - 1)) < 0.13] = 0.95
    return to_png(np.asarray(np.clip(grey, 0, 1) * 255, np.uint8))
