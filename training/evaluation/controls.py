"""What a data set gives away without a network: figures that a model has to beat before it has learnt anything.

Every classifier here is fitted on ``train`` alone, with settings that were fixed beforehand, and scored on ``val`` or
``test`` as a network is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from core.contracts.manifest import ClassificationPreprocessing, Metric
from training.classification.evaluate import PATIENT_SOURCE, SLICES, accuracies, name_of
from training.classification.label_sets import LABEL_SETS
from training.data.archives import FloatArray, IntArray, UInt8Array, cached, to_uint8
from training.data.labelled import Slices, load_slices, read_greys, slice_rows
from training.data.own import is_own, own_key
from training.data.published import SlicesTable
from training.data.samples import Sample
from training.evaluation.intervals import averaged, measured
from training.evaluation.mask_figures import HEALTHY, count_masks, mask_metrics
from training.evaluation.predictions import MaskPredictions
from training.records import Part, Record
from training.segmentation.evaluate import outlined_split

SIDE: Final = 64
# Outermost pixels of a thumbnail that the frame-only control sees.
FRAME: Final = 2
# Rows and columns at each edge that the centre-masked control sees: scalp, skull and little of the brain.
RIM: Final = 8
COMPONENTS: Final = 120
PENALTY: Final = 10.0
SEED: Final = 0


class Control(Part):
    """One control: what was done, on how many items it was fitted (0: none), and what that reaches."""

    name: str
    method: str
    labels: tuple[str, ...]
    fitted_on: int
    metrics: tuple[Metric, ...]


class Controls(Record):
    """Made by ``controls``: every control on one split."""

    split: str
    classification: tuple[Control, ...]
    segmentation: tuple[Control, ...]


Classifier = Callable[[FloatArray, IntArray, FloatArray], IntArray]
"""Training features (n, d) and labels (n,), features (m, d) to answer for; the answers (m,)."""


@dataclass(frozen=True)
class Shortcut:
    """A classifier and the part of each thumbnail that it sees: so many of the outermost rows and columns, or all."""

    name: str
    method: str
    classify: Classifier
    width: int = SIDE // 2
    # Thumbnails of the slices as they were published, not as the services prepare them.
    published: bool = False
    permuted_labels: bool = False


def nearest_neighbour(features: FloatArray, labels: IntArray, asked: FloatArray) -> IntArray:
    """The label of the nearest training item (Euclidean)."""
    model = KNeighborsClassifier(n_neighbors=1, algorithm="brute").fit(features, labels)
    return np.asarray(model.predict(asked), np.int64)


def support_vectors(features: FloatArray, labels: IntArray, asked: FloatArray) -> IntArray:
    """RBF-SVM on the first principal components; the commonest label where all features are alike."""
    if np.ptp(features, axis=0).max() == 0:
        return np.full(len(asked), np.bincount(labels).argmax(), np.int64)
    components = min(COMPONENTS, features.shape[1], len(features))
    reduced = PCA(components, svd_solver="randomized", random_state=SEED)
    model = make_pipeline(reduced, SVC(C=PENALTY, gamma="scale")).fit(features, labels)
    return np.asarray(model.predict(asked), np.int64)


def outermost(pixels: UInt8Array, width: int) -> FloatArray:
    """Only the ``width`` outermost rows and columns (n, d) in [0, 1]."""
    seen = np.ones(pixels.shape[1:], bool)
    seen[width:-width, width:-width] = False
    return np.asarray(pixels[:, seen], np.float32) / np.float32(255)


SHORTCUTS: Final = (
    Shortcut("1-NN", "nearest training thumbnail, 64x64, as prepared for a network", nearest_neighbour),
    Shortcut("RBF-SVM", "PCA 120 and RBF-SVM on 64x64 thumbnails, as prepared for a network", support_vectors),
    Shortcut(
        "frame only, as published",
        "RBF-SVM on the outer 2 of 64 pixels of the published slice",
        support_vectors,
        FRAME,
        published=True,
    ),
    Shortcut("frame only, as prepared", "RBF-SVM on the outer 2 of 64 pixels, head cut out", support_vectors, FRAME),
    Shortcut("centre masked", "RBF-SVM on the outer 8 of 64 pixels, head cut out", support_vectors, RIM),
    Shortcut(
        "random labels",
        "RBF-SVM on 64x64 thumbnails, training labels permuted: what is left is chance",
        support_vectors,
        permuted_labels=True,
    ),
)


def thumbnails(data: Path, split: str, labels: tuple[str, ...], *, published: bool = False) -> Slices:
    """Slices of a split at 64x64: cut to the head and stretched as for a network, or simply shrunk."""
    slices = load_slices(data, split, ClassificationPreprocessing(size=SIDE), labels)
    return replace(slices, images=_published(data, split, slices.rows)) if published else slices


def _published(data: Path, split: str, rows: Sequence[Sample]) -> UInt8Array:
    def build() -> dict[str, npt.NDArray[Any]]:
        shrunk = [cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for grey in read_greys(data, rows)]
        return {"images": to_uint8(np.array(shrunk, np.float32))}

    return cached(f"published-{split}-{SIDE}", {"images": [row.name for row in rows]} | own_key(data), build)["images"]


def classification_control(
    shortcut: Shortcut, train: Slices, asked: Slices, split: str, data_set: str = SLICES
) -> tuple[Metric, ...]:
    """Fit on ``train``, answer for ``asked``: accuracies with their intervals over groups, and of the Figshare part."""
    labels = train.labels
    if shortcut.permuted_labels:
        labels = np.random.default_rng(SEED).permutation(labels)
    features, others = (outermost(slices.images, shortcut.width) for slices in (train, asked))
    predicted = shortcut.classify(features, labels, others)
    groups, metrics = np.array(asked.groups), []
    known = np.flatnonzero(asked.sources == PATIENT_SOURCE)
    for name, part in {data_set: np.arange(len(predicted)), f"slices of {PATIENT_SOURCE}": known}.items():
        if len(part):
            figures = accuracies(predicted[part], asked.labels[part])
            metrics += measured(figures, groups[part].tolist(), name, split)
    return tuple(metrics)


def _misleading_figures(item: MaskPredictions, data_set: str, split: str) -> list[Metric]:
    """Figures that look good for an empty answer, which is why no model is reported by them."""
    right = (item.pixels - item.predicted - item.true + 2 * item.overlap) / item.pixels
    figures = {"pixel accuracy": right, "Dice of all slices, 1 where both are empty": item.dice}
    return averaged(figures, item.patients.tolist(), data_set, split)


def run_controls(data: Path, out: Path, split: str = "val") -> Controls:
    """Run every control on the data that are there; writes ``controls.json`` into ``out``.

    ``split`` is ``val`` or ``test``. Raises ValueError for another, FileNotFoundError where the data have neither
    labelled nor outlined slices.
    """
    if split not in ("val", "test"):
        raise ValueError(f"controls are fitted on train and scored on val or test, not on {split!r}")
    has_slices = is_own(data) or SlicesTable.recognises(data)
    record = Controls(
        split=split,
        classification=tuple(_classification(data, split)) if has_slices else (),
        segmentation=tuple(_segmentation(data, split)),
    )
    if not record.classification and not record.segmentation:
        raise FileNotFoundError(f"{data} has nothing labelled or outlined in split {split}")
    out.mkdir(parents=True, exist_ok=True)
    record.write(out)
    return record


def present_label_sets(data: Path) -> Mapping[str, tuple[str, ...]]:
    """The label sets of which ``data`` has every label to train on."""
    every = tuple(dict.fromkeys(label for labels in LABEL_SETS.values() for label in labels))
    present = {row.label for row in slice_rows(data, "train", every)}
    return {name: labels for name, labels in LABEL_SETS.items() if set(labels) <= present}


def _classification(data: Path, split: str) -> Iterator[Control]:
    for labels in present_label_sets(data).values():
        for shortcut in SHORTCUTS:
            train, asked = (thumbnails(data, part, labels, published=shortcut.published) for part in ("train", split))
            metrics = classification_control(shortcut, train, asked, split, name_of(data))
            about = {"name": shortcut.name, "method": shortcut.method, "labels": labels}
            yield Control(**about, fitted_on=len(train.labels), metrics=metrics)


def _segmentation(data: Path, split: str) -> Iterator[Control]:
    for data_set, (images, slices) in outlined_split(data, split).items():
        # Of heads without tumour an empty answer is the right one.
        if data_set != HEALTHY:
            pairs = [(np.zeros_like(one.mask), one.mask) for one in slices]
            item = count_masks(pairs, images, [one.patient for one in slices], data_set, "all empty")
            metrics = (*mask_metrics(item, split), *_misleading_figures(item, data_set, split))
            method = f"no tumour in any slice of {data_set}"
            yield Control(name="all empty", method=method, labels=("tumor",), fitted_on=0, metrics=metrics)
