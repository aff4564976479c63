"""Names of what a network takes and gives, by task: exported, served and evaluated under these names alone."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

Task = Literal["classification", "segmentation", "volume-segmentation"]

IMAGE: Final = "image"
"""Slices (n, channels, h, w) of a classifier, in [0, 1]."""
IMAGES: Final = "images"
"""Sequences of slices (n, sequences, h, w) of a segmenter, in [0, 1]."""
VOLUMES: Final = "volumes"
"""Windows of volumes (n, sequences, i, j, k), in [0, 1]."""

LOGITS: Final = "logits"
"""Calibrated logits (n, labels)."""
CAM: Final = "cam"
"""Class activation maps (n, labels, h, w)."""
ENERGY: Final = "energy"
"""Energy (n,) of the logits, for the input check."""
FEATURES: Final = "features"
"""Penultimate features (n, f)."""
DISTANCE: Final = "distance"
"""Distance (n,) of the features to those of the training data."""
PROBABILITY: Final = "probability"
"""Probabilities (n, regions, ...) by pixel or voxel, in [0, 1]."""


class GraphTensors(NamedTuple):
    """The one input of a task's graph and the outputs that it must have, in their order."""

    input: str
    outputs: tuple[str, ...]


TENSORS: Final[dict[Task, GraphTensors]] = {
    "classification": GraphTensors(IMAGE, (LOGITS, CAM, ENERGY, FEATURES, DISTANCE)),
    "segmentation": GraphTensors(IMAGES, (PROBABILITY,)),
    "volume-segmentation": GraphTensors(VOLUMES, (PROBABILITY,)),
}
