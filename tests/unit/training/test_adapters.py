"""Each layout is recognised and read as the same record: pixels, mask, regions, label, patient and split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.layouts import (
    case_volumes,
    head,
    regions,
    save,
    write_brats,
    write_kaggle_3m,
    write_mat,
    write_msd,
    write_nifti,
)
from training.data.folder_tree import FolderTree, label_name
from training.data.kaggle_3m import Kaggle3m
from training.data.published import detect
from training.data.samples import DataSet, Pixels, Sample, with_splits, write_splits

OLD_NAMES = {name: f"case_{name}" for name in ("t1", "t1ce", "t2", "flair", "seg")}
NEW_NAMES = {"t1": "c-t1n", "t1ce": "c-t1c", "t2": "c-t2w", "flair": "c-t2f", "seg": "c-seg"}
FLAT_NAMES = {name: name for name in OLD_NAMES}


def only(folder: Path, layout: str) -> DataSet:
    """The folder's one data set, which must be in this layout."""
    (found,) = detect(folder)
    assert found.layout == layout
    return found


def pixels_of(data_set: DataSet) -> list[Pixels]:
    return list(data_set.pixels(data_set.samples))


def test_class_folders_of_the_usual_kaggle_set_are_labels_and_splits(tmp_path: Path) -> None:
    save(head(1), tmp_path / "Training" / "glioma_tumor" / "a.png")
    save(head(2), tmp_path / "Training" / "notumor" / "p7" / "b.png")
    save(head(3), tmp_path / "Testing" / "Pituitary" / "c.png")
    save(head(4), tmp_path / "cover.png")
    save(head(5), tmp_path / "Training" / ".cache" / "d.png")
    data_set = only(tmp_path, "folder tree")
    found = {sample.name: (sample.label, sample.split, sample.patient) for sample in data_set.samples}
    assert found == {
        "Training/glioma_tumor/a.png": ("glioma", "train", ""),
        "Training/notumor/p7/b.png": ("no_tumor", "train", "p7"),
        "Testing/Pituitary/c.png": ("pituitary", "test", ""),
    }
    first = next(iter(data_set.pixels([next(s for s in data_set.samples if s.label == "glioma")])))
    np.testing.assert_allclose(first.sequences["image"], head(1) / np.float32(255), atol=1e-6)
    assert first.mask is None


def test_a_tree_without_splits_leaves_them_unknown_and_finds_masks(tmp_path: Path) -> None:
    save(head(1), tmp_path / "meningioma" / "a.jpg")
    save(np.where(head(1) > 150, 255, 0).astype(np.uint8), tmp_path / "meningioma" / "a_mask.png")
    data_set = only(tmp_path, "folder tree")
    assert [(s.name, s.split, s.mask) for s in data_set.samples] == [("meningioma/a.jpg", "", "meningioma/a_mask.png")]
    (pixels,) = pixels_of(data_set)
    assert pixels.mask is not None
    np.testing.assert_array_equal(pixels.mask, head(1) > 150)


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "glioma").mkdir()
    (tmp_path / "glioma" / "torn.png").write_bytes(save(head(1), tmp_path / "x.png").read_bytes()[:200])
    with pytest.raises(ValueError, match=r"torn\.png"):
        pixels_of(FolderTree(tmp_path))


@pytest.mark.parametrize(
    ("folder", "label"),
    [("Glioma Tumor", "glioma"), ("no-tumor", "no_tumor"), ("Normal", "no_tumor"), ("schwannoma", "schwannoma")],
)
def test_folder_names_become_labels(folder: str, label: str) -> None:
    assert label_name(folder) == label


@pytest.mark.parametrize("above", [".", "kaggle_3m", "lgg-mri-segmentation/kaggle_3m"])
def test_kaggle_3m_channels_are_t1_flair_t1ce(tmp_path: Path, above: str) -> None:
    scans = ("TCGA_CS_4941_19960909", "TCGA_CS_4941_19970101", "TCGA_DU_5849_19950405")
    write_kaggle_3m(tmp_path / above, scans, slices=11)
    data_set = only(tmp_path, "kaggle_3m tree")
    assert len(data_set.samples) == 33
    assert {sample.patient for sample in data_set.samples} == {"TCGA_CS_4941", "TCGA_DU_5849"}
    numbers = [int(sample.image.rsplit("_", 1)[1].removesuffix(".tif")) for sample in data_set.samples[:11]]
    assert numbers == list(range(1, 12))
    pixels = pixels_of(data_set)[1]
    for channel, name in enumerate(("t1", "flair", "t1ce")):
        np.testing.assert_allclose(pixels.sequences[name], head(20 + channel) / np.float32(255), atol=1e-6)
    assert pixels.mask is not None
    assert pixels.mask.sum(axis=1).tolist() == [64, 64] + [0] * 62


def test_a_grey_tiff_is_no_kaggle_3m_slice(tmp_path: Path) -> None:
    write_kaggle_3m(tmp_path, ("TCGA_CS_4941_19960909",), slices=1)
    save(head(1), tmp_path / "TCGA_CS_4941_19960909" / "TCGA_CS_4941_19960909_1.tif")
    with pytest.raises(ValueError, match="three channels"):
        pixels_of(Kaggle3m(tmp_path))


def test_figshare_structs_are_turned_and_named(tmp_path: Path) -> None:
    image = (head(1).astype(np.int16) * 9).astype(np.int16)
    image[:, :20] = 0
    mask = np.zeros((64, 64), np.uint8)
    mask[5:9, 30:50] = 1
    for number, label in ((1, 1), (2, 2), (10, 3)):
        write_mat(tmp_path / "part" / f"{number}.mat", image, mask, label, f"MR{number}")
    (tmp_path / "cvind.mat").write_bytes(b"the folds of the authors")
    data_set = only(tmp_path, "Figshare .mat")
    assert [(s.name, s.label, s.patient) for s in data_set.samples] == [
        ("part/1.mat", "meningioma", "MR1"),
        ("part/2.mat", "glioma", "MR2"),
        ("part/10.mat", "pituitary", "MR10"),
    ]
    pixels = pixels_of(data_set)[0]
    np.testing.assert_allclose(pixels.sequences["t1ce"], image / np.float32(image.max()), atol=1e-6)
    assert pixels.mask is not None
    np.testing.assert_array_equal(pixels.mask, mask > 0)


def test_a_mat_file_without_the_struct_is_named(tmp_path: Path) -> None:
    (tmp_path / "1.mat").write_bytes(b"MATLAB 5.0 MAT-file")
    with pytest.raises(ValueError, match=r"1\.mat.*cjdata"):
        _ = only(tmp_path, "Figshare .mat").samples


@pytest.mark.parametrize(
    ("names", "codes", "suffix"),
    [
        (OLD_NAMES, (1, 2, 4), ".gz"),
        (OLD_NAMES, (1, 2, 4), ""),
        (FLAT_NAMES, (1, 2, 3), ".gz"),
        (NEW_NAMES, (1, 2, 3), ".gz"),
    ],
)
def test_brats_of_any_year_has_one_set_of_regions(
    tmp_path: Path, in_workspace: Path, names: dict[str, str], codes: tuple[int, ...], suffix: str
) -> None:
    write_brats(tmp_path / "HGG" / "BraTS-GLI-00005-001", names, codes, suffix=suffix)
    data_set = only(tmp_path, "BraTS")
    assert [(s.position, s.patient) for s in data_set.samples] == [(2, "BraTS-GLI-00005"), (4, "BraTS-GLI-00005")]
    assert data_set.samples[0].name == "HGG/BraTS-GLI-00005-001#2"
    empty, tumour = pixels_of(data_set)
    assert empty.mask is not None
    assert tumour.mask is not None
    assert not empty.mask.any()
    np.testing.assert_array_equal(tumour.regions, regions((1, 2, 3))[:, :, 4].T)
    np.testing.assert_array_equal(tumour.mask, regions((1, 2, 3))[:, :, 4].T > 0)
    for name, voxels in case_volumes(0).items():
        plane = tumour.sequences[name]
        assert plane.shape == (24, 20)
        assert plane.dtype == np.float32
        assert 0 < plane.max() <= 1
        assert np.corrcoef(plane.ravel(), voxels[:, :, 4].T.ravel())[0, 1] > 0.999


def test_the_resection_cavity_is_no_tumour(tmp_path: Path, in_workspace: Path) -> None:
    write_brats(tmp_path / "BraTS-GLI-02061-100", NEW_NAMES, (1, 4, 3))
    tumour = pixels_of(only(tmp_path, "BraTS"))[1]
    assert tumour.regions is not None
    assert np.unique(tumour.regions).tolist() == [0, 1, 3]


def test_volumes_are_turned_to_one_orientation(tmp_path: Path, in_workspace: Path) -> None:
    write_brats(tmp_path / "a" / "x", FLAT_NAMES, (1, 2, 4))
    for name, voxels in (case_volumes(0) | {"seg": regions((1, 2, 4))}).items():
        write_nifti(tmp_path / "b" / "x" / f"{name}.nii.gz", voxels[::-1, ::-1, ::-1], axes="RAI", spacing=2.0)
    from training.data.cases import BratsCases, read_volume

    one, other = (read_volume(BratsCases(tmp_path / part).cases["x"]) for part in ("a", "b"))
    np.testing.assert_array_equal(one.regions, other.regions)
    np.testing.assert_array_equal(one.sequences["t1ce"], other.sequences["t1ce"])
    assert (one.spacing_mm, other.spacing_mm) == ((1, 1, 1), (2, 2, 2))


@pytest.mark.parametrize("lost", [np.nan, np.inf])
def test_a_volume_with_a_voxel_that_is_no_number_is_named(tmp_path: Path, in_workspace: Path, lost: float) -> None:
    write_brats(tmp_path / "case", FLAT_NAMES, (1,))
    voxels = case_volumes(0)["t2"].astype(np.float32)
    voxels[10, 12, 4] = lost
    write_nifti(tmp_path / "case" / "t2.nii.gz", voxels)
    with pytest.raises(ValueError, match=r"t2.nii.gz: 1 voxels hold no finite number"):
        pixels_of(only(tmp_path, "BraTS"))


def test_a_label_that_the_layout_has_not_is_named(tmp_path: Path, in_workspace: Path) -> None:
    write_brats(tmp_path / "case", FLAT_NAMES, (1, 7))
    with pytest.raises(ValueError, match="label 7"):
        pixels_of(only(tmp_path, "BraTS"))


def test_a_labelled_case_without_a_sequence_is_named(tmp_path: Path, in_workspace: Path) -> None:
    write_brats(tmp_path / "whole", FLAT_NAMES, (1,))
    write_brats(tmp_path / "part", FLAT_NAMES, (1,))
    (tmp_path / "part" / "t2.nii.gz").unlink()
    with pytest.raises(ValueError, match="part"):
        _ = only(tmp_path, "BraTS").samples


def test_sequences_of_different_size_are_refused(tmp_path: Path, in_workspace: Path) -> None:
    write_brats(tmp_path / "case", FLAT_NAMES, (1,))
    write_nifti(tmp_path / "case" / "t2.nii.gz", case_volumes(0, depth=5)["t2"])
    with pytest.raises(ValueError, match="t2 has"):
        pixels_of(only(tmp_path, "BraTS"))


def test_msd_channels_and_labels_become_ours(tmp_path: Path, in_workspace: Path) -> None:
    write_msd(tmp_path, ("BRATS_001", "BRATS_002"))
    # What macOS leaves in the archive is in no list.
    (tmp_path / "imagesTr" / "._BRATS_001.nii.gz").write_bytes(b"\0")
    data_set = only(tmp_path, "MSD Task01")
    assert [s.name for s in data_set.samples] == ["BRATS_001#2", "BRATS_001#4", "BRATS_002#2", "BRATS_002#4"]
    tumour = pixels_of(data_set)[3]
    np.testing.assert_array_equal(tumour.regions, regions((2, 1, 3))[:, :, 4].T)
    for name, voxels in case_volumes(1).items():
        assert np.corrcoef(tumour.sequences[name].ravel(), voxels[:, :, 4].T.ravel())[0, 1] > 0.999


def test_the_published_tables_are_data_sets_too(data: Path) -> None:
    slices, lgg = detect(data)
    assert (slices.layout, lgg.layout) == ("slices.csv", "lgg.csv")
    outlined = next(sample for sample in slices.samples if sample.mask)
    (pixels,) = slices.pixels([outlined])
    assert pixels.mask is not None
    assert pixels.mask.any()
    assert outlined.patient.startswith("p")
    first = next(iter(lgg.pixels(lgg.samples)))
    assert set(first.sequences) == {"t1", "t1ce", "flair"}
    assert first.sequences["flair"].shape == (96, 96)
    assert {sample.split for sample in lgg.samples} == {"train", "val", "test"}


def test_an_unknown_folder_is_refused_with_what_is_known(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(ValueError, match="kaggle_3m tree"):
        detect(tmp_path)


def test_a_table_of_splits_overrules_the_folders(tmp_path: Path) -> None:
    for number in range(3):
        save(head(number), tmp_path / "Training" / "glioma" / f"{number}.png")
    samples = FolderTree(tmp_path).samples
    assert {sample.split for sample in samples} == {"train"}
    write_splits(samples, ("train", "val", "test"), ("a", "b", "c"), tmp_path / "splits.csv")
    assert [sample.split for sample in FolderTree(tmp_path).samples] == ["train", "val", "test"]
    save(head(9), tmp_path / "Training" / "glioma" / "9.png")
    with pytest.raises(ValueError, match=r"does not name Training/glioma/9\.png"):
        _ = FolderTree(tmp_path).samples


def test_a_table_with_a_foreign_split_is_refused(tmp_path: Path) -> None:
    sample = Sample("a.png", ("image",), "mine")
    write_splits([sample], ["holdout"], ["a"], tmp_path / "splits.csv")
    with pytest.raises(ValueError, match="holdout"):
        with_splits([sample], tmp_path / "splits.csv")


def test_sixteen_bit_images_keep_their_range(tmp_path: Path) -> None:
    wide = (head(1).astype(np.uint16) * 257).astype(np.uint16)
    (tmp_path / "glioma").mkdir()
    Image.fromarray(wide).save(tmp_path / "glioma" / "a.png")
    (pixels,) = pixels_of(FolderTree(tmp_path))
    assert np.corrcoef(pixels.sequences["image"].ravel(), wide.ravel())[0, 1] > 0.999
    assert pixels.sequences["image"].max() <= 1
