"""The audit of a folder: what was found, and whether it passes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

from training.audit.duplicates import (
    CORRELATION,
    HAMMING_RADIUS,
    SMALLEST_HEAD,
    VOLUME_CORRELATION,
    Copies,
    Likeness,
    all_copies,
    fingerprints,
    group_names,
)
from training.data.published import detect
from training.data.samples import Sample
from training.records import Part


class Thresholds(Part):
    """What counted as a copy."""

    hamming_radius: int = HAMMING_RADIUS
    correlation: float = CORRELATION
    volume_correlation: float = VOLUME_CORRELATION
    smallest_head: float = SMALLEST_HEAD


class SetCount(Part):
    """One data set of the folder: slices by split, an empty name where it is not split."""

    layout: str
    source: str
    slices: dict[str, int]
    patients: int


class Pair(Part):
    """Two slices that are copies."""

    first: str
    second: str
    kind: Likeness
    correlation: float
    splits: tuple[str, str]
    labels: tuple[str, str]

    @property
    def crosses(self) -> bool:
        """Whether the two stand in different splits."""
        return all(self.splits) and self.splits[0] != self.splits[1]


class Crossing(Part):
    """A patient, or a group of patients and copies, in more than one split: its slices by split."""

    name: str
    slices: dict[str, int]


class Audit(Part):
    """All that was found. ``images`` counts every sequence of a slice, ``compared`` those with a head large enough."""

    thresholds: Thresholds
    sets: tuple[SetCount, ...]
    images: int
    compared: int
    groups: int
    pairs: tuple[Pair, ...]
    patients_across: tuple[Crossing, ...]
    groups_across: tuple[Crossing, ...]

    @property
    def passes(self) -> bool:
        """Whether no patient and no group stands in two splits."""
        return not self.patients_across and not self.groups_across

    def count(self, kind: Likeness, *, crossing: bool) -> int:
        """Pairs of one kind within or across splits."""
        return sum(pair.kind == kind and pair.crosses == crossing for pair in self.pairs)

    @property
    def contradictions(self) -> int:
        """Copies with different labels: at least one of each pair is labelled wrongly."""
        return sum(all(pair.labels) and pair.labels[0] != pair.labels[1] for pair in self.pairs)

    def twins(self, split: str) -> int:
        """Slices of a split with a copy in ``train``."""
        first = {pair.first for pair in self.pairs if pair.splits == (split, "train")}
        return len(first | {pair.second for pair in self.pairs if pair.splits == ("train", split)})


def audit(folder: Path, correlation: float = CORRELATION) -> Audit:
    """Compare every slice of a folder's data sets with every other. Raises ValueError for no known layout."""
    sets = detect(folder)
    samples = tuple(chain.from_iterable(data_set.samples for data_set in sets))
    prints = fingerprints(chain.from_iterable(data_set.pixels(data_set.samples) for data_set in sets))
    copies = all_copies(prints, samples, correlation)
    groups = group_names(samples, copies)
    return Audit(
        thresholds=Thresholds(correlation=correlation, volume_correlation=max(correlation, VOLUME_CORRELATION)),
        sets=tuple(count for data_set in sets for count in _counts(data_set.layout, data_set.samples)),
        images=len(prints.owners),
        compared=int(prints.detailed.sum()),
        groups=len(set(groups)),
        pairs=tuple(_pair(samples, pair) for pair in copies),
        patients_across=_crossings(samples, (sample.patient for sample in samples)),
        groups_across=_crossings(samples, groups),
    )


def _counts(layout: str, samples: Sequence[Sample]) -> Iterable[SetCount]:
    for source in sorted({sample.source for sample in samples}):
        members = [sample for sample in samples if sample.source == source]
        slices = dict(Counter(sample.split for sample in members))
        patients = len({sample.patient for sample in members} - {""})
        yield SetCount(layout=layout, source=source, slices=slices, patients=patients)


def _pair(samples: Sequence[Sample], copies: Copies) -> Pair:
    first, second = samples[copies.first], samples[copies.second]
    return Pair(
        first=first.name,
        second=second.name,
        kind=copies.kind,
        correlation=copies.correlation,
        splits=(first.split, second.split),
        labels=(first.label, second.label),
    )


def _crossings(samples: Sequence[Sample], units: Iterable[str]) -> tuple[Crossing, ...]:
    """Units whose samples stand in more than one known split; the empty name is no unit."""
    found: dict[str, Counter[str]] = {}
    for sample, unit in zip(samples, units, strict=True):
        if unit and sample.split:
            found.setdefault(unit, Counter())[sample.split] += 1
    return tuple(Crossing(name=unit, slices=dict(n)) for unit, n in sorted(found.items()) if len(n) > 1)
