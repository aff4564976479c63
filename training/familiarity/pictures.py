"""What the perceptron learns from: heads of the project's own data sets, and strangers, each changed in many ways."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from core.imaging.preparation.familiarity import KINDS, describe
from core.imaging.preparation.transforms import Framed
from training.data.archives import FloatArray
from training.data.labelled import ct_heads, read_greys
from training.data.outlined import brats_cases, brats_slices, lgg_rows, read_lgg
from training.data.published import SlicesTable
from training.data.scans import HELD_OUT
from training.familiarity.strangers import Stranger, strangers

# Slices of TCGA-LGG and BraTS lie close to each other; so many are passed over between two that are taken.
_LGG_STEP: Final = 3
_BRATS_STEP: Final = 2
# Less bright pixels than that are the last slice above or below a head.
_LEAST_BRIGHT: Final = 0.03
# How often a picture is changed anew, by what it shows: of strangers there are few.
_TIMES: Final = {"mr": 3, "ct": 4, "other": 6}
_TURNS: Final = {1: "turned_left", 2: "upside_down", 3: "turned_right"}
# How often a head is shown inverted, and a stranger turned.
_INVERTED: Final = 0.7
_LARGEST: Final = 320
# Drawn heads, which people try a service with who have no patient's image at hand.
_DRAWN: Final = 400


@dataclass(frozen=True, eq=False)
class Described:
    """One picture as the perceptron reads it: ``kind`` indexes ``KINDS``, ``source`` is whence it comes."""

    description: FloatArray
    kind: int
    source: str


def own_pictures(data: Path, split: str) -> Iterator[Stranger]:
    """Heads of a split of the project's own data sets, and the CT heads among them. BraTS has no ``val``."""
    rows = [row for row in SlicesTable(data).describe() if row.split == split]
    for row, grey in zip(rows, read_greys(data, rows), strict=True):
        yield Stranger(grey, "ct" if row.image in ct_heads() else "mr", row.source, row.name)
    for index, item in enumerate(read_lgg(data, lgg_rows(data, split)[::_LGG_STEP])):
        name = tuple(item.sequences)[index % len(item.sequences)]
        yield Stranger(item.sequences[name], "mr", f"lgg-{name}", item.patient)
    if split == "train":
        for case in (case for case in brats_cases(data) if case.name not in HELD_OUT):
            for item in list(brats_slices(case))[::_BRATS_STEP]:
                yield from (Stranger(grey, "mr", f"brats-{name}", case.name) for name, grey in item.sequences.items())


def described(pixels: FloatArray) -> FloatArray:
    """The description (d,) of a picture (h, w), as the services make it."""
    framed = Framed.of(pixels)
    return describe(framed.pixels, framed.head)


def examples(data: Path, packages: Path, seed: int) -> Iterator[Described]:
    """Everything that is learnt from, changed at random."""
    rng = np.random.default_rng(seed)
    for picture in own_pictures(data, "train"):
        times = 1 if picture.shows == "mr" else 2 * _TIMES["ct"]
        if picture.shows != "mr" or np.mean(picture.pixels > 0.1) > _LEAST_BRIGHT:
            yield from _of_one(picture, times, rng)
    for _ in range(_DRAWN):
        pixels = drawn_head(rng)
        yield Described(described(pixels), KINDS.index("familiar"), "drawn")
        yield Described(described(inverted(pixels, rng)), KINDS.index("inverted"), "drawn")
    for picture in strangers(packages):
        yield from _of_one(picture, _TIMES[picture.shows], rng)


def _of_one(picture: Stranger, times: int, rng: np.random.Generator) -> Iterator[Described]:
    def described_as(kind: str, pixels: FloatArray) -> Described:
        return Described(described(pixels), KINDS.index(kind), picture.source)

    for _ in range(times):
        if picture.shows != "mr":
            pixels = np.rot90(picture.pixels, int(rng.integers(4))) if rng.random() > _INVERTED else picture.pixels
            yield described_as(picture.shows, changed(pixels, rng))
            continue
        yield described_as("familiar", changed(picture.pixels, rng))
        for turns, kind in _TURNS.items():
            yield described_as(kind, np.rot90(changed(picture.pixels, rng), turns))
        if rng.random() < _INVERTED:
            yield described_as("inverted", inverted(changed(picture.pixels, rng), rng))


def drawn_head(rng: np.random.Generator) -> FloatArray:
    """An axial head of ellipses (h, w): scalp, a dark skull, a brain with texture, ventricles, often a bright blob."""
    height, width = (int(side) for side in rng.integers(96, 320, 2))
    if rng.random() < 0.6:
        width = height
    y, x = np.mgrid[:height, :width].astype(np.float32)
    v, u = (y / height - 0.5) * 2, (x / width - 0.5) * 2
    radius = np.hypot(u / rng.uniform(0.62, 0.9), v / rng.uniform(0.75, 0.95))
    level = rng.uniform(0.3, 0.6)
    grey = np.where(radius < 1.0, rng.uniform(0.4, 0.9), 0.0)
    grey[radius < rng.uniform(0.9, 0.96)] = rng.uniform(0.0, 0.25)
    brain = radius < 0.88
    waves = np.sin(rng.uniform(6, 14) * u + rng.uniform(0, 6)) * np.cos(rng.uniform(6, 14) * v - rng.uniform(0, 6))
    grey[brain] = (level + rng.uniform(0.02, 0.12) * waves)[brain]
    apart, wide, long = rng.uniform(0.09, 0.16), rng.uniform(0.05, 0.1), rng.uniform(0.15, 0.35)
    for side in (-1, 1):
        grey[np.hypot((u - side * apart) / wide, v / long) < 1] = rng.uniform(0.05, 0.2)
    if rng.random() < 0.8:
        away, size, angle = rng.uniform(0.2, 0.5), rng.uniform(0.07, 0.2), rng.uniform(0, 2 * np.pi)
        blob = np.exp(-1.5 * (((u - away * np.cos(angle)) / size) ** 2 + ((v - away * np.sin(angle)) / size) ** 2))
        grey += rng.uniform(0.2, 0.6) * blob * brain
    grey += rng.normal(0, rng.uniform(0.004, 0.03), grey.shape) * (radius < 1.0)
    return np.asarray(np.clip(grey, 0, 1) * rng.uniform(0.5, 1.0), np.float32)


def inverted(pixels: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Black for white: of the whole picture, or of the head alone before its black background."""
    turned = np.float32(pixels.max()) - pixels
    if rng.random() < 0.5:
        turned = turned * (cv2.blur(pixels, (5, 5)) > 0.1 * pixels.max())
    return np.asarray(turned, np.float32)


def changed(pixels: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Mirrored, tilted, shrunk, with other contrast, noise and artefacts of JPEG, as pictures reach a service."""
    scale = min(1.0, _LARGEST / max(pixels.shape)) * rng.uniform(0.5, 1.0)
    size = (max(32, round(pixels.shape[1] * scale)), max(32, round(pixels.shape[0] * scale)))
    grey = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.float32)
    if rng.random() < 0.5:
        grey = grey[:, ::-1]
    tilt = cv2.getRotationMatrix2D((size[0] / 2, size[1] / 2), rng.normal(0, 5), rng.uniform(0.95, 1.1))
    tilt[:, 2] += rng.normal(0, 0.015, 2) * size
    grey = np.asarray(cv2.warpAffine(np.ascontiguousarray(grey), tilt, size, flags=cv2.INTER_LINEAR), np.float32)
    grey = np.clip(grey, 0, 1) ** rng.uniform(0.65, 1.5) * rng.uniform(0.6, 1.15)
    if rng.random() < 0.4:
        grey = np.asarray(cv2.GaussianBlur(grey, (0, 0), rng.uniform(0.4, 1.4)), np.float32)
    if rng.random() < 0.4:
        grey = np.hypot(grey + rng.normal(0, rng.uniform(0, 0.04), grey.shape), rng.normal(0, 0.02, grey.shape))
    levels = np.rint(np.clip(grey, 0, 1) * 255).astype(np.uint8)
    if rng.random() < 0.5:
        _, stream = cv2.imencode(".jpg", levels, (cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 95))))
        levels = np.asarray(cv2.imdecode(stream, cv2.IMREAD_GRAYSCALE), np.uint8)
    return levels.astype(np.float32) / np.float32(255)
