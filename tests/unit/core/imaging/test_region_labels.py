"""Regions are nested; specks go, tumours stay, whatever labels they are made of; a little that enhances is core."""

from __future__ import annotations

import numpy as np

from core.imaging.region_labels import clean_labels, label_nested, remove_small


def labelled() -> np.ndarray:
    labels = np.zeros((20, 22, 18), np.uint8)
    labels[2:8, 2:8, 2:8] = 2
    labels[4:6, 4:6, 4:6] = 1
    labels[15, 15, 15] = 3
    labels[12:14, 3, 9] = 1
    return labels


def test_components_below_the_volume_are_removed() -> None:
    labels = labelled()
    before = labels.copy()
    found = remove_small(labels, min_mm3=2.5, voxel_mm3=1.0)
    assert (found.kept, found.removed) == (1, 2)
    assert np.array_equal(found.labels[:10], before[:10])
    assert not found.labels[10:].any()
    assert np.array_equal(labels, before)


def test_the_volume_is_in_cubic_millimetres() -> None:
    found = remove_small(labelled(), min_mm3=2.5, voxel_mm3=1.5)
    assert (found.kept, found.removed) == (2, 1)
    assert found.labels[12, 3, 9] == 1
    assert found.labels[15, 15, 15] == 0


def test_voxels_that_touch_in_a_corner_belong_together() -> None:
    labels = np.zeros((9, 9, 9), np.uint8)
    labels[3, 3, 3], labels[4, 4, 4], labels[5, 5, 5] = 1, 2, 3
    assert remove_small(labels, 3.0, 1.0).removed == 0
    assert remove_small(labels, 3.1, 1.0).removed == 1


def test_nothing_to_remove_is_no_copy() -> None:
    labels = labelled()
    assert remove_small(labels, 0.0, 1.0).labels is labels
    empty = np.zeros((5, 5, 5), np.uint8)
    assert remove_small(empty, 10.0, 1.0).labels is empty


def test_all_of_it_may_go() -> None:
    found = remove_small(labelled(), 1e6, 1.0)
    assert (found.kept, found.removed) == (0, 3)
    assert not found.labels.any()


def test_a_voxel_counts_for_a_region_only_within_the_one_around_it() -> None:
    places = np.arange(6).reshape(1, 1, 6)
    masks = (places >= 1, places >= 3, (places == 2) | (places == 5))
    assert label_nested(masks, (1, 1, 6)).ravel().tolist() == [0, 2, 2, 1, 1, 3]
    # A scan that knows the whole tumour alone.
    assert label_nested(masks[:1], (1, 1, 6)).ravel().tolist() == [0, 2, 2, 2, 2, 2]


def enhancing(voxels: int) -> np.ndarray:
    labels = labelled()
    labels[15, 15, 15] = 0
    labels[2, 2, 2 : 2 + voxels] = 3
    return labels


def test_too_little_that_enhances_is_core() -> None:
    found = clean_labels(enhancing(3), voxel_mm3=2.0, component_mm3=0.0, enhancing_mm3=6.1)
    assert found.absorbed == 3
    assert found.labels[2, 2, 2:6].tolist() == [1, 1, 1, 2]
    assert np.array_equal(found.labels > 0, enhancing(3) > 0)
    enough = enhancing(3)
    kept = clean_labels(enough, voxel_mm3=2.0, component_mm3=0.0, enhancing_mm3=6.0)
    assert kept.labels is enough
    assert kept.absorbed == 0


def test_what_enhances_is_counted_after_specks_are_gone() -> None:
    labels = labelled()
    labels[3, 3, 3:5] = 3
    # A third voxel enhances in a speck of its own.
    found = clean_labels(labels, voxel_mm3=1.0, component_mm3=1.5, enhancing_mm3=3.0)
    assert (found.absorbed, found.removed) == (2, 1)
    assert not (found.labels == 3).any()
    assert clean_labels(labels, voxel_mm3=1.0, component_mm3=0.0, enhancing_mm3=3.0).absorbed == 0
