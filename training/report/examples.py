"""What the pictures show: the phantom, or, only where a caller asks for it, patients of the data sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from core.contracts.manifest import ClassificationPreprocessing
from core.contracts.tensors import PROBABILITY
from core.imaging.preparation.transforms import prepare_classification
from training.bundle.onnx_files import OnnxModel
from training.config import ClassifierConfig
from training.data.cases import BratsCases, Volume, read_volume
from training.data.multisequence import SequenceSlice
from training.data.outlined import LGG_SEQUENCES, lgg_rows, read_lgg
from training.evaluation.evaluate import subject_of
from training.evaluation.inputs import outlined_inputs, pick
from training.evaluation.mask_figures import LGG
from training.evaluation.masks import dice
from training.evaluation.predictions import MaskPredictions, predictions_path
from training.paper.presets import paper_classifier
from training.report.page import Section, dice_table
from training.report.pictures import Outlined, draw_augmented, draw_masks, draw_planes, draw_sequences, largest_cut
from training.report.scored import Scored

# Millimetres above and below the largest cut at which the phantom's masks are shown.
_STEP_MM: Final = 14
# Of the tumour slices, by Dice, those whose masks are shown.
_QUANTILES: Final = (0.1, 0.5, 0.9)
_SIDE: Final = 128
_ALL_SEQUENCES: Final = "t1+t1ce+flair"

SEQUENCES: Final = "sequences.png"
PLANES: Final = "planes.png"
AUGMENTED: Final = "augmented.png"
_PHANTOM: Final = (
    "The head is synthetic (`training/report/phantom.py`). What may be passed on differs between the data sets, and "
    "one is of doubtful provenance, so no patient's image stands here. Real slices have more in them than this; "
    "`--with-images FOLDER` draws the same figures from your own copy of the data."
)


def draw_examples(folder: Path, volume: Volume, data: Path) -> list[Section]:
    """Sequences, planes and augmented slices of a volume in ``folder``; what is said of the phantom's."""
    draw_sequences(folder / SEQUENCES, volume)
    draw_planes(folder / PLANES, volume)
    grey = volume.axial(largest_cut(volume)[2]).sequences["t1ce"]
    prepared, _ = prepare_classification(grey, ClassificationPreprocessing(size=_SIDE))
    falx = ClassifierConfig()
    presets = {"falx": falx.augmentation, "paper": paper_classifier(falx, data).augmentation}
    draw_augmented(folder / AUGMENTED, prepared[0], presets)
    return [
        Section("Sequences and planes", {SEQUENCES: "one slice in four sequences", PLANES: "three planes"}, _PHANTOM),
        Section(
            "Augmented slices",
            {AUGMENTED: "a slice changed at random as in training"},
            "The phantom's T1 post-contrast slice, prepared as for the classifier, and random changes of the presets "
            "`falx` (ours) and `paper`: only the paper's turns heads upside down. MixUp is not shown.",
        ),
    ]


def answered(item: Scored, slices: Sequence[SequenceSlice]) -> list[Outlined]:
    """Slices with the mask that a segmenter's reference graph draws from T1, T1 post-contrast and FLAIR."""
    subject = subject_of(item.home)
    model, preprocessing = OnnxModel(subject.files["reference"]), subject.preprocessing
    assert preprocessing.kind == "segmentation"
    shown = []
    for source, prepared in zip(slices, outlined_inputs(slices, preprocessing.size, pick(*LGG_SEQUENCES)), strict=True):
        probability = model.run(prepared.image[None])[PROBABILITY][0, 0]
        predicted = prepared.placement.restore(probability) >= subject.thresholds[0]
        overlap = dice(predicted, source.mask)
        shown.append(Outlined(f"Dice {overlap:.2f}", source.sequences["flair"], source.mask, predicted))
    return shown


def phantom_slices(volume: Volume) -> list[SequenceSlice]:
    """Three axial slices of a volume with its whole tumour as the mask."""
    middle = largest_cut(volume)[2]
    step = round(_STEP_MM / volume.spacing_mm[2])
    cuts = [volume.axial(position) for position in (middle - step, middle, middle + step)]
    return [SequenceSlice(cut.sequences, cut.mask, "phantom") for cut in cuts if cut.mask is not None]


def patient_volume(data: Path) -> Volume:
    """The BraTS case, of those with every region, that comes first. Raises FileNotFoundError where there is none."""
    for case in BratsCases(data / "brats").cases.values():
        volume = read_volume(case)
        if set(np.unique(volume.regions)) == {0, 1, 2, 3}:
            return volume
    raise FileNotFoundError(f"{data / 'brats'} has no case with all three regions")


def patient_slices(item: Scored, data: Path, split: str) -> list[SequenceSlice]:
    """Tumour slices of TCGA-LGG that were answered badly, as usual, and well: by quantiles of their Dice."""
    answers = MaskPredictions.load(predictions_path(item.answers, split)).shown(_ALL_SEQUENCES, LGG)
    tumour = answers.only(answers.has_tumour)
    order = np.argsort(tumour.dice)
    names = [str(tumour.images[order[round(share * (len(order) - 1))]]) for share in _QUANTILES]
    rows = {row.name: row for row in lgg_rows(data, split)}
    return list(read_lgg(data, [rows[name] for name in names]))


def masks_section(item: Scored, out: Path, volume: Volume) -> list[Section]:
    """The phantom's masks, drawn into ``out``, and the figures on patients that count instead."""
    image = f"{item.stem}-masks.png"
    draw_masks(out / image, answered(item, phantom_slices(volume)))
    text = (
        f"Three axial slices of the phantom, segmented by `{item.address}` from T1, T1 post-contrast and FLAIR. "
        f"Agreement on a drawing is no measurement; these are, on `{item.figures.split}`:\n\n{dice_table(item)}"
    )
    return [Section(f"Masks over FLAIR, {item.address}", {image: f"outline and answer of {item.address}"}, text)]


def draw_patient_masks(item: Scored, out: Path, data: Path, split: str) -> None:
    """Masks over slices of patients."""
    draw_masks(out / f"{item.stem}-masks.png", answered(item, patient_slices(item, data, split)))
