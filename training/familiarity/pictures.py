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
from training.familiarity.drawn import LEARNT
from training.familiarity.made_up import INVERSIONS, inverted, made_up_ct
from training.familiarity.strangers import Stranger, strangers

# Slices of TCGA-LGG and BraTS lie close to each other; so many are passed over between two that are taken.
_LGG_STEP: Final = 3
_BRATS_STEP: Final = 2
# Less bright pixels than that are the last slice above or below a head.
_LEAST_BRIGHT: Final = 0.03
# How often a picture is changed anew, by what it shows: of strangers there are few.
_TIMES: Final = {"mr": 3, "ct": 3, "other": 5}
_OWN_CT: Final = 8
# Of the heads so many are shown inverted as well, and made up as CT.
_INVERTED: Final = 0.6
_MADE_UP: Final = 0.25
_LARGEST: Final = 320
_CT_SIDE: Final = 256
_DRAWN: Final = 1500


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
    """Everything that is learnt from, upright and changed at random; ``fit`` turns descriptions itself."""
    rng = np.random.default_rng(seed)
    for picture in own_pictures(data, "train"):
        if picture.shows != "mr":
            yield from _strange(picture, _OWN_CT, rng)
        elif np.mean(picture.pixels > 0.1) > _LEAST_BRIGHT:
            yield from _head(picture, 1, rng)
    drawings = tuple(LEARNT.values())
    for _ in range(_DRAWN):
        pixels = drawings[int(rng.integers(len(drawings)))](rng)
        yield Described(described(pixels), KINDS.index("other"), "drawn")
    for picture in strangers(packages):
        if picture.shows == "mr":
            yield from _head(picture, _TIMES["mr"], rng)
        else:
            yield from _strange(picture, _TIMES[picture.shows], rng)


def _strange(picture: Stranger, times: int, rng: np.random.Generator) -> Iterator[Described]:
    for _ in range(times):
        yield Described(described(changed(picture.pixels, rng)), KINDS.index(picture.shows), picture.source)


def _head(picture: Stranger, times: int, rng: np.random.Generator) -> Iterator[Described]:
    for _ in range(times):
        yield Described(described(changed(picture.pixels, rng)), KINDS.index("familiar"), picture.source)
    if rng.random() < _INVERTED:
        how = INVERSIONS[int(rng.integers(len(INVERSIONS)))]
        pixels = inverted(changed(picture.pixels, rng), how)
        yield Described(described(pixels), KINDS.index("inverted"), picture.source)
    if rng.random() < _MADE_UP:
        pixels = changed(made_up_ct(_shrunk(picture.pixels), rng), rng)
        yield Described(described(pixels), KINDS.index("ct"), "made up")


def _shrunk(pixels: FloatArray) -> FloatArray:
    scale = min(1.0, _CT_SIDE / max(pixels.shape))
    size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.float32)


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
