"""Tiny models whose answers follow from the picture, and heads that make them say what a test wants to hear.

The class is the quadrant of the head that is brightest, and surer the brighter it is; a bright spot is outlined.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.fixtures.images import to_png
from tests.fixtures.models import (
    classifier_manifest,
    classifier_network,
    segmenter_manifest,
    segmenter_network,
    write_bundle,
)

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
    """A grainy head (256, 256) with one quadrant brighter by ``lift``, and a bright spot in it; as PNG."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    v, u = (y / SIDE - 0.5) * 2, (x / SIDE - 0.5) * 2
    inside = (u / 0.72) ** 2 + (v / 0.88) ** 2 < 1
    row, column = divmod(quadrant, 2)
    grey = np.where(inside, 0.25, 0.0) + lift * (inside & ((v > 0) == bool(row)) & ((u > 0) == bool(column)))
    grey += generator.normal(0, 0.04, grey.shape) * inside
    # Single white pixels: the white that the rest is measured against, too small to be outlined.
    grey[inside & (generator.random(grey.shape) < 0.03)] = 1.0
    if spot:
        grey[np.hypot(u - 0.3 * (2 * column - 1), v - 0.35 * (2 * row - 1)) < 0.13] = 0.95
    return to_png(np.asarray(np.clip(grey, 0, 1) * 255, np.uint8))
