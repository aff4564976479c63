"""Splits keep groups whole, come near their shares for every label, and depend on nothing but names and seed."""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import typer
from hypothesis import assume, given
from hypothesis import strategies as st
from typer.testing import CliRunner

from tests.support.layouts import head, save
from training.audit.findings import audit
from training.audit.splitting import split_groups, split_shares
from training.commands.data import split_command

SHARES = split_shares(0.1, 0.2)
# Sizes of the groups of each label.
Sizes = dict[str, list[int]]
sizes = st.dictionaries(st.sampled_from("xyz"), st.lists(st.integers(1, 12), min_size=3, max_size=30), min_size=1)


def members(sizes: Sizes) -> tuple[list[str], list[str]]:
    """Group and label of every sample."""
    pairs = [
        (f"{label}{number}", label)
        for label, counts in sizes.items()
        for number, count in enumerate(counts)
        for _ in range(count)
    ]
    return [group for group, _ in pairs], [label for _, label in pairs]


@given(sizes, st.integers(0, 99))
def test_groups_stay_whole_and_labels_near_their_shares(sizes: Sizes, seed: int) -> None:
    groups, labels = members(sizes)
    splits = split_groups(groups, labels, SHARES, seed)
    assert len(set(zip(groups, splits, strict=True))) == len(set(groups))
    counts = Counter(zip(labels, splits, strict=True))
    for label, groups_of_label in sizes.items():
        for split, share in SHARES.items():
            excess = counts[label, split] - share * sum(groups_of_label)
            assert -2 * max(groups_of_label) < excess < max(groups_of_label)


@given(sizes, st.integers(0, 99), st.randoms())
def test_the_order_of_the_input_does_not_matter(sizes: Sizes, seed: int, random: np.random.Generator) -> None:
    groups, labels = members(sizes)
    splits = split_groups(groups, labels, SHARES, seed)
    order = list(range(len(groups)))
    random.shuffle(order)
    shuffled = split_groups([groups[i] for i in order], [labels[i] for i in order], SHARES, seed)
    assert shuffled == tuple(splits[i] for i in order)


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from("xy")), min_size=1, max_size=60), st.integers(0, 9))
def test_groups_of_several_labels_stay_whole_and_fill_every_split(samples: list[tuple[int, str]], seed: int) -> None:
    groups = [str(group) for group, _ in samples]
    assume(len(set(groups)) >= 3)
    splits = split_groups(groups, [label for _, label in samples], SHARES, seed)
    assert len(set(zip(groups, splits, strict=True))) == len(set(groups))
    assert set(splits) == set(SHARES)


def test_another_seed_is_another_draw() -> None:
    groups = [f"g{number}" for number in range(50)]
    one, two = (split_groups(groups, ["x"] * 50, SHARES, seed) for seed in (0, 1))
    assert one != two
    assert Counter(one) == Counter(two) == {"train": 35, "test": 10, "val": 5}


def test_large_patients_do_not_all_land_in_training() -> None:
    groups, labels = members({"x": [30] * 10 + [1] * 100})
    splits = split_groups(groups, labels, SHARES, 0)
    large = {group: split for group, split in zip(groups, splits, strict=True) if groups.count(group) == 30}
    assert set(large.values()) == {"train", "val", "test"}


def test_a_share_of_nothing_gets_nothing() -> None:
    groups = [str(number) for number in range(10)]
    assert set(split_groups(groups, ["x"] * 10, split_shares(0.2, 0.0), 0)) == {"train", "val"}


def test_too_few_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="2 groups are too few: val"):
        split_groups(["a", "a", "b"], ["x"] * 3, SHARES, 0)


@pytest.mark.parametrize(("val", "test"), [(0.5, 0.5), (-0.1, 0.2), (0.2, -0.1)])
def test_shares_must_leave_something_for_training(val: float, test: float) -> None:
    with pytest.raises(ValueError, match="train"):
        split_shares(val, test)


def run(*arguments: str) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(split_command)
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output


def write_patients(folder: Path) -> None:
    """Ten patients a label with three slices each, and a copy of one patient's slice under another label's patient."""
    for label in range(2):
        for patient in range(10):
            for index in range(3):
                name = f"{('glioma', 'notumor')[label]}/p{label}{patient}/{index}.png"
                save(head(1000 * label + 10 * patient + index), folder / "Training" / name)
    save(head(1000), folder / "Testing" / "glioma" / "p00" / "copy.png")


def test_the_command_mends_a_leaking_folder(tmp_path: Path) -> None:
    write_patients(tmp_path)
    assert not audit(tmp_path).passes
    code, output = run(str(tmp_path), "--seed", "3")
    assert code == 0, output
    found = audit(tmp_path)
    assert found.passes
    assert len(found.pairs) == 1
    with (tmp_path / "splits.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 61
    linked = {row["split"] for row in rows if row["patient"] in ("p00", "p10")}
    assert len(linked) == 1
    counts = Counter(row["split"] for row in rows)
    assert all(abs(counts[split] - 61 * share) <= 7 for split, share in SHARES.items())


def test_the_command_names_labels_that_a_split_lacks(tmp_path: Path) -> None:
    write_patients(tmp_path)
    assert "A split has no slice of" not in run(str(tmp_path))[1]
    for index in range(3):
        save(head(9000 + index), tmp_path / "Training" / "pituitary" / "p99" / f"{index}.png")
    # The table of before does not know the new slices, which is why it is made anew.
    code, output = run(str(tmp_path))
    assert code == 0, output
    assert "A split has no slice of pituitary" in re.sub(r"[│\s]+", " ", output)


def test_the_command_writes_the_same_table_twice(tmp_path: Path) -> None:
    write_patients(tmp_path / "data")
    for name in ("one.csv", "two.csv"):
        code, output = run(str(tmp_path / "data"), "--out", str(tmp_path / name), "--val", "0.2", "--test", "0.2")
        assert code == 0, output
    assert (tmp_path / "one.csv").read_text() == (tmp_path / "two.csv").read_text()
    assert not (tmp_path / "data" / "splits.csv").exists()


def test_the_command_leaves_the_published_splits_alone(data: Path) -> None:
    code, output = run(str(data))
    assert code == 2
    assert "splits of their own" in re.sub(r"[│\s]+", " ", output)
    assert not (data / "splits.csv").exists()
