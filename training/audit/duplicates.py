"""Which images are copies of each other, and the groups that copies and patients make together.

An image is known by a digest of its pixels, a difference hash and a thumbnail of the head. Hash and thumbnail are made
of the head's bounding box stretched to a square, so that a copy that was scaled, cropped, padded, stretched or stored
again is still found. A mirrored or turned copy is not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import cv2
import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from core.imaging.preparation.transforms import find_head
from training.data.archives import BoolArray, FloatArray, IntArray, UInt8Array, to_uint8
from training.data.samples import Pixels, Sample

THUMBNAIL_SIDE: Final = 32
# Width and height whose neighbours, compared along a row, give 8 x 8 bits.
_HASH_SIZE: Final = (9, 8)
# Longer side in pixels that a slice is scaled to before its head is looked for, and the black added on each side.
_FRAME: Final = 116
_RIM: Final = 6
# A head that fills less of the frame is the top of a skull: an oval without detail, alike in all patients. Over 88
# patients (TCGA-LGG) hundreds of such ovals correlate by more than 0.95 and all fill less than 0.2; the copies found
# in 7,324 public slices fill more than 0.35.
SMALLEST_HEAD: Final = 0.25


@dataclass(frozen=True)
class Fingerprints:
    """One entry an image, in the order they were read: a sample of several sequences has several.

    ``owners`` int64 (n,), the number of the image's sample. ``digests`` (n,), sha256 of shape and pixels, empty for an
    image of one grey value. ``hashes`` uint64 (n,); ``thumbnails`` uint8 (n, 32, 32). ``detailed`` bool (n,): whether
    the head is large enough for hash and thumbnail to tell patients apart.
    """

    owners: IntArray
    digests: tuple[str, ...]
    hashes: npt.NDArray[np.uint64]
    thumbnails: UInt8Array
    detailed: BoolArray


def difference_hash(thumbnail: UInt8Array) -> np.uint64:
    """64 bits, each saying whether brightness rises from one cell to its right neighbour on a grid of 8 x 9."""
    cells = cv2.resize(thumbnail, _HASH_SIZE, interpolation=cv2.INTER_AREA)
    return np.packbits(cells[:, 1:] > cells[:, :-1]).view(np.uint64)[0]


def _head(grey: FloatArray) -> tuple[FloatArray, float]:
    """The part of a slice (h, w) that its head fills, and its share of the slice.

    The box is looked for at one size and with a rim in any case, so that a copy's is the same.
    """
    scale = _FRAME / max(grey.shape)
    width, height = (max(1, round(side * scale)) for side in grey.shape[::-1])
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    framed = np.pad(np.asarray(cv2.resize(grey, (width, height), interpolation=interpolation), np.float32), _RIM)
    box = find_head(framed)
    return framed[box.top : box.bottom, box.left : box.right], box.height * box.width / (height * width)


def _digest(pixels: FloatArray) -> str:
    if pixels.min() == pixels.max():
        return ""
    return hashlib.sha256(repr(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest()


def fingerprints(pixels: Iterable[Pixels]) -> Fingerprints:
    """Read every sequence of every sample once."""
    owners, digests, hashes, thumbnails, detailed = [], [], [], [], []
    for owner, sample in enumerate(pixels):
        for grey in sample.sequences.values():
            head, share = _head(grey)
            small = cv2.resize(head, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)
            thumbnail = to_uint8(np.clip(np.asarray(small, np.float32), 0, 1))
            digest = _digest(grey)
            owners.append(owner)
            digests.append(digest)
            hashes.append(difference_hash(thumbnail))
            thumbnails.append(thumbnail)
            detailed.append(bool(digest) and share >= SMALLEST_HEAD)
    return Fingerprints(
        np.array(owners, np.int64),
        tuple(digests),
        np.array(hashes, np.uint64),
        np.array(thumbnails, np.uint8).reshape(-1, THUMBNAIL_SIDE, THUMBNAIL_SIDE),
        np.array(detailed, np.bool_),
    )


# Bits of 64 that two hashes may differ in to be compared at all. Storing again, scaling, stretching or cropping flips
# at most 5 in 99 of 100 copies.
HAMMING_RADIUS: Final = 8
# Least normalised correlation of two thumbnails that are called copies. Two known patients reach 0.955 at most
# (TCGA-LGG, 88 patients, 44 million pairs of images) and 0.932 on T1-CE slices (Figshare, 53 patients). Of copies that
# were scaled, stretched, cropped to the head or stored again as JPEG, 95 to 100 in 100 lie above; of copies turned by
# 3 degrees a third. Pairs just above are the same head, often two neighbouring slices of it.
CORRELATION: Final = 0.96
# The same where a slice of a volume takes part. Volumes come without skull and on one atlas, so that two brains are
# alike in outline (0.961 between two of 6 BraTS patients), but a volume that was copied shows it in many slices.
VOLUME_CORRELATION: Final = 0.99
# Images compared at once with all others: bounds memory to some 10 MB for each thousand images.
_BLOCK: Final = 256

Likeness = Literal["exact", "near"]


@dataclass(frozen=True)
class Copies:
    """Two samples, by number, that share an image. ``correlation`` of their thumbnails, 1 for the same pixels."""

    first: int
    second: int
    kind: Likeness
    correlation: float = 1.0


def exact_copies(prints: Fingerprints) -> Iterator[Copies]:
    """Samples with the same pixels, each linked to the first of its kind."""
    first: dict[str, int] = {}
    known = ((digest, owner) for digest, owner in zip(prints.digests, prints.owners.tolist(), strict=True) if digest)
    pairs = dict.fromkeys((first.setdefault(digest, owner), owner) for digest, owner in known)
    return (Copies(one, other, "exact") for one, other in pairs if one != other)


def _units(samples: Sequence[Sample]) -> IntArray:
    """A number (n,) for each known patient; samples of unknown patients have one each."""
    numbers = {patient: index for index, patient in enumerate(dict.fromkeys(sample.patient for sample in samples))}
    return np.array(
        [numbers[sample.patient] if sample.patient else -1 - index for index, sample in enumerate(samples)], np.int64
    )


def near_copies(prints: Fingerprints, samples: Sequence[Sample], correlation: float = CORRELATION) -> Iterator[Copies]:
    """Samples of different, or unknown, patients that show nearly the same image: the best pair of their images.

    A patient's own slices resemble each other and belong together anyway. Every pair of hashes is compared, blockwise.
    ``correlation`` is the least that counts; a higher one suits slices without skull.
    """
    chosen = np.flatnonzero(prints.detailed)
    hashes, owners = prints.hashes[chosen], prints.owners[chosen]
    units = _units(samples)[owners]
    vectors = prints.thumbnails[chosen].reshape(len(chosen), THUMBNAIL_SIDE**2).astype(np.float32)
    vectors -= vectors.mean(axis=1, keepdims=True)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
    of_volume = np.array([sample.position is not None for sample in samples], np.bool_)[owners]
    best: dict[tuple[int, int], float] = {}
    for start in range(0, len(chosen), _BLOCK):
        distances = np.bitwise_count(hashes[start : start + _BLOCK, None] ^ hashes[None, start:])
        rows, columns = np.nonzero(distances <= HAMMING_RADIUS)
        rows, columns = rows + start, columns + start
        kept = (columns > rows) & (units[rows] != units[columns])
        rows, columns = rows[kept], columns[kept]
        found = _correlations(vectors, rows, columns)
        least = np.where(of_volume[rows] | of_volume[columns], max(correlation, VOLUME_CORRELATION), correlation)
        for index in np.flatnonzero(found >= least).tolist():
            first, second = sorted((int(owners[rows[index]]), int(owners[columns[index]])))
            best[first, second] = max(best.get((first, second), 0.0), float(found[index]))
    for (first, second), highest in sorted(best.items()):
        yield Copies(first, second, "near", round(min(highest, 1.0), 4))


def _correlations(
    vectors: FloatArray, rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp], chunk: int = 16384
) -> FloatArray:
    """Scalar products (m,) of unit vectors (n, d), some at a time: a block may have a million candidates."""
    parts = [
        np.einsum("ij,ij->i", vectors[rows[at : at + chunk]], vectors[columns[at : at + chunk]])
        for at in range(0, len(rows), chunk)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def all_copies(prints: Fingerprints, samples: Sequence[Sample], correlation: float = CORRELATION) -> tuple[Copies, ...]:
    """Exact ones first; a pair that is exact is not listed as near again."""
    exact = tuple(exact_copies(prints))
    known = {(pair.first, pair.second) for pair in exact}
    near = near_copies(prints, samples, correlation)
    return exact + tuple(pair for pair in near if (pair.first, pair.second) not in known)


def group_names(samples: Sequence[Sample], copies: Iterable[Copies]) -> tuple[str, ...]:
    """The group of each sample, named by its first member: slices of one patient, and copies, with all their own.

    The names do not depend on the order of the samples.
    """
    first: dict[str, int] = {}
    patients = ((index, sample.patient) for index, sample in enumerate(samples) if sample.patient)
    links = [(first.setdefault(patient, index), index) for index, patient in patients]
    links += [(pair.first, pair.second) for pair in copies]
    rows, columns = np.array(links, np.intp).reshape(-1, 2).T
    graph = coo_array((np.ones(len(links)), (rows, columns)), shape=(len(samples), len(samples)))
    groups = connected_components(graph, directed=False)[1].tolist()
    names: dict[int, str] = {}
    for group, sample in zip(groups, samples, strict=True):
        names[group] = min(names.get(group, sample.name), sample.name)
    return tuple(names[group] for group in groups)
