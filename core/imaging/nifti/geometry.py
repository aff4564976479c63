"""The geometry of a NIfTI header for a grid that comes from elsewhere.

That is a series of DICOM files, or a header that tools read in several ways.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from core.contracts.nifti import NiftiGeometry
from core.imaging.volume import Grid

_SCANNER = 1
_MM = 2


def geometry_of(grid: Grid, code: int = _SCANNER) -> NiftiGeometry:
    """Both forms of one ``code``, in mm; the qform has the rotation that is closest to the axes of ``grid``."""
    axes = grid.affine[:3, :3]
    spacing = np.sqrt(np.sum(axes * axes, axis=0))
    directions = axes / spacing
    qfac = 1.0 if np.linalg.det(directions) > 0 else -1.0
    directions[:, 2] *= qfac
    left, _, right = np.linalg.svd(directions)
    return NiftiGeometry(
        {
            "qform_code": code,
            "sform_code": code,
            "quatern": tuple(_quaternion(left @ right)[1:].tolist()),
            "qoffset": tuple(grid.affine[:3, 3].tolist()),
            "srow": tuple(grid.affine[:3].ravel().tolist()),
            "xyzt_units": _MM,
            "pixdim": (qfac, *spacing.tolist()),
        },
    )


def _quaternion(rotation: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(a, b, c, d) with a >= 0 of a rotation (3, 3), which may be half a turn about any axis.

    The eigenvector of the largest eigenvalue: Bar-Itzhack, New method for extracting the quaternion from a rotation
    matrix, Journal of Guidance, Control and Dynamics 23(6), 2000.
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation
    # Only what is below the diagonal is read.
    matrix = np.asarray(
        [
            [xx - yy - zz, 0, 0, 0],
            [xy + yx, yy - xx - zz, 0, 0],
            [xz + zx, yz + zy, zz - xx - yy, 0],
            [zy - yz, xz - zx, yx - xy, xx + yy + zz],
        ]
    )
    values, vectors = np.linalg.eigh(matrix / 3.0)
    b, c, d, a = vectors[:, np.argmax(values)]
    quaternion = np.asarray([a, b, c, d])
    return -quaternion if a < 0 else quaternion
