"""What a trained network answers before anything is chosen: logits without a temperature, masks at every threshold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from training.bundle.export import THRESHOLDS
from training.data.archives import BoolArray, FloatArray, IntArray
from training.evaluation.predictions import AnswerTable, MaskPredictions, StrArray


@dataclass(frozen=True)
class _Grouped(AnswerTable):
    """Text ``images`` and ``groups`` (n,): of each answer its item, and what must not be torn apart."""

    images: StrArray
    groups: StrArray
    # int64 (n,): the fold that held each item out; 0 where there is one split alone.
    folds: IntArray


@dataclass(frozen=True)
class ClassAnswers(_Grouped):
    """A classifier's: ``logits`` float32 (n, K), ``labels`` int64 (n,) into ``names`` (K,), ``sources`` text (n,)."""

    logits: FloatArray
    labels: IntArray
    sources: StrArray
    names: StrArray

    def restricted(self, labels: Sequence[str]) -> ClassAnswers:
        """To the slices that have one of ``labels``, and to their logits in that order."""
        places = [self.names.tolist().index(label) for label in labels]
        kept = self.only(np.isin(self.labels, places))
        truth = np.array([places.index(label) for label in kept.labels.tolist()], np.int64)
        return replace(kept, logits=kept.logits[:, places], labels=truth, names=np.array(labels))


@dataclass(frozen=True)
class MaskAnswers(_Grouped):
    """A segmenter's: a row for each slice and each ``view`` of it, as in ``MaskPredictions``.

    ``predicted`` and ``overlap`` int64 (n, T) count pixels at each of ``THRESHOLDS``; ``true`` and ``pixels`` are (n,).
    """

    views: StrArray
    data_sets: StrArray
    patients: StrArray
    predicted: IntArray
    overlap: IntArray
    true: IntArray
    pixels: IntArray

    @classmethod
    def counted(
        cls,
        pairs: Iterable[tuple[FloatArray, BoolArray]],
        images: Sequence[str],
        patients: Sequence[str],
        data_set: str,
        view: str,
    ) -> MaskAnswers:
        """Of (probability, outline) pairs (h, w), one an image."""
        predicted, overlap, true, pixels = [], [], [], []
        for probability, outline in pairs:
            answered = [probability >= threshold for threshold in THRESHOLDS]
            predicted.append([np.count_nonzero(mask) for mask in answered])
            overlap.append([np.count_nonzero(mask & outline) for mask in answered])
            true.append(np.count_nonzero(outline))
            pixels.append(outline.size)
        count = len(images)
        return cls(
            images=np.array(images),
            groups=np.array(patients),
            folds=np.zeros(count, np.int64),
            views=np.full(count, view),
            data_sets=np.full(count, data_set),
            patients=np.array(patients),
            predicted=np.array(predicted, np.int64),
            overlap=np.array(overlap, np.int64),
            true=np.array(true, np.int64),
            pixels=np.array(pixels, np.int64),
        )

    def at(self, thresholds: npt.NDArray[np.intp]) -> MaskPredictions:
        """The masks at one of ``THRESHOLDS`` each, by index (n,); distances were not measured."""
        rows = np.arange(len(self.true))
        return MaskPredictions(
            views=self.views,
            data_sets=self.data_sets,
            images=self.images,
            patients=self.patients,
            predicted=self.predicted[rows, thresholds],
            true=self.true,
            overlap=self.overlap[rows, thresholds],
            pixels=self.pixels,
            hausdorff=np.full(len(self.true), np.nan),
        )


Answers = ClassAnswers | MaskAnswers


def joined(parts: Sequence[Answers]) -> Answers:
    """All answers of one or more tables. Raises ValueError where they are of other labels."""
    first = parts[0]
    names = [part.names.tolist() if isinstance(part, ClassAnswers) else None for part in parts]
    if any(name != names[0] for name in names):
        raise ValueError("the answers are not of the same labels")
    columns = [field.name for field in fields(first) if field.name != "names"]
    together: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in columns}
    return replace(first, **together)
