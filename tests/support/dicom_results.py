"""Readers of results as DICOM that share no code with what writes them, and studies to write them on."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pydicom import uid
from pydicom.dataset import Dataset

from core.imaging.volume import Affine, Volume
from tests.fixtures.images import make_dicom
from tests.fixtures.volumes import nibabel
from tests.support.studies import item

Labels = npt.NDArray[np.uint8]

SEGMENTATION, MEASUREMENTS, PICTURES = "segmentation.seg.dcm", "measurements.sr.dcm", "pictures.sc.dcm"
OUTLINES = "outlines.pr.dcm"
OBJECTS = (SEGMENTATION, MEASUREMENTS, PICTURES)
TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def opened(data: bytes) -> Any:
    """A data set as pydicom reads it."""
    return pydicom.dcmread(io.BytesIO(data))


def by_highdicom(data: bytes, shape: tuple[int, int, int], affine: Affine) -> Labels:
    """Segment numbers (i, j, k) on the grid of ``affine``, as highdicom's volume places them."""
    volume = hd.seg.segread(io.BytesIO(data)).get_volume(combine_segments=True)
    return pasted(np.asarray(volume.array), TO_LPS @ volume.affine, shape, affine)


def by_dcmqi(data: bytes, folder: Path, shape: tuple[int, int, int], affine: Affine) -> Labels:
    """The same as dcmqi's C++ has it: one NIfTI file a segment, or one of all segments of a LABELMAP."""
    (folder / "seg.dcm").write_bytes(data)
    command = ["--inputDICOM", "seg.dcm", "--outputDirectory", ".", "-t", "nifti"]
    subprocess.run([program("segimage2itkimage"), *command], cwd=folder, check=True, capture_output=True)
    found = np.zeros(shape, np.uint8)
    for path in sorted(folder.glob("*.nii.gz")):
        image = nibabel.load(path)
        mask = pasted(np.asarray(image.dataobj), image.affine, shape, affine)
        if opened(data).SegmentationType == "LABELMAP":
            return mask
        assert not found[mask > 0].any()
        found[mask > 0] = int(path.name.split(".")[0].split("-")[0])
    return found


def by_tid1500reader(data: bytes, folder: Path) -> dict[str, dict[str, Any]]:
    """Groups of measurements by tracking identifier, as dcmqi reads a report."""
    (folder / "sr.dcm").write_bytes(data)
    command = [program("tid1500reader"), "--inputDICOM", "sr.dcm", "--outputMetadata", "sr.json"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    read = json.loads((folder / "sr.json").read_text())
    return {group["TrackingIdentifier"]: group for group in read["Measurements"]}


def program(name: str) -> str:
    """A program that the environment brings, or the machine; the test is skipped where neither does."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def pasted(voxels: npt.NDArray[Any], own: Affine, shape: tuple[int, int, int], affine: Affine) -> Labels:
    """``voxels`` on the grid of ``own``, put on the grid of ``affine`` by where they lie in mm.

    No voxel may lie a tenth of itself beside its place, which dcmqi needs as it draws sheared slices straight.
    """
    found = np.zeros(shape, np.uint8)
    indices = np.argwhere(voxels)
    places = (np.linalg.inv(affine) @ own @ np.c_[indices, np.ones(len(indices))].T).T[:, :3]
    assert np.abs(places - places.round()).max() < 0.1
    found[tuple(places.round().astype(int).T)] = voxels[tuple(indices.T)]
    return found


def complaints(data: bytes, folder: Path) -> list[str]:
    """What dciodvfy calls errors."""
    (folder / "result.dcm").write_bytes(data)
    done = subprocess.run([program("dciodvfy"), "-new", str(folder / "result.dcm")], capture_output=True, text=True)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]


def make_enhanced(volume: Volume, *, downwards: bool = True, elements: Mapping[str, Any] | None = None) -> bytes:
    """One enhanced MR file of all slices of ``volume``, the last one first unless it is not ``downwards``."""
    to_lps = TO_LPS @ volume.affine
    spacing = np.linalg.norm(to_lps[:3, :3], axis=0)
    directions = to_lps[:3, :3] / spacing
    order = range(volume.voxels.shape[2])
    frames = [volume.voxels[:, :, index].T.round() for index in order]
    places = [(to_lps[:3, 2] * index + to_lps[:3, 3]).tolist() for index in order]
    if downwards:
        frames, places = frames[::-1], places[::-1]
    shared = item(
        PixelMeasuresSequence=[item(PixelSpacing=[float(spacing[1]), float(spacing[0])])],
        PlaneOrientationSequence=[item(ImageOrientationPatient=[*directions[:, 0], *directions[:, 1]])],
    )
    return make_dicom(
        np.stack(frames).astype(np.int16),
        sop_class=uid.EnhancedMRImageStorage,
        elements={
            "SOPInstanceUID": "1.2.3.5.1", "StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.5",
            "FrameOfReferenceUID": "1.2.3.0", "SeriesNumber": 5, "SeriesDescription": "flair",
            "SharedFunctionalGroupsSequence": [shared],
            "PerFrameFunctionalGroupsSequence": [
                item(PlanePositionSequence=[item(ImagePositionPatient=place)]) for place in places
            ],
            **(elements or {}),
        },
    )  # fmt: skip


def evaluations(data: bytes) -> dict[tuple[str, str], tuple[str, list[str]]]:
    """Of every group of a report: by tracking identifier and concept the verdict, and the comments beside it."""
    found = {}
    for container in opened(data).ContentSequence[-1].ContentSequence:
        tracked = next(one.TextValue for one in container.ContentSequence if meaning(one) == "Tracking Identifier")
        comments = [one.TextValue for one in container.ContentSequence if meaning(one) == "Comment"]
        for one in container.ContentSequence:
            if one.ValueType == "CODE" and one.ConceptNameCodeSequence[0].CodingSchemeDesignator == "99FALX":
                found[tracked, meaning(one)] = (one.ConceptCodeSequence[0].CodeValue, comments)
    return found


def meaning(content: Dataset) -> str:
    """What an item of a report is called."""
    return str(content.ConceptNameCodeSequence[0].CodeMeaning)


def volumes(groups: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[float, str]]:
    """Volume and its unit by tracking identifier, of those groups that hold one."""
    return {
        name: (float(one["value"]), one["units"]["CodeValue"])
        for name, group in groups.items()
        for one in group.get("measurementItems", ())
        if one["quantity"]["CodeMeaning"] == "Volume"
    }
