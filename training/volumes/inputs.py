"""Scans prepared for a graph exactly as a job is, and a network's answer for a whole one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from core.contracts.manifest import VolumePreprocessing
from core.contracts.sequences import SEQUENCES
from core.imaging.preparation.volume_transforms import PreparedVolume, VolumeSpec, prepare_volume
from core.runtime.sliding import Forward, plan_windows, slide
from training.data.archives import FloatArray
from training.data.scans import LabelledScan
from training.records import Export

# Share of a window's side by which neighbours overlap at least.
OVERLAP: Final = 0.5
# Windows that a graph is shown at once where it is shown columns.
COLUMN: Final = 4
# Copies of slices lie above it (``SegmentationPreprocessing``), and so do those of volumes, which are stacks of them.
COPY_CORRELATION: Final = 0.99


def preprocessing_of(config: Mapping[str, Any]) -> VolumePreprocessing:
    """What a network trained by a ``VolumeSegmenterConfig``, as a dictionary, needs of its inputs."""
    return VolumePreprocessing(
        sequences=SEQUENCES,
        spacing_mm=config["spacing_mm"],
        keep_thick_slices=config["keep_thick_slices"],
        copy_correlation=COPY_CORRELATION,
        window=(*config["in_plane"], config["schedule"]["phases"][-1]["size"]),
        overlap=OVERLAP,
        # Where a graph reads slices, it reads each once for all windows of a column.
        columns=config["architecture"].startswith("slices-in-volume"),
    )


def preprocessing_of_export(export: Export) -> VolumePreprocessing:
    """What an exported graph needs of its inputs. Raises ValueError for one that reads no volumes."""
    if export.volume is None:
        raise ValueError("the record is not one of a network of volumes")
    return export.volume


def predict_volume(
    forward: Forward,
    tensor: FloatArray,
    window: tuple[int, ...],
    overlap: float,
    regions: int,
    *,
    columns: bool = False,
) -> FloatArray:
    """Probabilities (regions, i, j, k) of a tensor (channels, i, j, k) by sliding windows, as in serving."""
    i, j, k = window
    plan = plan_windows(tensor.shape[1:], (i, j, k), overlap, columns=columns)
    return slide(forward, tensor, plan, regions, batch_size=COLUMN if columns else 1)


def scan_input(labelled: LabelledScan, names: tuple[str, ...], preprocessing: VolumePreprocessing) -> PreparedVolume:
    """The network's input for a scan of which ``names`` alone are shown."""
    shown = {name: labelled.sequences[name] for name in names}
    return prepare_volume(shown, VolumeSpec.of(preprocessing))
