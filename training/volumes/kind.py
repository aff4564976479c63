"""The segmenter of volumes, as every step knows it: nested regions of whole scans with up to four sequences."""

from __future__ import annotations

from typing import Final

from training.data.scans import REGIONS
from training.kinds import Kind
from training.networks.registry import make_volume_segmenter
from training.report.page import volume_section
from training.volumes.evaluate import evaluate_volumes
from training.volumes.export import calibration, comparison, export_volume_segmenter
from training.volumes.inputs import preprocessing_of_export
from training.volumes.task import VolumeSegmenterTask

KIND: Final = Kind(
    name="volume-segmenter",
    task="volume-segmentation",
    bundle_name="tumor-volume",
    titled="Segmenter of volumes ({})",
    worst="least Dice, one a patient; sizes in voxels",
    labels=lambda _config: REGIONS,
    network=make_volume_segmenter,
    training=lambda config, data, device, _origins: VolumeSegmenterTask(config, data, device),
    preprocessing=preprocessing_of_export,
    # The window is that of training.
    export=lambda trained, run, data, _sizes: export_volume_segmenter(trained, run, data),
    calibration=calibration,
    comparison=comparison,
    evaluate=evaluate_volumes,
    sections=lambda item, _out, _volume: [volume_section(item)],
    scored_by_report=False,
)
