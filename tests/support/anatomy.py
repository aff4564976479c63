"""Simulated MR of real anatomy: the tissues of the MNI152 template, four sequences, a painted lesion, a drawn skull.

The template is an average of 152 healthy people, so nothing in it is of one of them. What shines how brightly in which
sequence is chosen to look as in an MR scan; nothing is computed from relaxation times. Volumes have the template's grid
of 1 mm and its axes, to the right, anterior and superior; points are in its millimetres.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import cv2
import nibabel as nib
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Point = tuple[float, float, float]
Sequence = Literal["t1", "t1ce", "t2", "flair"]

SEQUENCES: Final[tuple[Sequence, ...]] = ("t1", "t1ce", "t2", "flair")
_FILE: Final = "mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
# Greys of what is painted, in the order of SEQUENCES, where 1 is the brightest of a slice.
_GREYS: Final[Mapping[str, tuple[float, float, float, float]]] = {
    "grey matter": (0.47, 0.47, 0.56, 0.52),
    "white matter": (0.66, 0.64, 0.38, 0.38),
    "fluid": (0.13, 0.13, 0.95, 0.08),
    "oedema": (0.44, 0.43, 0.80, 0.86),
    "core": (0.24, 0.19, 0.86, 0.46),
    "ring": (0.46, 0.98, 0.60, 0.68),
    "meningioma": (0.50, 0.95, 0.62, 0.58),
    "vessel": (0.20, 0.90, 0.12, 0.15),
    "bone": (0.05, 0.05, 0.05, 0.05),
    "marrow": (0.32, 0.34, 0.26, 0.24),
    "muscle": (0.36, 0.42, 0.22, 0.26),
    "fat": (0.86, 0.86, 0.62, 0.58),
    "skin": (0.50, 0.58, 0.34, 0.36),
}
_SLOPE_MM: Final = 0.8
_BENT_MM: Final = 1.6
# Of a head with its skull, how far its middle lies in front of the template's origin and behind it.
_MIDDLE: Final = (0.0, -18.0)


@dataclass(frozen=True)
class Tumour:
    """A lesion around ``centre`` with half axes ``radii``: a ``ring`` around a dark core, or ``solid`` on the dura.

    ``swelling`` is how far its oedema reaches beyond it, ``push`` how far it moves the brain, all in millimetres.
    """

    kind: Literal["ring", "solid"]
    centre: Point
    radii: Point
    swelling: float
    push: float
    seed: int


@dataclass(frozen=True, eq=False)
class Head:
    """A brain (x, y, z) in 1 mm: its T1 in [0, 1], shares of grey and white matter, where it is, and its ``origin``."""

    t1: FloatArray
    grey: FloatArray
    white: FloatArray
    origin: Point

    def level(self, z: float) -> int:
        """The index of the axial slice at ``z`` millimetres."""
        return round(z - self.origin[2])


def read_template(folder: Path) -> Head:
    """The template of nilearn, whose data files lie in ``folder``."""
    images = [nib.load(folder / _FILE.format(name)) for name in ("t1", "gm", "wm")]
    t1, grey, white = (np.asarray(image.dataobj, np.float32) / np.float32(255) for image in images)
    x, y, z = (float(value) for value in images[0].affine[:3, 3])
    return Head(t1, grey, white, (x, y, z))


@dataclass(frozen=True)
class Frame:
    """A square of ``side`` pixels, each ``spacing`` millimetres wide, with the head in its middle."""

    side: int
    spacing: float

    def points(self, z: float) -> FloatArray:
        """Where its pixels lie in the plane at ``z``, (3, side, side): columns to the left, rows to the back."""
        rows, columns = (np.mgrid[: self.side, : self.side] - (self.side - 1) / 2) * self.spacing
        return np.stack([_MIDDLE[0] - columns, _MIDDLE[1] - rows, np.full_like(rows, z)]).astype(np.float32)


def simulate(
    head: Head, z: float, tumour: Tumour | None, frame: Frame, *, skull: bool, seed: int
) -> dict[Sequence, FloatArray]:
    """The four sequences of the axial slice at ``z`` millimetres, each (h, w) in [0, 1], as a radiologist sees it.

    Without ``skull`` all is black outside of the brain. ``seed`` is of the noise and of the coils' shading.
    """
    points = frame.points(z)
    moved = _moved(points, tumour)
    level = head.level(z)
    t1, grey, white = (_sampled(volume[:, :, level], moved, head.origin) for volume in (head.t1, head.grey, head.white))
    brain = _sampled((head.t1[:, :, level] > 0).astype(np.float32), moved, head.origin)
    around = _around(brain) * np.float32(frame.spacing)
    shares = _painted(points, brain, white, around, tumour)
    mottled = 1 + 0.07 * _waves(points, (4, 18), seed)
    made: dict[Sequence, FloatArray] = {}
    for index, name in enumerate(SEQUENCES):
        tissue = _tissue(t1, grey, white, index) * brain
        if skull:
            tissue = _with_skull(tissue, brain, around, points, index)
        for what, share in shares.items():
            tissue += share * (_GREYS[what][index] * mottled - tissue)
        scanned = _scanned(tissue, points, (seed, index, level))
        made[name] = scanned if skull else scanned * (brain > 0.5)
    return made


def _moved(points: FloatArray, tumour: Tumour | None) -> FloatArray:
    """Where in the template what is seen at ``points`` comes from: no head is symmetric, and a tumour takes room."""
    bent = _waves(points, (80, 160), 1), _waves(points, (80, 160), 2), 0 * points[0]
    moved = points + np.float32(_BENT_MM) * np.stack(bent)
    if tumour is None:
        return np.asarray(moved, np.float32)
    away = _from_centre(points, tumour)
    distance = np.maximum(np.sqrt((away**2).sum(axis=0)), 1e-3)
    reach = max(tumour.radii) + 2.5 * tumour.push
    share = tumour.push * np.exp(-((distance / reach) ** 2))
    return np.asarray(moved - share * away / distance, np.float32)


def _sampled(cut: FloatArray, points: FloatArray, origin: Point) -> FloatArray:
    """An axial cut (x, y) of the template at points (3, h, w)."""
    columns, rows = points[1] - np.float32(origin[1]), points[0] - np.float32(origin[0])
    return np.asarray(np.clip(cv2.remap(cut, columns, rows, cv2.INTER_CUBIC), 0, 1), np.float32)


def _tissue(t1: FloatArray, grey: FloatArray, white: FloatArray, index: int) -> FloatArray:
    """The brain in one sequence: the template's own greys in T1, else what its tissues have."""
    if SEQUENCES[index] in ("t1", "t1ce"):
        return np.asarray(np.clip((t1 - 0.28) / 0.66, 0.1, 1) * 0.7, np.float32)
    shares = {"grey matter": grey, "white matter": white, "fluid": np.clip(1 - grey - white, 0, 1)}
    total = sum(shares.values(), np.float32(0))
    return np.asarray(sum(share * _GREYS[what][index] for what, share in shares.items()) / total, np.float32)


def _around(brain: FloatArray) -> FloatArray:
    """How far pixels lie outside of the brain's hull, in millimetres; inside below 0."""
    outlines, _ = cv2.findContours((brain > 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros(brain.shape, np.uint8)
    cv2.fillConvexPoly(filled, cv2.convexHull(np.concatenate(outlines)), 1)
    inside = cv2.distanceTransform(filled, cv2.DIST_L2, 5)
    outside = cv2.distanceTransform(np.asarray(1 - filled, np.uint8), cv2.DIST_L2, 5)
    return np.asarray(cv2.GaussianBlur(outside - inside, (0, 0), 1.5), np.float32)


def _with_skull(
    tissue: FloatArray, brain: FloatArray, around: FloatArray, points: FloatArray, index: int
) -> FloatArray:
    """The brain in its fluid, bone with marrow, muscle and fat below the skin."""
    side = np.abs(points[0]) / np.maximum(np.hypot(points[0], points[1] - _MIDDLE[1]), 1)
    bone = 6.5 + 1.2 * _waves(points, (50, 110), 3) - 2.0 * side**4
    scalp = 6.0 + 1.0 * _waves(points, (50, 110), 4) + 1.5 * side**6
    depth = around - 1.5  # from the inner table on
    within, beyond = depth / bone, (depth - bone) / scalp
    layers = (
        ("fluid", _step(around + 4) * (1 - _step(depth))),
        ("bone", _step(depth) * (1 - _step(depth - bone))),
        ("marrow", np.exp(-(((within - 0.5) / 0.22) ** 2)) * (0.75 + 0.3 * _waves(points, (8, 30), 5))),
        ("fat", _step(depth - bone) * (1 - _step(depth - bone - scalp))),
        ("muscle", np.exp(-(((beyond - 0.3) / 0.35) ** 2)) * np.clip(3 * side**8 - 0.4, 0, 1)),
        ("skin", _step(depth - bone - 0.75 * scalp) * (1 - _step(depth - bone - scalp))),
    )
    head = np.asarray(brain * tissue + (1 - brain) * _GREYS["fluid"][index] * _step(-around), np.float32)
    for what, share in layers:
        hidden = share * (1 - brain) if what == "fluid" else share
        head += np.clip(hidden, 0, 1) * (_GREYS[what][index] - head)
    return head


def _painted(
    points: FloatArray, brain: FloatArray, white: FloatArray, around: FloatArray, tumour: Tumour | None
) -> dict[str, FloatArray]:
    """Which share of each pixel is what was painted, in the order of painting."""
    # The sagittal sinus, before and behind, where the falx meets the skull.
    sinus = _step(2.6 - np.hypot(points[0] + np.float32(_BENT_MM) * _waves(points, (80, 160), 1), around + 2.0)) * (
        np.abs(points[0]) < 12
    )
    if tumour is None:
        return {"vessel": np.asarray(sinus, np.float32)}
    away = _from_centre(points, tumour)
    shaped = np.sqrt(sum((away[axis] / tumour.radii[axis]) ** 2 for axis in range(3)))
    size = float(np.mean(tumour.radii))
    rough = 0.11 if tumour.kind == "ring" else 0.03
    depth = size * (1 - shaped + rough * _waves(points, (12, 40), tumour.seed))  # in millimetres, from its edge inward
    swollen = depth + tumour.swelling * (0.55 + 0.35 * _waves(points, (25, 60), tumour.seed + 1))
    follows = np.clip(0.25 + cv2.GaussianBlur(white, (0, 0), 1.0), 0, 1)
    shares = {"vessel": sinus, "oedema": 0.9 * _step(swollen / 2.5) * follows * brain}
    if tumour.kind == "ring":
        wall = 0.24 * size * (1 + 0.5 * _waves(points, (18, 50), tumour.seed + 2))
        shares["ring"] = _step(depth) * brain
        shares["core"] = _step(depth - wall) * brain
    else:
        inside = _step(-around - 0.5)
        shares["fluid"] = 0.7 * _step(depth + 2) * inside
        shares["meningioma"] = _step(depth) * inside
    return {what: np.asarray(share, np.float32) for what, share in shares.items()}


def _from_centre(points: FloatArray, tumour: Tumour) -> FloatArray:
    return points - np.asarray(tumour.centre, np.float32)[:, None, None]


def _step(millimetres: FloatArray) -> FloatArray:
    """From 0 to 1 where a surface is crossed."""
    return np.asarray(1 / (1 + np.exp(-np.clip(millimetres / _SLOPE_MM * 2, -30, 30))), np.float32)


def _waves(points: FloatArray, lengths: tuple[float, float], seed: int) -> FloatArray:
    """A smooth random field at points (3, h, w), of waves so long; its standard deviation is 1."""
    rng = np.random.default_rng(seed)
    count = 24
    directions = rng.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    turns = directions * (2 * np.pi / rng.uniform(*lengths, size=(count, 1)))
    phases = rng.uniform(0, 2 * np.pi, count)
    waves = np.cos(np.tensordot(turns.astype(np.float32), points, axes=1) + phases.astype(np.float32)[:, None, None])
    return np.asarray(waves.sum(axis=0) * np.float32(np.sqrt(2 / count)), np.float32)


def _scanned(tissue: FloatArray, points: FloatArray, seed: tuple[int, int, int]) -> FloatArray:
    """What a scanner makes of it: texture of tissue, shading of the coils, noise that is never below zero."""
    rng = np.random.default_rng(seed)
    texture = cv2.GaussianBlur(rng.normal(0, 1, tissue.shape).astype(np.float32), (0, 0), 1.0)
    shading = 1 + 0.05 * _waves(points, (150, 300), seed[0] + seed[1])
    noise = rng.normal(0, 0.014, (2, *tissue.shape)).astype(np.float32)
    seen = np.hypot(tissue * (1 + 0.075 * texture) * shading + noise[0], noise[1])
    return np.asarray(np.clip(seen, 0, 1), np.float32)
