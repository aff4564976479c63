"""Splits of a user's own data in which no patient and no cluster of copies stands on two sides."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

from training.audit.duplicates import CORRELATION, all_copies, fingerprints, group_names
from training.data.samples import DataSet


def split_shares(val: float, test: float) -> dict[str, float]:
    """Shares of train, val and test. Raises ValueError unless train keeps some and none is negative."""
    if val < 0 or test < 0 or val + test >= 1:
        raise ValueError(f"val {val:g} and test {test:g} must not be negative and must leave something for train")
    return {"train": 1 - val - test, "val": val, "test": test}


def split_groups(
    groups: Sequence[str], labels: Sequence[str], shares: Mapping[str, float], seed: int
) -> tuple[str, ...]:
    """A split for each sample, the same for all of a group, so that every label has about the wanted shares.

    The large groups are placed first, in an order that the seed draws among those of about one size, each where its
    labels are furthest from their share. Where every group has one label, a split exceeds its share of each label by
    less than the largest group. The result depends on names, labels and seed, not on the order of the samples.

    Raises ValueError where a split with a share gets nothing: there are fewer groups than splits.
    """
    members: dict[str, Counter[str]] = {}
    for group, label in zip(groups, labels, strict=True):
        members.setdefault(group, Counter())[label] += 1
    totals = Counter(labels)
    wanted = {split: share for split, share in shares.items() if share > 0}
    placed = {split: Counter[str]() for split in wanted}
    chosen: dict[str, str] = {}
    for group in sorted(members, key=lambda name: _turn(name, members[name].total(), seed)):
        split = max(wanted, key=lambda name: _need(members[group], placed[name], totals, wanted[name]))
        placed[split].update(members[group])
        chosen[group] = split
    empty = [split for split in wanted if not placed[split]]
    if empty:
        raise ValueError(f"{len(members)} groups are too few: {', '.join(empty)} would be empty")
    return tuple(chosen[group] for group in groups)


def _turn(group: str, size: int, seed: int) -> tuple[int, str]:
    """Sorts groups by size, those of one power of two in a random order."""
    return -size.bit_length(), hashlib.sha256(f"{seed}:{group}".encode()).hexdigest()


def _need(group: Counter[str], placed: Counter[str], totals: Counter[str], share: float) -> tuple[float, float, float]:
    """How far a split is from its share of the group's labels, 1 where it has nothing; rare labels weigh more.

    Ties go to the split that is furthest from its share of all samples, so none stays empty, then to the largest.
    """
    weights = {label: count / totals[label] for label, count in group.items()}
    need = sum(weight * (1 - placed[label] / (share * totals[label])) for label, weight in weights.items())
    return need / sum(weights.values()), 1 - placed.total() / (share * totals.total()), share


def split_data_set(
    data_set: DataSet, shares: Mapping[str, float], seed: int, correlation: float = CORRELATION
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split and group of every sample of a data set: groups are patients joined with copies as the audit finds them."""
    samples = data_set.described
    groups = group_names(samples, all_copies(fingerprints(data_set.pixels(samples)), samples, correlation))
    return split_groups(groups, [sample.label for sample in samples], shares, seed), groups
