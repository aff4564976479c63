"""Folds keep patients and copies whole, spread sources and labels, and never hold a row of test."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.grouped import KNOWN, SLICES, UNKNOWN, slice_rows, write_grouped
from tests.support.layouts import head, save
from tests.support.miniature import write_csv
from training.audit.findings import audit
from training.audit.splitting import split_data_set, split_shares
from training.data.archives import read_rows
from training.data.labelled import slice_rows as rows_of_split
from training.data.outlined import lgg_rows
from training.data.own import own_data, own_samples
from training.data.samples import write_splits
from training.folds.assign import ALWAYS_TRAINS, Item, assigned
from training.folds.view import Folds, open_folds

FOLDS = 3


@pytest.fixture(scope="module")
def items(grouped: Path) -> Mapping[str, Item]:
    return {item.name: item for item in assigned(grouped, FOLDS, 0, {})}


@pytest.fixture
def folds(grouped: Path, tmp_path: Path) -> Folds:
    return open_folds(grouped, tmp_path, FOLDS)


def test_every_row_of_train_and_val_is_there_and_none_of_test(items: Mapping[str, Item]) -> None:
    wanted = {str(row["image"]) for row, _ in slice_rows() if row["split"] != "test"}
    assert {name for name in items if name.startswith("slices/")} == wanted
    assert not any("TCGA_CS_test" in name or name == "CBICA_AAC" for name in items)


def test_patients_and_copies_are_whole(items: Mapping[str, Item]) -> None:
    patients = {str(row["image"]): str(row["group"]) for row, _ in slice_rows() if row["group"]}
    by_patient: dict[str, set[int]] = {}
    for name, patient in patients.items():
        if name in items:
            by_patient.setdefault(patient, set()).add(items[name].fold)
    assert {len(places) for places in by_patient.values()} == {1}
    # Two patients of two sources show one head.
    one, other = items["slices/figshare_glioma_00.jpg"], items["slices/feltrin_glioma_01.jpg"]
    assert one.group == other.group
    assert one.fold == other.fold != ALWAYS_TRAINS


def test_a_case_is_where_its_patient_is(items: Mapping[str, Item]) -> None:
    slices = {item.fold for name, item in items.items() if "TCGA_HT_7473" in name}
    assert slices == {items["TCIA13_623"].fold}


def test_sources_and_labels_are_spread_evenly(items: Mapping[str, Item]) -> None:
    counts = Counter((item.stratum, item.fold) for item in items.values())
    for stratum in {item.stratum for item in items.values() if item.table == "slices.csv"}:
        of_folds = [counts[stratum, fold] for fold in range(FOLDS)]
        # A group of two labels may be in the way of one patient.
        assert max(of_folds) - min(of_folds) <= 2 * SLICES, stratum
        assert min(of_folds) > 0, stratum


def test_who_may_be_anybody_always_trains(items: Mapping[str, Item]) -> None:
    always = [name for name, item in items.items() if item.fold == ALWAYS_TRAINS]
    assert len(always) == 3 * UNKNOWN
    assert all("unknown" in name for name in always)


def test_a_table_of_patients_makes_them_known(grouped: Path) -> None:
    unknown = [str(row["image"]) for row, _ in slice_rows() if not row["group"]]
    found = {item.name: item for item in assigned(grouped, FOLDS, 0, dict.fromkeys(unknown, "somebody"))}
    places = {found[name].fold for name in unknown}
    assert len(places) == 1
    assert places != {ALWAYS_TRAINS}


def test_the_order_of_rows_does_not_matter(items: Mapping[str, Item], tmp_path: Path) -> None:
    order = list(range(len(list(slice_rows()))))
    random.Random(3).shuffle(order)
    again = assigned(write_grouped(tmp_path, order), FOLDS, 0, {})
    assert {item.name: item for item in again} == items
    assert {item.name: item for item in assigned(tmp_path, FOLDS, 1, {})} != items


def test_a_view_passes_the_audit_and_the_views_cover_all_once(folds: Folds, items: Mapping[str, Item]) -> None:
    labels = ("glioma", "meningioma", "pituitary", "no_tumor")
    held_out: Counter[str] = Counter()
    for fold in range(FOLDS):
        view = folds.view(fold)
        found = audit(view)
        assert found.passes
        assert found.images > 0
        val = {row.name for row in rows_of_split(view, "val", labels)}
        train = {row.name for row in rows_of_split(view, "train", labels)}
        assert val == {item.name for item in items.values() if item.table == "slices.csv" and item.fold == fold}
        assert len(train) + len(val) == 3 * (2 * KNOWN * SLICES + UNKNOWN) + 7
        assert rows_of_split(view, "test", labels) == () == lgg_rows(view, "test")
        held_out.update(val | {row.name for row in lgg_rows(view, "val")})
    tables = [item for item in items.values() if item.table != "brats2018/cases.csv"]
    assert held_out == Counter(item.name for item in tables if item.fold != ALWAYS_TRAINS)


def test_a_view_links_no_case_of_test(folds: Folds) -> None:
    home = folds.view(0) / "brats2018"
    assert sorted(path.name for path in home.iterdir()) == ["CBICA_AAA", "CBICA_AAB", "TCIA13_623", "cases.csv"]
    assert (home / "CBICA_AAA" / "note.txt").read_text() == "CBICA_AAA"
    rows = {row["case"]: row["split"] for row in read_rows(home / "cases.csv")}
    wanted = {item.name: item.fold for item in folds.items if item.table == "brats2018/cases.csv"}
    assert rows == {name: "val" if fold == 0 else "train" for name, fold in wanted.items()}


def test_folds_are_made_once_and_refused_for_another_seed(grouped: Path, folds: Folds) -> None:
    runs = folds.folder.parent
    table = folds.folder / "folds.csv"
    before = table.stat().st_mtime_ns
    assert open_folds(grouped, runs, FOLDS).items == folds.items
    assert table.stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="another seed"):
        open_folds(grouped, runs, FOLDS, seed=1)
    with pytest.raises(ValueError, match="no fold 3"):
        folds.view(3)


def test_too_few_folds_and_groups_are_refused(grouped: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="too few"):
        assigned(grouped, 1, 0, {})
    with pytest.raises(ValueError, match="groups are too few"):
        assigned(grouped, 1000, 0, {})
    write_csv(tmp_path / "patients.csv", [{"image": "x", "patient": "y"}])
    with pytest.raises(ValueError, match="columns name and patient"):
        open_folds(grouped, tmp_path, FOLDS, patients=tmp_path / "patients.csv")


def test_a_folder_of_ones_own(tmp_path: Path) -> None:
    data = tmp_path / "own"
    for label in range(2):
        for patient in range(8):
            for index in range(2):
                name = f"{('glioma', 'notumor')[label]}/p{label}{patient}/{index}.png"
                save(head(1000 * label + 10 * patient + index), data / name)
    splits, groups = split_data_set(own_data(data), split_shares(0.2, 0.2), 0)
    write_splits(own_data(data).described, splits, groups, data / "splits.csv")
    folds = open_folds(data, tmp_path / "runs", 2)
    test = {sample.name for sample in own_samples(data, "test")}
    parts = [{sample.name for sample in own_samples(folds.view(fold), "val")} for fold in range(2)]
    assert parts[0] | parts[1] == {sample.name for sample in own_data(data).samples} - test
    assert not parts[0] & parts[1]
    assert {sample.name for sample in own_samples(folds.view(0), "train")} == parts[1]
    assert audit(folds.view(0)).passes
