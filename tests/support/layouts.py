"""Miniature data sets in every layout that the adapters read, in the files' own formats."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

UInt8Array = npt.NDArray[np.uint8]


def head(seed: int, side: int = 64) -> UInt8Array:
    """A head (side, side) with folds of its own: no two seeds are alike."""
    folds = np.random.default_rng(seed).random((8, 8), np.float32)
    grey = 60 + 180 * np.clip(cv2.resize(folds, (side, side), interpolation=cv2.INTER_CUBIC), 0, 1)
    rows, columns = (np.mgrid[:side, :side] + 0.5) / side - 0.5
    return np.where(rows**2 + columns**2 < 0.45**2, grey, 0).astype(np.uint8)


def save(pixels: npt.NDArray[np.generic], path: Path) -> Path:
    """An image file by its suffix, its folders with it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def write_kaggle_3m(folder: Path, scans: Sequence[str], slices: int = 2) -> None:
    """Scans of three-channel TIFF slices; the mask covers as many rows from the top as the slice's number."""
    for number, scan in enumerate(scans):
        for index in range(1, slices + 1):
            channels = [head(100 * number + 10 * index + channel) for channel in range(3)]
            save(np.stack(channels, axis=2), folder / scan / f"{scan}_{index}.tif")
            mask = np.zeros((64, 64), np.uint8)
            mask[:index] = 255
            save(mask, folder / scan / f"{scan}_{index}_mask.tif")


def write_mat(path: Path, image: npt.NDArray[np.int16], mask: UInt8Array, label: int, patient: str) -> None:
    """One Figshare file as MATLAB 7.3 writes it: HDF5 behind 512 bytes of header, arrays column by column."""
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", userblock_size=512) as file:
        struct = file.create_group("cjdata")
        struct["label"] = np.array([[float(label)]])
        struct["PID"] = np.array([[ord(letter)] for letter in patient], np.uint16)
        struct["image"] = image.T
        struct["tumorMask"] = mask.T
    with path.open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")


def write_nifti(path: Path, voxels: npt.NDArray[np.generic], axes: str = "LPS", spacing: float = 1.0) -> None:
    """Voxels (x, y, z[, sequences]) along ``axes``, ``spacing`` in mm."""
    import nibabel as nib

    path.parent.mkdir(parents=True, exist_ok=True)
    signs = [{"L": -1, "R": 1}[axes[0]], {"P": -1, "A": 1}[axes[1]], {"S": 1, "I": -1}[axes[2]]]
    nib.save(nib.Nifti1Image(voxels, np.diag([sign * spacing for sign in signs] + [1.0])), path)


def case_volumes(seed: int, depth: int = 6) -> dict[str, npt.NDArray[np.int16]]:
    """Four sequences (20, 24, depth) of one scan, zero outside the brain and in its first two slices."""
    generator = np.random.default_rng(seed)
    volumes = {}
    for name in ("t1", "t1ce", "t2", "flair"):
        voxels = np.zeros((20, 24, depth), np.int16)
        voxels[2:18, 2:22, 2:] = generator.integers(200, 1000, (16, 20, depth - 2))
        volumes[name] = voxels
    return volumes


def regions(codes: Sequence[int], depth: int = 6) -> UInt8Array:
    """Labels (20, 24, depth): each code in a small cube of its own, low in x and y, in slice 4."""
    labels = np.zeros((20, 24, depth), np.uint8)
    for number, code in enumerate(codes):
        labels[3 + 3 * number : 5 + 3 * number, 3:5, 4] = code
    return labels


def write_brats(case: Path, names: Mapping[str, str], codes: Sequence[int], seed: int = 0, suffix: str = ".gz") -> None:
    """A case whose files are called as ``names`` says, keys being our sequences and ``seg``."""
    volumes = case_volumes(seed)
    for sequence, name in names.items():
        voxels = regions(codes) if sequence == "seg" else volumes[sequence]
        write_nifti(case / f"{name}.nii{suffix}", voxels)


def write_msd(folder: Path, cases: Sequence[str]) -> None:
    """Task01 with its channel order FLAIR, T1w, t1gd, T2w."""
    for seed, case in enumerate(cases):
        volumes = case_volumes(seed)
        stack = np.stack([volumes[name] for name in ("flair", "t1", "t1ce", "t2")], axis=3)
        write_nifti(folder / "imagesTr" / f"{case}.nii.gz", stack)
        write_nifti(folder / "labelsTr" / f"{case}.nii.gz", regions((1, 2, 3)))
    about = {
        "modality": {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"},
        "labels": {"0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"},
        "training": [{"image": f"./imagesTr/{c}.nii.gz", "label": f"./labelsTr/{c}.nii.gz"} for c in cases],
        "test": ["./imagesTs/BRATS_999.nii.gz"],
    }
    (folder / "dataset.json").write_text(json.dumps(about))
