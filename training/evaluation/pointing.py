"""Does the heat map point at the tumour? The pointing game (Zhang 2016) on outlined slices, against two controls.

A map scores when its maximum lies in the tumour's outline, or within a tolerance of 15 pixels of it in a slice whose
longest side has 256, as in the original (there in pixels of the image). The controls are the centre of the head,
since most tumours lie near it, and the same graph with random weights, since the architecture alone may follow edges
(Adebayo 2018).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import cv2
import numpy as np
import onnx
from onnx import numpy_helper

from core.contracts.manifest import ClassificationPreprocessing, Manifest
from core.imaging.preparation.evidence import place_evidence
from core.imaging.preparation.transforms import Placement
from training.data.archives import BoolArray, FloatArray

TOLERANCE_PX: Final = 15
_TOLERANCE_SIDE_PX: Final = 256
Point = tuple[int, int]
"""(row, column) in the slice's own pixels."""


class Hit(NamedTuple):
    """Whether a point lies inside the outline, and whether within the tolerance of it."""

    inside: bool
    near: bool


def strongest_point(evidence: FloatArray, placement: Placement, manifest: Manifest) -> Point | None:
    """Where a map (h', w') is largest in the slice, as it is served; None where nothing speaks for the class."""
    preprocessing = manifest.preprocessing
    if not isinstance(preprocessing, ClassificationPreprocessing):
        raise TypeError(f"{manifest.name} is no classifier")
    heat = place_evidence(evidence, placement, preprocessing.size, manifest.map_geometry)
    place = int(np.argmax(heat))
    return (place // heat.shape[1], place % heat.shape[1]) if heat.any() else None


def head_centre(placement: Placement) -> Point:
    """Centre of the head's box."""
    box = placement.box
    return (box.top + box.bottom) // 2, (box.left + box.right) // 2


def hit(point: Point | None, mask: BoolArray) -> Hit:
    """Whether ``point`` meets ``mask`` (h, w); no point never does."""
    if point is None:
        return Hit(inside=False, near=False)
    tolerance = TOLERANCE_PX * max(mask.shape) / _TOLERANCE_SIDE_PX
    distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[point]
    return Hit(bool(mask[point]), bool(distance <= tolerance))


def randomise_weights(source: Path, target: Path, seed: int = 0) -> None:
    """Write the graph ``source``, whose weights are floats, with every weight tensor drawn anew; biases stay.

    The spread is that of He 2015, which keeps signals alive through many rectified layers.
    """
    model = onnx.load(source)
    generator = np.random.default_rng(seed)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.ndim > 1 and np.issubdtype(values.dtype, np.floating):
            spread = np.sqrt(2 / np.prod(values.shape[1:]))
            drawn = generator.normal(0, spread, values.shape).astype(values.dtype)
            tensor.CopyFrom(numpy_helper.from_array(drawn, tensor.name))
    onnx.save(model, target)
