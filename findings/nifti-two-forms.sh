#!/usr/bin/env bash
# One NIfTI file, two patients: nibabel and SimpleITK choose different orientations out of the same header.
#
# Seen with nibabel 5.4.2 and SimpleITK 2.5.7.
# A NIfTI-1 header may state the orientation twice, as qform and as sform, each with a code that says which space it
# leads to. The two need not agree: after a registration the sform often leads to an atlas and the qform to the scanner.
# The file here has a qform whose first axis points to the patient's right and a sform whose first axis points to the
# left. nibabel follows the sform whenever its code is not 0. SimpleITK follows the sform only where sform_code is 1 or
# qform_code is 0, and the qform in every other case, without an error. One voxel is then reported on the right side by
# one library and on the left side by the other, 6 mm apart.
# It matters because a mask computed with one library and shown or measured with the other lies in the wrong hemisphere.
set -euo pipefail

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
{ python3 -m venv "$tmp/venv" &&
    "$tmp/venv/bin/pip" install --quiet --disable-pip-version-check \
        nibabel==5.4.2 SimpleITK==2.5.7 numpy==2.4.6; } ||
    { echo "the packages cannot be installed here" >&2; exit 2; }

"$tmp/venv/bin/python" - "$tmp" <<'PYTHON'
import sys

import nibabel
import numpy as np
import SimpleITK

VOXEL = (1, 2, 3)
QFORM = np.array([[1, 0, 0, -4], [0, 1, 0, -5], [0, 0, 2, -6], [0, 0, 0, 1]], float)
SFORM = np.array([[-1, 0, 0, 4], [0, 1, 0, -5], [0, 0, 2, -6], [0, 0, 0, 1]], float)
path = f"{sys.argv[1]}/volume.nii"


def form(point):
    """Which of the two forms leads VOXEL to this RAS point."""
    forms = {"qform": QFORM, "sform": SFORM}
    found = [name for name, affine in forms.items() if np.allclose(affine[:3] @ (*VOXEL, 1), point)]
    return found[0] if found else "neither"


seen = {}
for codes in ((0, 1), (1, 1), (2, 1), (4, 1), (1, 2), (2, 2), (3, 2), (4, 2), (1, 4), (2, 4)):
    image = nibabel.Nifti1Image(np.zeros((8, 10, 6), np.int16), None)
    image.set_qform(QFORM, codes[0])
    image.set_sform(SFORM, codes[1])
    nibabel.save(image, path)
    ras = (nibabel.load(path).affine @ (*VOXEL, 1))[:3]
    lps = SimpleITK.ReadImage(path).TransformIndexToPhysicalPoint(VOXEL)
    itk = np.array(lps) * (-1, -1, 1)
    seen[codes] = form(ras), form(itk)
    print(f"qform_code {codes[0]}, sform_code {codes[1]}: nibabel {seen[codes][0]} x={ras[0]:+.0f} mm,"
          f" SimpleITK {seen[codes][1]} x={itk[0]:+.0f} mm")

expected = {(q, s): ("sform", "sform" if s == 1 or q == 0 else "qform") for q, s in seen}
if seen != expected:
    sys.exit(f"changed: expected {expected}")
print("as stated: the libraries differ wherever sform_code is above 1 and qform_code is not 0")
PYTHON
