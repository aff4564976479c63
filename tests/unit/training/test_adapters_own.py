"""A user's folder stands in for the published sets wherever a classifier or a segmenter asks for its slices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.contracts.manifest import ClassificationPreprocessing, SegmentationPreprocessing
from core.imaging.preparation.transforms import prepare_classification, prepare_segmentation
from tests.support.layouts import head, save, write_brats, write_kaggle_3m, write_mat
from training.data.labelled import load_slices, read_greys, slice_rows
from training.data.outlined import lgg_rows, lgg_slices, load_lgg, load_outlined, outlined_rows
from training.data.own import labels_in, own_data
from training.data.samples import SPLITS_FILE, write_splits

LABELS = ("glioma", "no_tumor")


def write_tree(folder: Path, seed: int = 0) -> None:
    for number, split in enumerate(("train", "val", "test")):
        for index, label in enumerate(("glioma", "notumor", "other")):
            save(head(seed + 10 * number + index), folder / split / label / f"{number}.png")


def split_by_hand(folder: Path, *splits: str) -> None:
    """Each patient in turn to one of the splits."""
    samples = own_data(folder).samples
    patients = list(dict.fromkeys(sample.patient for sample in samples))
    chosen = dict(zip(patients, splits, strict=True))
    by_sample = [chosen[sample.patient] for sample in samples]
    write_splits(samples, by_sample, by_sample, folder / SPLITS_FILE)


def test_a_classifier_reads_a_folder_tree(tmp_path: Path, in_workspace: Path) -> None:
    write_tree(tmp_path)
    slices = load_slices(tmp_path, "train", spec := ClassificationPreprocessing(size=32), LABELS)
    assert slices.labels.tolist() == [0, 1]
    assert slices.has_mask.tolist() == [False, True]
    expected, _ = prepare_classification(next(read_greys(tmp_path, slices.rows)), spec)
    np.testing.assert_allclose(slices.images[0] / 255, expected[0], atol=0.5 / 255 + 1e-6)
    assert [row.group for row in slices.rows] == [
        f"{tmp_path.name}:train/glioma/0.png",
        f"{tmp_path.name}:train/notumor/0.png",
    ]


def test_equal_names_in_two_folders_are_two_caches(tmp_path: Path, in_workspace: Path) -> None:
    spec = ClassificationPreprocessing(size=32)
    for name, seed in (("one", 0), ("two", 500)):
        write_tree(tmp_path / name, seed)
    one, two = (load_slices(tmp_path / name, "train", spec, LABELS) for name in ("one", "two"))
    assert [row.image for row in one.rows] == [row.image for row in two.rows]
    assert not np.array_equal(one.images, two.images)


def test_a_folder_names_its_labels_the_usual_ones_first(tmp_path: Path, data: Path) -> None:
    usual = ("glioma", "meningioma", "no_tumor")
    for number, name in enumerate(("abscess", "Cyst", "healthy", "glioma")):
        save(head(number), tmp_path / name / f"patient-{number}" / "slice.png")
    assert labels_in(tmp_path, usual) == ("glioma", "no_tumor", "abscess", "cyst")
    assert labels_in(data, usual) == usual


def test_a_folder_without_the_split_says_what_to_run(tmp_path: Path) -> None:
    save(head(1), tmp_path / "Training" / "glioma" / "1.png")
    with pytest.raises(ValueError, match=r"no split 'val' \(known: train\): run `python -m training split"):
        slice_rows(tmp_path, "val")


def test_a_segmenter_reads_kaggle_3m(tmp_path: Path, in_workspace: Path) -> None:
    write_kaggle_3m(tmp_path, ("TCGA_CS_4941_19960909", "TCGA_DU_5849_19950405", "TCGA_DU_5851_19950428"))
    split_by_hand(tmp_path, "train", "val", "test")
    rows = lgg_rows(tmp_path, "val")
    assert [row.patient for row in rows] == ["TCGA_DU_5849"] * 2
    slices = load_lgg(tmp_path, "val", spec := SegmentationPreprocessing(size=32))
    assert slices.present.tolist() == [True, True, False, True]
    item = next(iter(lgg_slices(tmp_path, "val")))
    expected, _ = prepare_segmentation(item.sequences, spec)
    np.testing.assert_allclose(slices.images[0] / 255, expected, atol=0.5 / 255 + 1e-6)
    assert not outlined_rows(tmp_path, "val")
    assert not len(load_outlined(tmp_path, "val", spec).images)


def test_a_segmenter_reads_brats_with_t2(tmp_path: Path, in_workspace: Path) -> None:
    names = {name: name for name in ("t1", "t1ce", "t2", "flair", "seg")}
    for number in range(2):
        write_brats(tmp_path / f"BraTS2021_0000{number}", names, (1, 2, 4), seed=number)
    split_by_hand(tmp_path, "train", "val")
    slices = load_lgg(tmp_path, "train", SegmentationPreprocessing(size=32))
    assert slices.present.all()
    assert slices.has_tumour.tolist() == [False, True]


def test_cases_that_are_split_are_not_drawn_without_their_split(tmp_path: Path, in_workspace: Path) -> None:
    names = {name: name for name in ("t1", "t1ce", "t2", "flair", "seg")}
    write_brats(tmp_path / "brats" / "BraTS2021_00000", names, (1, 2, 4))
    # Needs nibabel, which write_brats has made sure of.
    from training.data.outlined import load_brats

    assert not len(load_brats(tmp_path, SegmentationPreprocessing(size=32)).images)


def test_both_read_figshare_files(tmp_path: Path, in_workspace: Path) -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[20:30, 20:30] = 1
    for number in range(1, 4):
        write_mat(tmp_path / f"{number}.mat", head(number).astype(np.int16), mask, 2, f"p{number}")
    split_by_hand(tmp_path, "train", "val", "test")
    slices = load_slices(tmp_path, "train", ClassificationPreprocessing(size=64))
    assert slices.has_mask.tolist() == [True]
    assert slices.rows[0].group == "figshare:p1"
    assert (slices.masks > 127).any()
    outlined = load_outlined(tmp_path, "val", SegmentationPreprocessing(size=32))
    assert outlined.present.tolist() == [False, True, False, False]
    assert outlined.has_tumour.tolist() == [True]


def test_the_published_tables_win(data: Path) -> None:
    rows = slice_rows(data, "val")
    assert {row.source for row in rows} == {"figshare", "sartaj"}
