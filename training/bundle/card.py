"""``CARD.md``: what a model is, what it was measured on, and what it must not be used for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from core.contracts.manifest import Manifest, Metric, VolumePreprocessing
from training.bundle.cost import RUNS, core
from training.networks.registry import title
from training.records import Evaluate, Export, KindName, Quantize

_ON_AN_ENCODER: Final = """\
A U-Net whose encoder is an EfficientNet-Lite2, with four input channels (T1, T1 post-contrast, T2, FLAIR). The encoder
began with the published ImageNet weights, learnt the classifier's six labels on the slices of `train`, and then, with
the decoder, to outline: on the `train` split of TCGA-LGG, the outlined Figshare slices of `train` (each kind of tumour
as often as another), axial slices of five BraTS 2021 cases, and slices of heads without tumour. Sequences were dropped
at random, so any non-empty subset is accepted; one grey slice of unknown sequence fills all channels. "Tumour" is the
FLAIR abnormality in TCGA-LGG, the enhancing lesion in Figshare and the whole tumour in BraTS. The weights are the mean
of two runs, the second of which went on from the first. Threshold and weights were chosen on `val`, where TCGA-LGG with
three sequences, TCGA-LGG with FLAIR alone, and outlined Figshare slices counted alike. All BraTS cases were used in
training: there is no measurement on them."""

_METHOD: Final = {
    "classifier": """\
A ResNet50 for one grey channel, trained from scratch on the `train` split at growing input sizes: first at half
its width, then with every channel doubled and, beside the labels, the answers of a teacher as targets: an
EfficientNet-Lite0 with ImageNet weights, fine-tuned on the same split. A second output (dropped from the shipped
graph) learnt the tumour's outline where it is known. CT heads among the no-tumour slices were kept out of training.
The slice is shown as it was framed, with all its greys: cut only where the head is small in it, padded square and
resized.
The temperature was fitted on `val`, and so was the threshold of the prediction sets: on the answers of each half
at the temperature of the other half, which shares no patient or cluster with it.""",
    "efficientnet-lite0": """\
An EfficientNet-Lite0 that began with the published ImageNet weights, fine-tuned on the `train` split. CT heads among
the no-tumour slices were kept out of training. The slice is shown as it was framed, with all its greys: cut only where
the head is small in it, padded square and resized.
The temperature was fitted on `val`, and so was the threshold of the prediction sets: on the answers of each half
at the temperature of the other half, which shares no patient or cluster with it.""",
    "efficientnet-lite2+efficientnet-lite2+efficientnet-lite2": """\
Three EfficientNet-Lite2 side by side, whose logits are averaged: each was fine-tuned from the published ImageNet
weights on the `train` split alone, at 192 pixels, with other draws than the others and for another time; the weights of
the first are the mean of two runs, the second of which went on from the first. Each reads the slice, and one linear
layer reads what all of them pooled, so that the maps are exact. All know six classes, and were taught to find the
evidence for the class on the tumour where its outline is known. CT heads among the no-tumour slices were kept out of
training.

The slice is shown as it was framed, with all its greys: cut only where the head is small in it, padded square and
resized. The temperature and the threshold of the prediction sets come from `val`; that threshold from the answers of
each half at the temperature of the other half, which shares no patient or cluster with it.""",
    "segmenter": """\
A classic U-Net with four input channels (T1, T1 post-contrast, T2, FLAIR), trained on the `train` split of TCGA-LGG,
the outlined Figshare slices of `train`, axial slices of five BraTS 2021 cases, and slices of heads without tumour.
Sequences were dropped at random, so any non-empty subset is accepted; one grey slice of unknown sequence fills all
channels. "Tumour" is the FLAIR abnormality in TCGA-LGG, the enhancing lesion in Figshare and the whole tumour in BraTS.
It went on from the weights of the release before; 40 % of its loss is against the outline, 60 % against the answer of a
U-Net with an EfficientNet-Lite0 encoder (ImageNet weights, then the classifier's labels), fine-tuned on the same
splits. The threshold was chosen on `val`, where TCGA-LGG with three sequences, TCGA-LGG with FLAIR alone, and outlined
Figshare slices counted alike. All BraTS cases were used in training: there is no measurement on them.""",
    "efficientnet-lite2-unet": _ON_AN_ENCODER,
    "efficientnet-lite2-unet+unet": f"""\
{_ON_AN_ENCODER}

Where T1, T1 post-contrast and FLAIR are all shown, and none of them repeats another, a second network is asked, and the
answer is the mean of both logits: the classic U-Net that was `tumor-segmenter` before, trained on the same splits at
160 pixels, 40 % of its loss against the outline and 60 % against the answer of a U-Net with an EfficientNet-Lite0
encoder. With fewer sequences it is not computed at all.""",
    "volume-segmenter": """\
Slices first, then the volume: a classic U-Net, the `tumor-segmenter` of its day, reads every axial slice (T1, T1
post-contrast, T2, FLAIR), and a 3D U-Net with residual blocks and attention gates reads what it found in all of them,
at half the resolution in plane. What both say is added; one sigmoid for each of three nested regions. The slice network
kept its weights, which come from TCGA-LGG, Figshare and BraTS slices; the 3D network and the slice network's layer for
the inner regions were trained on patches of the `train` patients of TCGA-LGG, their slices stacked as volumes, and of
four BraTS 2021 cases. TCGA-LGG knows the whole tumour alone and teaches nothing else; the two inner regions were learnt
from the BraTS cases, two of which have enhancing tumour. Sequences were dropped at random, most often down to FLAIR
alone, so any non-empty subset is accepted: absent sequences are zero, and so is one that repeats another. The voxel
size of the TCGA-LGG slices is not known: 1 mm pixels and a common height of 160 mm stand for it. Slices further apart
than 3 mm are never interpolated. Thresholds and the smallest piece of tumour that is kept were chosen on the `val`
patients of TCGA-LGG, shown with all their sequences and with FLAIR alone; no BraTS case is in `val`, so the thresholds
of the inner regions are 0.5.""",
}

_LIMITS: Final = {
    "classifier": (
        "These classes only. Any other finding is forced into one of them; see the input check and the prediction set.",
        "`no_tumor` comes from other sources than most tumours: a part of what separates it may be the source.",
        "Figshare is T1 post-contrast only; pituitary tumours were seen in no other source.",
        "Patients of two of the sources are unknown; their intervals resample clusters of near-duplicates instead.",
        "The validation split is small and was used for several choices; the stated coverage of the prediction sets is "
        "an aim there, and a measurement on `test`.",
        "The published splits contain CT heads in `val` (one); `test` stays as it was given.",
        "`python -m training audit` finds a near copy in `train` for 81 of the 1,028 labelled `test` slices "
        "of six classes (58 feltrin, 20 nickparvar, 3 sartaj), which the published clusters missed"
        ": read the figures as hopeful.",
    ),
    "segmenter": (
        "T2 was seen in five BraTS cases only, and those are skull-stripped.",
        "What counts as tumour differs between the training sets (see above): with T1 post-contrast alone the outline "
        "is likely to be that of the enhancing part.",
        "Slices are treated one by one; nothing smooths the outline between neighbours.",
        "In some TCGA-LGG patients a sequence repeats another because it was missing: such copies are left out.",
        "Heads without tumour were shown as one grey slice of unknown sequence, and come from other sources than those "
        "with one: a part of what tells them apart may be the source.",
    ),
    "volume-segmenter": (
        "Tumour core and enhancing tumour were learnt from four BraTS cases and measured on two: do not rely on them.",
        "One of the two held-out BraTS cases (01485) was not held out from the slice network, which learnt the whole "
        "tumour from slices of it, though no inner region: read that figure as hopeful.",
        "T2 was seen in those BraTS cases only, and they are skull-stripped.",
        "The voxel size of the TCGA-LGG volumes is nominal, in training and in the figures: a wrong slice spacing in a "
        "header is tolerated in part, and volumes in ml are as right as the header.",
        "Some BraTS patients may also be TCGA-LGG patients.",
        "Nearly all of the training data are low-grade gliomas. Every patient has a tumour: healthy heads were not "
        "measured.",
        "Where a region is absent in truth its Dice is 1 for an empty answer and 0 for any other.",
    ),
}


# Which answers are shown as failures (``training.evaluation.failures``).
_WORST: Final[Mapping[KindName, str]] = {
    "classifier": "the most certain wrong answers, one a patient or cluster",
    "segmenter": "least Dice, or the largest outline where there is no tumour, one a patient; sizes in pixels",
    "volume-segmenter": "least Dice, one a patient; sizes in voxels",
}
# What was measured of these networks alone.
_LIMITS_OF: Final = {
    "efficientnet-lite2+efficientnet-lite2+efficientnet-lite2": (
        "Its heat map is the exact evidence for the class and no outline: on `test` its highest point lies within 15 "
        "pixels of the tumour on 0.91 of the outlined slices (`python -m training trust`), the centre of the head on "
        "0.49.",
        "How a slice is framed matters: of `val`, four labels, 0.929 is right as published, 0.913 cut to the head, "
        "0.913 with 6 % cut off two sides, 0.858 where the field of view is 1.3 times as wide (docs/adr/0025).",
        "Without the `test` slices that have a near copy in `train`, the accuracy over four labels is 0.924, balanced "
        "0.936.",
        "Two of its three networks alone were picked on `val` first and scored on `test`: 0.9297 over four labels. The "
        "three, likelier on `val`, were scored after that, the seventh classifier that was: read the figures as "
        "slightly hopeful (docs/adr/0025).",
    ),
}


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [_row(header), _row("---" for _ in header), *(_row(row) for row in rows)]
    return "\n".join(lines)


def _interval(metric: Metric) -> str:
    return f"{metric.interval[0]:.3f} to {metric.interval[1]:.3f}" if metric.interval else ""


def _figures(evaluated: Evaluate | None) -> str:
    if evaluated is None:
        return "Not evaluated: an intermediate state for development."
    int8 = {(metric.name, metric.data_set): metric.value for metric in evaluated.int8}
    rows = []
    for metric in evaluated.reference:
        other = int8.get((metric.name, metric.data_set))
        shown = "" if other is None else f"{other:.3f}"
        count = f"{metric.count} {metric.count_unit}"
        rows.append([metric.name, metric.data_set, count, f"{metric.value:.3f}", _interval(metric), shown])
    head = ["figure", "data", "n", "reference", "95 % interval", "int8"]
    note = (
        f"Split `{evaluated.split}`. Intervals: bootstrap, whole patients (where unknown: whole clusters of "
        "near-duplicates) drawn with replacement."
    )
    return f"{note}\n\n{_table(head, rows)}"


def _confusion(evaluated: Evaluate | None, labels: tuple[str, ...]) -> str:
    if evaluated is None or not evaluated.confusion:
        return ""
    rows = [[label, *map(str, row)] for label, row in zip(labels, evaluated.confusion, strict=True)]
    return "\n\nConfusion (rows: truth, columns: answer)\n\n" + _table(["", *labels], rows)


def _failures(evaluated: Evaluate | None, kind: KindName) -> str:
    if evaluated is None or not evaluated.failures:
        return ""
    rows = [[f"`{item.name}`", item.data_set, item.truth, item.answer] for item in evaluated.failures]
    return f"""

## Failures

Of the reference on `{evaluated.split}`, by the names that the data have: {_WORST[kind]}. Examples, no statistics.

""" + _table(["what", "data", "truth", "answer"], rows)


def _shown(export: Export) -> str:
    """What a graph is run on at once."""
    if export.volume is not None:
        return f"a window of {_by(export.volume.window)} voxels"
    return "a slice" if export.kind == "classifier" else "a slice with every sequence"


def _files(manifest: Manifest, export: Export, quantized: Quantize | None, costs: Mapping[str, float]) -> str:
    rows = [
        [f"`{file.name}`", file.variant, f"{file.size_bytes / 2**20:.1f} MiB", f"{costs[file.name]:.1f}"]
        for file in manifest.files
    ]
    text = _table(["file", "variant", "size", "CPU ms"], rows)
    text += (
        f"\n\nCPU ms: one run for {_shown(export)} on one core ({core()}), decoding not included; the median of "
        f"{RUNS} runs, the files in turn."
    )
    text += (
        f"\n\nThe reference stores its weights as fp16 and computes in float32. It agrees with torch to "
        f"{export.parity:.1e} with the same weights; rounding them to fp16 changes outputs by at most "
        f"{export.rounding:.1e}."
    )
    if quantized:
        verdict = "may be the CPU's default" if quantized.passes_gate else "is not the CPU's default"
        agreement = ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in quantized.agreement.items())
        text += f" Against it on `val`, int8 has: {agreement}; it {verdict}."
    return text


def _method(export: Export) -> str:
    usual = (None, "resnet50", "unet", "slices-in-volume")
    if export.preset == "falx" and not export.multitask:
        if export.architecture in _METHOD:
            return _METHOD[export.architecture]
        if export.architecture in usual:
            return _METHOD[export.kind]
    outlines = " A second output outlines the tumour." if export.multitask else ""
    network = title(export.architecture or "unet")
    return f"{network}, trained on the `train` split with the preset `{export.preset}`.{outlines}"


def _operating_point(manifest: Manifest, export: Export) -> str:
    if export.volume is not None:
        return _volume_operating_point(export, export.volume)
    scores = ", ".join(f"{score:.3f} at {size}" for size, score in export.sizes.items())
    lines = [f"- input: {export.size} x {export.size} pixels; on validation {scores}"]
    if export.temperature is not None:
        folded = manifest.calibration is None or manifest.calibration.temperature_in_graph
        applied = "folded into the logits" if folded else "applied by the service: label sets share the graph"
        lines.append(f"- temperature {export.temperature:.3f}, {applied}")
        lines.append(
            f"- prediction sets: 1 - p <= {export.conformal_quantile:.4f}, aimed at {export.coverage:.0%} coverage"
        )
        energy = "" if export.max_energy is None else f", energy <= {export.max_energy:.2f}"
        lines.append(f"- input check: distance <= {export.max_distance:.2f}{energy}")
    if export.threshold is not None:
        lines.append(f"- a pixel is tumour from a probability of {export.threshold:.2f} on")
    if "+" not in (export.architecture or ""):
        lines.append(f"- {export.images_seen} augmented slices seen in training")
    return "\n".join(lines)


def _spacing(volume: VolumePreprocessing) -> str:
    if volume.spacing_mm is None:
        return "the scan's own spacing"
    thick = "; thicker slices stay as they are" if volume.keep_thick_slices else ""
    return f"{_by(volume.spacing_mm)} mm{thick}"


def _by(sides: Sequence[float]) -> str:
    return " x ".join(f"{side:g}" for side in sides)


def _volume_operating_point(export: Export, volume: VolumePreprocessing) -> str:
    window = _by(volume.window)
    shown = "columns of windows" if volume.columns else "windows"
    spacing = _spacing(volume)
    scores = ", ".join(f"{score:.3f}" for score in export.sizes.values())
    regions = zip(export.labels, export.thresholds or (), strict=False)
    chosen = ", ".join(f"{name.replace('_', ' ')} {threshold:.2f}" for name, threshold in regions)
    return f"""\
- input: {shown} of {window} voxels, overlapping by {volume.overlap:.0%} of their side at least; voxels of {spacing}
- a voxel belongs to a region from these probabilities on: {chosen}
- connected pieces of less than {export.smallest_component_ml:g} ml are left out
- mean whole-tumour Dice on validation, all sequences and FLAIR alone together: {scores}
- {export.images_seen} augmented patches seen in training"""


def model_card(
    manifest: Manifest,
    export: Export,
    quantized: Quantize | None,
    evaluated: Evaluate | None,
    costs: Mapping[str, float],
) -> str:
    """The card as Markdown. ``costs``: CPU milliseconds a run by file name (``training.bundle.cost``)."""
    limits = "\n".join(
        f"- {limit}" for limit in (*_LIMITS[export.kind], *_LIMITS_OF.get(export.architecture or "", ()))
    )
    data_sets = "\n".join(f"- {name}" for name in manifest.data_sets)
    return f"""# {manifest.title}

**{manifest.intended_use}**

`{manifest.name}` version {manifest.version}, labels: {", ".join(manifest.labels)}.

## How it was made

{_method(export)}

{_operating_point(manifest, export)}

## Data

{data_sets}

None of the images is part of this project. The splits are those published with the data: near-duplicates were
clustered over all sources, and no known patient crosses a split.

## Figures

{_figures(evaluated)}{_confusion(evaluated, manifest.labels)}{_failures(evaluated, export.kind)}

## Files

{_files(manifest, export, quantized, costs)}

## Limits

{limits}

## Licence

{manifest.licence}
"""
