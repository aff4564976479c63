"""What a model answered on a split, item by item, kept as ``.npz`` so that figures need no second pass of the network.

The files hold plain arrays (text as fixed-width unicode): ``numpy.load`` reads them without unpickling anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from core.contracts.manifest import Variant
from training.data.archives import BoolArray, Float64Array, IntArray
from training.evaluation.masks import dice_of_counts, iou_of_counts

StrArray = npt.NDArray[np.str_]


def predictions_path(folder: Path, split: str, variant: Variant = "reference") -> Path:
    """Where the answers of one graph file on one split lie."""
    return folder / f"predictions-{split}{'' if variant == 'reference' else f'.{variant}'}.npz"


def outlines_path(folder: Path, split: str, variant: Variant = "reference") -> Path:
    """Where the outlines lie that a classifier with two tasks drew."""
    answers = predictions_path(folder, split, variant)
    return answers.with_name(answers.name.replace("predictions", "outlines"))


@dataclass(frozen=True)
class AnswerTable:
    """Arrays by name, as an ``.npz`` file: all but ``names`` have an entry for each of n answers."""

    def save(self, path: Path) -> None:
        """Write every array."""
        np.savez_compressed(path, **{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what ``save`` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            return cls(**{field.name: stored[field.name] for field in fields(cls)})

    def only(self, rows: npt.NDArray[Any]) -> Self:
        """The chosen answers, by bool mask or by index."""
        columns = [field.name for field in fields(self) if field.name != "names"]
        return replace(self, **{name: getattr(self, name)[rows] for name in columns})


@dataclass(frozen=True)
class ClassPredictions(AnswerTable):
    """A classifier's answers on n slices.

    ``probabilities`` float64 (n, K), calibrated; ``labels`` int64 (n,), the truth as an index into ``names`` (K,);
    ``groups``, ``sources`` and ``images`` are text (n,).
    """

    probabilities: Float64Array
    labels: IntArray
    groups: StrArray
    sources: StrArray
    images: StrArray
    names: StrArray

    @property
    def predicted(self) -> IntArray:
        """The answers (n,)."""
        return np.asarray(self.probabilities.argmax(axis=1), np.int64)


class MaskRow(NamedTuple):
    """One mask and what it was to be, as ``MaskPredictions`` has them."""

    view: str
    data_set: str
    image: str
    patient: str
    predicted: int
    true: int
    overlap: int
    pixels: int
    hausdorff: float

    @classmethod
    def counted(
        cls, view: str, data_set: str, image: str, patient: str, masks: tuple[BoolArray, BoolArray], hausdorff: float
    ) -> Self:
        """Of two ``masks`` of one shape, predicted and true."""
        predicted, true, both = (int(np.count_nonzero(mask)) for mask in (*masks, masks[0] & masks[1]))
        return cls(view, data_set, image, patient, predicted, true, both, masks[1].size, hausdorff)


@dataclass(frozen=True)
class MaskPredictions(AnswerTable):
    """A segmenter's answers: one row for each slice and each ``view``, the sequences that it was shown.

    ``views``, ``data_sets``, ``images`` and ``patients`` are text (n,). ``predicted``, ``true``, ``overlap`` and
    ``pixels`` int64 (n,) count original pixels: of the answer, of the outline, of both, of the slice. ``hausdorff``
    float64 (n,): Hausdorff 95 in original pixels, NaN where the slice has no tumour.
    """

    views: StrArray
    data_sets: StrArray
    images: StrArray
    patients: StrArray
    predicted: IntArray
    true: IntArray
    overlap: IntArray
    pixels: IntArray
    hausdorff: Float64Array

    @classmethod
    def of(cls, rows: Sequence[tuple[Any, ...]]) -> Self:
        """The table of these rows, which must be some."""
        return cls(*map(np.array, zip(*rows, strict=True)))

    @classmethod
    def joined(cls, parts: Sequence[MaskPredictions]) -> MaskPredictions:
        """All rows of one or more tables."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    def shown(self, view: str, data_set: str) -> MaskPredictions:
        """The rows of one view of one data set."""
        return self.only((self.views == view) & (self.data_sets == data_set))

    def parts(self) -> Iterator[tuple[str, str, MaskPredictions]]:
        """Data set, view and rows of each pair that there is, in their order."""
        for data_set, view in dict.fromkeys(zip(self.data_sets.tolist(), self.views.tolist(), strict=True)):
            yield data_set, view, self.shown(view, data_set)

    @property
    def has_tumour(self) -> BoolArray:
        """bool (n,): the outline is not empty."""
        return np.asarray(self.true > 0)

    @property
    def dice(self) -> Float64Array:
        """Dice (n,) of each row; 1 where neither has tumour."""
        return dice_of_counts(self.predicted, self.true, self.overlap)

    @property
    def iou(self) -> Float64Array:
        """Intersection over union (n,) of each row; 1 where neither has tumour."""
        return iou_of_counts(self.predicted, self.true, self.overlap)

    def by_patient(self) -> MaskPredictions:
        """One row for each view, data set and patient: all its slices counted together.

        Such a row stands for no image and has no Hausdorff distance: the published slices have no spacing.
        """
        keys = np.stack([self.views, self.data_sets, self.patients], axis=1)
        names, index = np.unique(keys, axis=0, return_inverse=True)
        predicted, true, overlap, pixels = (
            np.bincount(index.ravel(), values, len(names)).astype(np.int64)
            for values in (self.predicted, self.true, self.overlap, self.pixels)
        )
        views, data_sets, patients = names.T
        nowhere, undefined = np.full(len(names), ""), np.full(len(names), np.nan)
        return MaskPredictions(views, data_sets, nowhere, patients, predicted, true, overlap, pixels, undefined)
