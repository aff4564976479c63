"""Heads without tumour, made of heads with one."""

from __future__ import annotations

import numpy as np
import pytest

from core.imaging.volume import Volume
from training.data.healthy import mirror_plane, mirrored_half, mirrored_scan, without_tumour
from training.data.scans import LabelledScan, PreparedScan


def head(width: int = 24, centre: float = 11.0) -> np.ndarray:
    """A ball of grey noise about a plane of symmetry at ``centre``, as alike on both sides as heads are."""
    places = np.indices((width, 20, 20)).astype(np.float64)
    around = ((places[0] - centre) / 10) ** 2 + ((places[1] - 10) / 9) ** 2 + ((places[2] - 10) / 9) ** 2
    noise = np.random.default_rng(0).integers(100, 200, (width, 20, 20))
    return np.where(around < 1, noise, 0).astype(np.uint8)


@pytest.mark.parametrize("centre", [10.5, 11.0, 12.0, 13.5])
def test_the_plane_between_the_halves_is_found(centre: float) -> None:
    assert mirror_plane(head(centre=centre) > 0) == round(2 * centre)


@pytest.mark.parametrize("centre", [10.5, 11.0, 13.0])
@pytest.mark.parametrize("left", [True, False])
def test_the_half_without_tumour_stands_on_both_sides(centre: float, *, left: bool) -> None:
    image = head(centre=centre)
    tumour = np.zeros(image.shape, np.bool_)
    place = 5 if left else 18
    tumour[place, 9:12, 9:12] = True
    marked = np.where(tumour, np.uint8(255), image)
    found = mirrored_half(marked[None], tumour)
    assert found is not None
    assert found.max() < 255
    plane = round(2 * centre)
    healthy = [i for i in range(24) if (2 * i > plane if left else 2 * i < plane)]
    for i in healthy:
        assert np.array_equal(found[0, i], image[i])
        if 0 <= plane - i < 24:
            assert np.array_equal(found[0, plane - i], image[i])


def test_a_tumour_on_both_sides_leaves_no_half() -> None:
    image = head()
    tumour = np.zeros(image.shape, np.bool_)
    tumour[5, 10, 10] = tumour[18, 10, 10] = True
    assert mirrored_half(image[None], tumour) is None
    middle = np.zeros(image.shape, np.bool_)
    middle[11, 10, 10] = True
    assert mirrored_half(image[None], middle) is None


def test_a_mirrored_scan_knows_that_it_has_no_region() -> None:
    image = head()
    regions = np.zeros((3, *image.shape), np.bool_)
    regions[:, 5, 10, 10] = True
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    found = mirrored_scan(LabelledScan({"flair": Volume(image.astype(np.float32), affine)}, regions))
    assert found is not None
    assert found.regions.shape == regions.shape
    assert not found.regions.any()
    assert np.array_equal(found.sequences["flair"].voxels[17], image[17])
    assert np.array_equal(found.sequences["flair"].voxels[5], image[17])


def test_stacks_give_their_longest_stretch_without_tumour() -> None:
    images = np.broadcast_to(np.arange(30, dtype=np.uint8), (4, 6, 6, 30)).copy()
    regions = np.zeros((1, 6, 6, 30), np.uint8)
    regions[0, 3, 3, 8:12] = 200
    found = without_tumour(PreparedScan(images, regions, np.zeros((0, 3), np.intp)))
    assert found is not None
    # One slice beside the tumour is left out.
    assert found.images[0, 0, 0].tolist() == list(range(13, 30))
    assert found.regions.shape == (3, 6, 6, 17)
    assert found.known.tolist() == [1, 1, 1]
    regions[0, 3, 3, 5:25] = 200
    assert without_tumour(PreparedScan(images, regions, np.zeros((0, 3), np.intp))) is None
