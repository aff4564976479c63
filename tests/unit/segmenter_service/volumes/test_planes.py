"""The three pictures: whose right is where, which slice is shown, and that outlines lie where the tumour is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from core.imaging.volume import Volume
from segmenter_service.volumes.belief import Belief
from segmenter_service.volumes.planes import render_planes, to_grey
from tests.fixtures.volumes import ORIENTATIONS, make_affine, points_mm

YELLOW_BGR = (66, 228, 240)
SIDE = 640
ALL = Belief({}, {})


def head_with_lesion(
    orientation: str, spacing: tuple[float, float, float] = (2.0, 2.0, 2.0)
) -> tuple[Volume, np.ndarray]:
    """A grey ball of 80 mm radius around the origin, and a bright lesion in its right, front and upper part."""
    shape = tuple(int(176 / mm) for mm in spacing)
    affine = make_affine(orientation, spacing, (shape[0], shape[1], shape[2]))
    points = points_mm((shape[0], shape[1], shape[2]), affine)
    brain = 300.0 + 100.0 * np.cos(points / 9).prod(axis=-1)
    voxels = np.where(np.linalg.norm(points, axis=-1) < 80, brain, 0.0).astype(np.float32)
    lesion = np.linalg.norm(points - (40, 30, 20), axis=-1) < 15
    voxels[lesion] = 600
    return Volume(voxels, affine), lesion.astype(np.uint8) * 2


def picture(png: bytes) -> np.ndarray:
    decoded = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.asarray(decoded)


def outline_centre(image: np.ndarray) -> tuple[float, float]:
    """(row, column) of the yellow outline's middle, as shares of the picture of the head; (0, 0) is its centre."""
    near = np.abs(image[:SIDE].astype(int) - YELLOW_BGR).max(axis=2) < 30
    rows, columns = np.nonzero(near)
    assert rows.size > 50
    return (rows.min() + rows.max()) / 2 / SIDE - 0.5, (columns.min() + columns.max()) / 2 / SIDE - 0.5


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_lesion_is_where_a_radiologist_expects_it(orientation: str) -> None:
    backdrop, labels = head_with_lesion(orientation, (4.0, 4.0, 4.0))
    pictures = {name: outline_centre(picture(png)) for name, png in render_planes(backdrop, labels, ALL).items()}
    scale = 172  # mm: the picture ends where the volume does
    # Right is on the left, front and top are up; in sagittal pictures the face looks left.
    assert pictures["axial"] == pytest.approx((-30 / scale, -40 / scale), abs=0.03)
    assert pictures["coronal"] == pytest.approx((-20 / scale, -40 / scale), abs=0.03)
    assert pictures["sagittal"] == pytest.approx((-20 / scale, -30 / scale), abs=0.03)


def test_pixels_are_square_in_millimetres() -> None:
    backdrop, labels = head_with_lesion("LPS", (1.0, 2.0, 6.0))
    for png in render_planes(backdrop, labels, ALL).values():
        grey = picture(png)[:SIDE].max(axis=2) > 20
        # Away from the letters at the edges.
        rows = np.flatnonzero(grey[40:-40].any(axis=1))
        columns = np.flatnonzero(grey[:, 40:-40].any(axis=0))
        assert np.ptp(rows) / np.ptp(columns) == pytest.approx(1.0, abs=0.06)


def test_letters_stand_at_the_edges() -> None:
    backdrop, labels = head_with_lesion("RAS", (4.0, 4.0, 4.0))
    pictures = {name: picture(png) for name, png in render_planes(backdrop, labels, ALL).items()}

    def left(name: str) -> np.ndarray:
        return pictures[name][SIDE // 2 - 24 : SIDE // 2 + 8, 4:30]

    assert np.array_equal(left("axial"), left("coronal"))
    assert left("axial").max() > 200
    # A face that looks left: A in place of R.
    assert not np.array_equal(left("axial"), left("sagittal"))


def test_without_a_tumour_the_middle_is_shown_and_nothing_is_outlined() -> None:
    backdrop, labels = head_with_lesion("SRP", (4.0, 4.0, 4.0))
    for png in render_planes(backdrop, np.zeros_like(labels), ALL).values():
        image = picture(png)
        assert image.shape == (SIDE + 52, SIDE, 3)
        assert not (np.abs(image[:SIDE].astype(int) - YELLOW_BGR).max(axis=2) < 30).any()
        assert image[SIDE // 2, SIDE // 2].max() > 60


def test_what_is_withheld_is_neither_drawn_nor_named_and_the_picture_says_so() -> None:
    backdrop, labels = head_with_lesion("RAS", (4.0, 4.0, 4.0))
    legend, note = (slice(SIDE, SIDE + 28), slice(230, SIDE)), (slice(SIDE + 28, SIDE + 52), slice(325, SIDE))
    reasons = dict.fromkeys(("whole_tumor", "tumor_core", "necrotic_core", "oedema", "enhancing"), "not validated")
    cases = {
        "all": (ALL, labels, True, False),
        "withheld": (Belief(reasons, {}), np.zeros_like(labels), False, True),
        "experimental": (Belief({}, reasons), labels, True, True),
    }
    for belief, carried, named, noted in cases.values():
        image = picture(render_planes(backdrop, carried, belief)["axial"])
        assert bool((image[legend] > 100).any()) is named
        assert bool((image[note] > 100).any()) is noted
        assert bool((np.abs(image[:SIDE].astype(int) - YELLOW_BGR).max(axis=2) < 30).any()) is named


def test_the_tumour_is_shown_even_where_the_head_is_not_found() -> None:
    backdrop, labels = head_with_lesion("RAS", (4.0, 4.0, 4.0))
    labels[:] = 0
    labels[0:3, 0:3, 0:3] = 2
    for png in render_planes(backdrop, labels, ALL).values():
        outline_centre(picture(png))


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "PSR"])
def test_grey_values_lie_where_the_backdrop_has_them_within_the_window_of_the_pictures(orientation: str) -> None:
    backdrop, labels = head_with_lesion(orientation, (4.0, 4.0, 4.0))
    grey = to_grey(backdrop)
    assert grey.dtype == np.uint8
    assert grey.shape == backdrop.voxels.shape
    low, high = np.percentile(backdrop.voxels[backdrop.voxels > 0], (1.0, 99.7))
    expected = np.clip((backdrop.voxels - low) / (high - low), 0, 1) * 255
    assert np.abs(grey - expected).max() <= 1
    assert (grey[labels > 0] == 255).all()
    assert (grey[backdrop.voxels == 0] == 0).all()


def test_one_value_everywhere_is_black() -> None:
    assert not to_grey(Volume(np.full((9, 9, 9), 7.0, np.float32), np.eye(4))).any()
