"""Measurements of bodies whose measures are known, on straight, tilted and anisotropic grids."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest

from core.contracts.regions import REGIONS
from segmenter_service.volumes.report import measure
from tests.fixtures.volumes import ORIENTATIONS, make_affine, make_labels, points_mm

SHAPE = (41, 45, 37)


def test_a_box_measures_what_it_is() -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[10:20, 5:11, 8:12] = 2
    affine = make_affine("RAS", (1.0, 2.0, 3.0), SHAPE)
    found = measure(labels, affine)
    region = found.regions["whole_tumor"]
    assert set(found.regions) == {"whole_tumor", "oedema"}
    assert region.voxels == 240
    assert region.volume_ml == pytest.approx(240 * 6 / 1000)
    assert region.bounding_box == {"start": (10, 5, 8), "stop": (20, 11, 12)}
    assert region.centroid_mm == pytest.approx(affine[:3, :3] @ (14.5, 7.5, 9.5) + affine[:3, 3], abs=0.01)
    # 10 x 12 x 12 mm; from face to face the corners are cut by half a voxel.
    assert 12 <= region.longest_diameter_mm <= math.dist((0, 0, 0), (10, 12, 12))
    assert region.largest_section.area_mm2 == pytest.approx(120)
    assert found.axial_axis == 2
    assert [item.slice for item in found.slices] == [8, 9, 10, 11]
    assert found.slices[0].area_mm2 == {"whole_tumor": 120.0, "oedema": 120.0}


@pytest.mark.parametrize("count", [1, 2, 10])
def test_a_row_of_voxels_measures_its_length(count: int) -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[3 : 3 + count, 4, 5] = 3
    region = measure(labels, make_affine("RAS", (2.0, 1.0, 1.0), SHAPE)).regions["enhancing"]
    assert region.longest_diameter_mm == pytest.approx(2.0 * count)
    assert region.largest_section.longest_mm == pytest.approx(2.0 * count)
    assert region.largest_section.perpendicular_mm == pytest.approx(1.0)


@pytest.mark.parametrize("tilt", [0.0, 35.0])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 1.1, 1.6)])
def test_a_ball_measures_its_diameter(tilt: float, spacing: tuple[float, float, float]) -> None:
    affine = make_affine("LPS", spacing, SHAPE, tilt)
    labels = (np.linalg.norm(points_mm(SHAPE, affine), axis=-1) < 10).astype(np.uint8)
    region = measure(labels, affine).regions["whole_tumor"]
    assert region.volume_ml == pytest.approx(4 / 3 * math.pi, rel=0.03)
    assert region.longest_diameter_mm == pytest.approx(20, abs=max(spacing))
    assert region.largest_section.longest_mm == pytest.approx(20, abs=max(spacing))
    assert region.largest_section.perpendicular_mm == pytest.approx(20, abs=max(spacing))
    assert region.largest_section.area_mm2 == pytest.approx(math.pi * 100, rel=0.04)
    assert region.centroid_mm == pytest.approx((0, 0, 0), abs=0.05)


def test_an_ellipsoid_has_a_long_and_a_short_diameter() -> None:
    affine = make_affine("RAS", shape=SHAPE)
    slanted = points_mm(SHAPE, affine) @ np.asarray([[0.8, 0.6, 0], [-0.6, 0.8, 0], [0, 0, 1]])
    labels = (np.linalg.norm(slanted / (16, 8, 6), axis=-1) < 1).astype(np.uint8)
    section = measure(labels, affine).regions["whole_tumor"].largest_section
    assert section.slice == SHAPE[2] // 2
    assert section.longest_mm == pytest.approx(32, abs=1)
    assert section.perpendicular_mm == pytest.approx(16, abs=1)


@pytest.mark.parametrize("orientation", ORIENTATIONS[::5])
def test_the_patient_measures_the_same_in_every_orientation(orientation: str) -> None:
    reference = measure(make_labels(SHAPE, make_affine("RAS", shape=SHAPE)), make_affine("RAS", shape=SHAPE))
    lengths = dict(zip("RAS", SHAPE, strict=True)) | dict(zip("LPI", SHAPE, strict=True))
    shape = (lengths[orientation[0]], lengths[orientation[1]], lengths[orientation[2]])
    affine = make_affine(orientation, shape=shape)
    found = measure(make_labels(shape, affine), affine)
    assert set(found.regions) == set(REGIONS)
    for name, region in found.regions.items():
        same = reference.regions[name]
        assert region.voxels == same.voxels
        assert region.centroid_mm == pytest.approx(same.centroid_mm, abs=0.02)
        assert region.longest_diameter_mm == same.longest_diameter_mm
        assert region.largest_section.area_mm2 == same.largest_section.area_mm2
    assert orientation[found.axial_axis] in "SI"
    areas = [item.area_mm2 for item in found.slices]
    assert areas in ([item.area_mm2 for item in reference.slices], [i.area_mm2 for i in reference.slices[::-1]])


def test_diameters_equal_those_of_all_pairs() -> None:
    """The shortcuts (row ends, convex hull) leave out nothing that counts."""
    rng = np.random.default_rng(5)
    affine = make_affine("SPR", (1.3, 0.8, 2.1), (9, 8, 7), 20)
    for _ in range(20):
        labels = (rng.random((9, 8, 7)) < 0.05).astype(np.uint8)
        if not labels.any():
            continue
        faces = [
            voxel + side * np.eye(3)[axis]
            for voxel in np.argwhere(labels)
            for axis, side in itertools.product(range(3), (-0.5, 0.5))
        ]
        points = np.asarray(faces) @ affine[:3, :3].T
        longest = np.linalg.norm(points[:, None] - points[None], axis=-1).max()
        assert measure(labels, affine).regions["whole_tumor"].longest_diameter_mm == pytest.approx(longest, abs=0.01)


def test_no_tumour_is_an_empty_report() -> None:
    found = measure(np.zeros(SHAPE, np.uint8), np.eye(4))
    assert found.as_json() == {"regions": {}, "axial_axis": 2, "slices": ()}


def test_the_report_is_json() -> None:
    affine = make_affine("LPS", (1.0, 1.0, 2.0), SHAPE)
    found = json.loads(json.dumps(measure(make_labels(SHAPE, affine), affine).as_json()))
    assert list(found["regions"]) == list(REGIONS)
    assert found["regions"]["tumor_core"]["largest_section"]["slice"] in [item["slice"] for item in found["slices"]]
