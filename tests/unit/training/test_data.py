"""Adapters read the published sets in place and prepare them with the serving transform."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.contracts.manifest import ClassificationPreprocessing, SegmentationPreprocessing
from core.imaging.preparation.transforms import prepare_classification, prepare_segmentation
from training.data.archives import cached
from training.data.labelled import ct_heads, load_slices, read_greys, slice_rows
from training.data.outlined import (
    healthy_rows,
    healthy_slices,
    lgg_rows,
    lgg_slices,
    load_healthy,
    load_lgg,
    load_outlined,
)

CT_HEAD = "slices/sartaj_no_tumor_0001.jpg"


def test_ct_heads_are_listed_and_left_out_of_training_alone(data: Path) -> None:
    assert CT_HEAD in ct_heads()
    assert all(name.startswith("slices/") and name.endswith(".jpg") for name in ct_heads())
    assert CT_HEAD not in {row.image for row in slice_rows(data, "train")}
    assert CT_HEAD in {row.image for row in slice_rows(data, "val")}


def test_a_slice_without_known_patient_is_its_own_group(data: Path) -> None:
    rows = slice_rows(data, "val")
    assert {row.group for row in rows if row.image == CT_HEAD} == {f"sartaj:{CT_HEAD}"}
    assert sum(row.group == "figshare:pval0" for row in rows) == 6


def test_labels_can_be_chosen(data: Path) -> None:
    rows = slice_rows(data, "train", ("pituitary", "glioma"))
    assert {row.label for row in rows} == {"pituitary", "glioma"}


def test_training_sees_what_serving_sees(data: Path, in_workspace: Path) -> None:
    spec = ClassificationPreprocessing(size=64)
    slices = load_slices(data, "val", spec)
    greys = list(read_greys(data, slices.rows))
    for index in (0, len(slices.rows) - 1):
        expected, _ = prepare_classification(greys[index], spec)
        np.testing.assert_allclose(slices.images[index] / 255, expected[0], atol=0.5 / 255 + 1e-6)


def test_masks_lie_over_their_lesions(data: Path, in_workspace: Path) -> None:
    slices = load_slices(data, "train", ClassificationPreprocessing(size=64))
    outlined = [index for index, row in enumerate(slices.rows) if row.mask]
    for index in outlined:
        inside = slices.masks[index] > 127
        assert slices.images[index][inside].mean() > slices.images[index][~inside].max() * 0.9
        assert slices.images[index][inside].mean() > 3 * slices.images[index][~inside].mean()


def test_healthy_slices_have_an_empty_mask_that_counts(data: Path, in_workspace: Path) -> None:
    slices = load_slices(data, "train", ClassificationPreprocessing(size=64))
    healthy = slices.labels == slices.labels.max()
    assert slices.has_mask.all()
    assert not slices.masks[healthy].any()


def test_lgg_panels_become_named_sequences_in_order_of_position(data: Path, in_workspace: Path) -> None:
    rows = lgg_rows(data, "train")
    assert [row.image[-8:-5] for row in rows[:3]] == ["002", "009", "010"]
    item = next(iter(lgg_slices(data, "train")))
    assert set(item.sequences) == {"t1", "t1ce", "flair"}
    slices = load_lgg(data, "train", SegmentationPreprocessing(size=64))
    assert slices.present.tolist() == [True, True, False, True]
    assert slices.has_tumour.tolist() == [False, True, True] * 3
    assert not slices.images[:, 2].any()
    expected, _ = prepare_segmentation(item.sequences, SegmentationPreprocessing(size=64))
    np.testing.assert_allclose(slices.images[0] / 255, expected, atol=0.5 / 255 + 1e-6)


def test_outlined_slices_are_t1ce(data: Path, in_workspace: Path) -> None:
    slices = load_outlined(data, "train", SegmentationPreprocessing(size=64))
    assert slices.present.tolist() == [False, True, False, False]
    assert len(slices.images) == 18
    assert slices.has_tumour.all()


def test_arrays_are_built_once_for_a_key(in_workspace: Path) -> None:
    built = []

    def build() -> dict[str, np.ndarray]:
        built.append(1)
        return {"values": np.arange(3)}

    for _ in range(2):
        np.testing.assert_array_equal(cached("numbers", {"k": 1}, build)["values"], [0, 1, 2])
    assert len(built) == 1
    cached("numbers", {"k": 2}, build)
    assert len(built) == 2


def test_an_interrupted_build_is_not_taken_for_a_cache(in_workspace: Path) -> None:
    def fail() -> dict[str, np.ndarray]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached("interrupted", {}, fail)
    np.testing.assert_array_equal(cached("interrupted", {}, lambda: {"v": np.ones(1)})["v"], [1])


def test_brats_slices_face_upwards(tmp_path: Path) -> None:
    import nibabel as nib

    from training.data.outlined import brats_cases, brats_slices

    case = tmp_path / "brats" / "case"
    case.mkdir(parents=True)
    # Axes towards left, posterior, superior: low second index is the face, high first index the patient's left.
    volume = np.full((30, 40, 6), 100, np.uint8)
    volume[20:, :10] = 250
    labels = np.zeros_like(volume)
    labels[20:, :10, 2] = 4
    for name in ("t1", "t1ce", "t2", "flair"):
        nib.save(nib.Nifti1Image(volume, np.diag([-1, -1, 1, 1])), case / f"{name}.nii.gz")
    nib.save(nib.Nifti1Image(labels, np.diag([-1, -1, 1, 1])), case / "seg.nii.gz")
    slices = list(brats_slices(brats_cases(tmp_path)[0]))
    assert len(slices) == 3
    assert slices[1].mask.shape == (40, 30)
    rows, columns = np.nonzero(slices[1].mask)
    assert rows.max() < 10
    assert columns.min() >= 20
    assert slices[1].sequences["t2"][0, 29] == pytest.approx(250 / 255)


def test_heads_without_tumour_fill_every_channel_and_have_nothing_to_outline(data: Path, in_workspace: Path) -> None:
    rows = healthy_rows(data, "train")
    assert {row.label for row in rows} == {"no_tumor"}
    assert CT_HEAD not in {row.image for row in rows}
    found = load_healthy(data, "train", SegmentationPreprocessing(size=32))
    assert len(found.images) == len(rows) == len(list(healthy_slices(data, "train")))
    assert not found.has_tumour.any()
    assert found.images.any(axis=(1, 2, 3)).all()
    assert (found.images == found.images[:, :1]).all()
