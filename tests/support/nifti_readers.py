"""Where nibabel, SimpleITK and NiiVue see the voxels of a NIfTI-1 file: their choices, measured with the tools.

Measured with nibabel 5.4.2, SimpleITK 2.5.7 and NiiVue 0.69.0; nibabel itself is asked here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from core.imaging.volume import Affine
from tests.fixtures.volumes import nibabel

MM_PER_UNIT = {1: 1000.0, 3: 0.001}
# SimpleITK reads shears of 0.0057 degrees and refuses 0.0065.
LARGEST_COSINE = 1e-4


def shown(data: bytes) -> dict[str, Affine | None]:
    """The affine of a file by tool, in mm (RAS+) where the tool knows of units; None where it refuses the file."""
    image = nibabel.Nifti1Image.from_bytes(data)
    return {"nibabel": image.affine, "SimpleITK": _simple_itk(image), "NiiVue": _niivue(image)}


def _codes(image: Any) -> tuple[int, int]:
    return int(image.header["qform_code"]), int(image.header["sform_code"])


def _simple_itk(image: Any) -> Affine | None:
    of_qform, of_sform = _codes(image)
    sizes = np.asarray(image.header["pixdim"][1:4], np.float64)
    if of_qform == 0 and of_sform == 0:
        return np.diag([-sizes[0], -sizes[1], sizes[2], 1.0])
    affine = image.get_sform() if of_sform == 1 or of_qform == 0 else image.get_qform()
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not lengths.all():
        affine, lengths = image.get_qform(), sizes
    directions = affine[:3, :3] / lengths
    if np.abs(directions.T @ directions - np.eye(3)).max() > LARGEST_COSINE:
        if of_qform == 0:
            return None
        affine = image.get_qform()
        directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    found = affine.copy()
    found[:3, :3] = directions * sizes
    found[:3] *= MM_PER_UNIT.get(int(image.header["xyzt_units"]) & 7, 1.0)
    return np.asarray(found, np.float64)


def _niivue(image: Any) -> Affine:
    of_qform, of_sform = _codes(image)
    if of_qform == 0 and of_sform == 0:
        return np.diag([*np.asarray(image.header["pixdim"][1:4], np.float64), 1.0])
    return np.asarray(image.get_qform() if of_qform > of_sform else image.get_sform(), np.float64)
