"""Specks go, tumours stay, whatever labels they are made of."""

from __future__ import annotations

import numpy as np

from segmenter_service.volumes.components import remove_small


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
