"""The segmenter of slices, as every step knows it: the whole tumour on slices of up to four sequences."""

from __future__ import annotations

from typing import Final

from core.contracts.manifest import SegmentationPreprocessing
from training.kinds import Kind
from training.networks.registry import make_segmenter
from training.report.examples import draw_patient_masks, masks_section
from training.segmentation.evaluate import evaluate_segmenter, masks_by_threshold
from training.segmentation.export import calibration, comparison, export_segmenter
from training.segmentation.task import segmenter_training

# What manifests call the classic U-Net: with its channels, from the finest level to the deepest.
CLASSIC_NAME: Final = "unet-16-256"
KIND: Final = Kind(
    name="segmenter",
    task="segmentation",
    bundle_name="tumor-segmenter",
    titled="Segmenter of single slices ({})",
    worst="least Dice, or the largest outline where there is no tumour, one a patient; sizes in pixels",
    labels=lambda _config: ("tumor",),
    network=make_segmenter,
    manifest_names={"unet": CLASSIC_NAME},
    training=segmenter_training,
    preprocessing=lambda export: SegmentationPreprocessing(size=export.size),
    export=export_segmenter,
    calibration=calibration,
    comparison=comparison,
    answers=masks_by_threshold,
    evaluate=evaluate_segmenter,
    sections=masks_section,
    draw_patients=draw_patient_masks,
)
