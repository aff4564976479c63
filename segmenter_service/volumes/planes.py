"""Three pictures of a segmented volume: the planes through the largest sections of the tumour, outlined.

Radiological orientation, whatever the input's: the patient's right is on the left of axial and coronal pictures, the
face is up in axial and to the left in sagittal ones. Letters at the edges say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from core.contracts.regions import CHANNELS, COLOURS, REGIONS
from core.imaging.preparation.foreground import find_foreground
from core.imaging.preparation.geometry import Reorientation
from core.imaging.preparation.volume_transforms import stretched
from core.imaging.volume import Bounds, Volume, bounds_of
from segmenter_service.volumes.belief import Belief

LabelArray = npt.NDArray[np.uint8]
ByteArray = npt.NDArray[np.uint8]
Outlines = Mapping[str, tuple[int, int, int]]


@dataclass(frozen=True, slots=True)
class _Plane:
    """``axis`` is the canonical axis that it cuts; ``edges`` are the letters left, right, above and below."""

    name: str
    axis: int
    edges: tuple[str, str, str, str]


# Columns run along the first remaining canonical axis and rows along the second, both backwards: from the patient's
# right to left, from front to back, from top to bottom.
_PLANES: Final = (
    _Plane("sagittal", 0, ("A", "P", "S", "I")),
    _Plane("coronal", 1, ("R", "L", "S", "I")),
    _Plane("axial", 2, ("R", "L", "A", "P")),
)
# From the outermost to the innermost, so that none hides another.
_OUTLINES: Final[Outlines] = {region: COLOURS[region] for region in CHANNELS.values()}
_NAMES: Final = {"whole_tumor": "whole tumour", "tumor_core": "core", "enhancing": "enhancing"}
_GREY_PERCENTILES: Final = (1.0, 99.7)
# Longest side of the picture of the head, in pixels, and the strip with the legend under it.
_SIDE: Final = 640
_STRIP: Final = 52
_MARGIN_MM: Final = 8.0
_FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
_WHITE: Final = (255, 255, 255)
_BLACK: Final = (0, 0, 0)


def render_planes(backdrop: Volume, labels: LabelArray, belief: Belief) -> dict[str, bytes]:
    """PNGs ``axial``, ``coronal`` and ``sagittal``: ``backdrop`` in grey, regions of ``labels`` (i, j, k) outlined.

    Regions that are withheld are left out, and experimental ones are called so under the legend.

    Each plane cuts the tumour where its section is largest, or the middle of the head where there is no tumour. Pixels
    are square in mm. The slice in the legend is the input's own, zero-based as in the report.
    """
    reorientation = Reorientation.of(backdrop.affine)
    grid = reorientation.turn(backdrop.grid)
    voxels, tumor = reorientation.apply(backdrop.voxels), reorientation.apply(labels)
    head = find_foreground(voxels)
    bounds = _view(head.bounds, bounds_of(tumor > 0), grid.spacing_mm, grid.shape)
    window = head.window(voxels, _GREY_PERCENTILES)
    outlines = {region: colour for region, colour in _OUTLINES.items() if region not in belief.withheld}
    note = _note(outlines, belief)
    pictures = {}
    for plane in _PLANES:
        at = _best_slice(tumor, plane.axis, bounds)
        picture = _draw(
            stretched(_section(voxels, plane.axis, at, bounds), window),
            _section(tumor, plane.axis, at, bounds),
            _pixel_mm(grid.spacing_mm, plane.axis),
            outlines,
        )
        own = grid.shape[plane.axis] - 1 - at if reorientation.reversed[plane.axis] else at
        pictures[plane.name] = _encode(_annotated(picture, f"{plane.name}, slice {own}", plane.edges, outlines, note))
    return pictures


def _note(outlines: Outlines, belief: Belief) -> str:
    """What must be known of the outlines by somebody who sees the picture alone."""
    doubted = [_NAMES[region] for region in outlines if region in belief.experimental]
    if doubted:
        return f"Experimental: {', '.join(doubted)}."
    return "" if outlines else "Outlines are withheld: see the report."


def to_grey(backdrop: Volume) -> ByteArray:
    """``backdrop`` on its own grid, 0 to 255 over the same window of grey values as the pictures."""
    voxels = Reorientation.of(backdrop.affine).apply(backdrop.voxels)
    window = find_foreground(voxels).window(voxels, _GREY_PERCENTILES)
    grey = np.empty(backdrop.voxels.shape, np.uint8, order="F")
    for k in range(backdrop.grid.shape[2]):  # so that memory is that of the result
        grey[:, :, k] = np.rint(stretched(backdrop.voxels[:, :, k], window) * 255)
    return grey


def _view(head: Bounds, tumor: Bounds | None, spacing_mm: tuple[float, ...], shape: tuple[int, int, int]) -> Bounds:
    shown = head if tumor is None else head.union(tumor)
    i, j, k = (round(_MARGIN_MM / spacing) for spacing in spacing_mm)
    return shown.grown((i, j, k), shape)


def _best_slice(tumor: LabelArray, axis: int, bounds: Bounds) -> int:
    """The canonical slice with most tumour; of several, the middle one."""
    others = tuple(other for other in range(3) if other != axis)
    areas = np.count_nonzero(tumor, axis=others)
    if not areas.any():
        return (bounds.start[axis] + bounds.stop[axis]) // 2
    largest = np.flatnonzero(areas == areas.max())
    return int(largest[largest.size // 2])


def _section(voxels: npt.NDArray[Any], axis: int, at: int, bounds: Bounds) -> npt.NDArray[Any]:
    """One canonical slice (rows, columns) as it is shown."""
    section: npt.NDArray[Any] = np.take(voxels[bounds.slices], at - bounds.start[axis], axis)
    return section[::-1, ::-1].T


def _pixel_mm(spacing_mm: tuple[float, ...], axis: int) -> tuple[float, float]:
    """(row, column) spacing of a section."""
    column, row = (spacing for other, spacing in enumerate(spacing_mm) if other != axis)
    return row, column


def _draw(
    grey: npt.NDArray[np.float32], labels: LabelArray, pixel_mm: tuple[float, float], outlined: Outlines
) -> ByteArray:
    """An RGB picture (h, w, 3) of a section in [0, 1] with its regions outlined, the longest side ``_SIDE``."""
    height_mm, width_mm = grey.shape[0] * pixel_mm[0], grey.shape[1] * pixel_mm[1]
    scale = _SIDE / max(height_mm, width_mm)
    size = (max(1, round(width_mm * scale)), max(1, round(height_mm * scale)))
    enlarged = cv2.resize(np.ascontiguousarray(grey), size, interpolation=cv2.INTER_LINEAR)
    picture = np.repeat(np.rint(enlarged * 255).astype(np.uint8)[:, :, None], 3, axis=2)
    for region, colour in outlined.items():
        mask = np.isin(labels, REGIONS[region]).astype(np.float32)
        smooth = cv2.resize(mask, size, interpolation=cv2.INTER_LINEAR) > 0.5
        outlines, _ = cv2.findContours(smooth.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, outlines, -1, colour, 2, cv2.LINE_AA)
    return picture


def _annotated(
    picture: ByteArray, title: str, edges: tuple[str, str, str, str], outlines: Outlines, note: str
) -> ByteArray:
    """The picture centred in a square, with letters at its edges and a legend under it."""
    canvas = np.zeros((_SIDE + _STRIP, _SIDE, 3), np.uint8)
    top, left = (_SIDE - picture.shape[0]) // 2, (_SIDE - picture.shape[1]) // 2
    canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    middle = _SIDE // 2
    for letter, place in zip(
        edges, ((8, middle), (_SIDE - 26, middle), (middle - 9, 24), (middle - 9, _SIDE - 8)), strict=True
    ):
        _write(canvas, letter, place, 0.8, _WHITE)
    _write(canvas, title, (8, _SIDE + 20), 0.5, _WHITE)
    _write(canvas, "Research use only. Not a medical device.", (8, _SIDE + 42), 0.45, (170, 170, 170))
    _write(canvas, note, (330, _SIDE + 42), 0.45, _WHITE)
    column = 240
    for region, colour in outlines.items():
        cv2.line(canvas, (column, _SIDE + 15), (column + 22, _SIDE + 15), colour, 2, cv2.LINE_AA)
        _write(canvas, _NAMES[region], (column + 28, _SIDE + 20), 0.5, _WHITE)
        column += 155 if region == "whole_tumor" else 95
    return canvas


def _write(canvas: ByteArray, text: str, place: tuple[int, int], scale: float, colour: tuple[int, int, int]) -> None:
    """Text with its base line at ``place`` (x, y), rimmed in black so that it reads on bright tissue."""
    cv2.putText(canvas, text, place, _FONT, scale, _BLACK, 4, cv2.LINE_AA)
    cv2.putText(canvas, text, place, _FONT, scale, colour, 1, cv2.LINE_AA)


def _encode(picture: ByteArray) -> bytes:
    _, encoded = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    return encoded.tobytes()
