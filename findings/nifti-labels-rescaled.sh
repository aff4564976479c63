#!/usr/bin/env bash
# A label map that is read and saved with nibabel loses labels, although every call is the usual one.
#
# Seen with nibabel 5.4.2, numpy 2.4.6 and SimpleITK 2.5.7.
# get_fdata() gives float64. Saved with the header of the file it came from, whose data type is an integer, the values
# are spread over the whole range of that integer and a scale factor is put in the header, although whole numbers from
# 0 to 4 would fit as they are. Read back, the BraTS labels 0, 1, 2, 4 in uint8 are 0, 1.0039, 1.9922, 4.0000002 and
# the labels 0, 1, 2, 3 in int16 are a rounding error below 1, 2 and 3. Whoever then casts to an integer gets
# 0, 1, 1, 4 (all oedema has become necrosis) or 0, 0, 1, 2 (every label has become the one below); SimpleITK asked
# for an image of uint8 does the same to the first of the two. No warning is printed.
# It matters because data sets of segmentations are passed on through such scripts; a reader has to round, or to refuse
# values that are no whole numbers.
set -euo pipefail

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
{ python3 -m venv "$tmp/venv" &&
    "$tmp/venv/bin/pip" install --quiet --disable-pip-version-check \
        nibabel==5.4.2 SimpleITK==2.5.7 numpy==2.4.6; } ||
    { echo "the packages cannot be installed here" >&2; exit 2; }

"$tmp/venv/bin/python" - "$tmp" <<'PYTHON'
import sys
import warnings

import nibabel
import numpy as np
import SimpleITK

warnings.simplefilter("error")  # a warning would be a change
CASES = [(np.uint8, [0, 1, 2, 4], [0, 1, 1, 4], [0, 1, 1, 4]), (np.int16, [0, 1, 2, 3], [0, 0, 1, 2], [0, 1, 2, 3])]
before, after = f"{sys.argv[1]}/before.nii", f"{sys.argv[1]}/after.nii"

changed = False
for dtype, labels, cast, itk in CASES:
    nibabel.save(nibabel.Nifti1Image(np.array(labels, dtype).reshape(-1, 1, 1), np.eye(4)), before)
    first = nibabel.load(before)
    nibabel.save(nibabel.Nifti1Image(first.get_fdata(), first.affine, first.header), after)
    second = nibabel.load(after)
    values = second.get_fdata().ravel()
    by_itk = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(after, SimpleITK.sitkUInt8)).ravel().tolist()
    print(f"{np.dtype(dtype)} {labels}: slope in the file {second.dataobj.slope:.6g}, read {values.tolist()},"
          f" cast {values.astype(np.uint8).tolist()}, SimpleITK as uint8 {by_itk}")
    scaled = second.get_data_dtype() == dtype and second.dataobj.slope != 1
    changed |= not scaled or values.astype(np.uint8).tolist() != cast or by_itk != itk
if changed:
    sys.exit(f"changed: expected a scale factor and the labels {[case[2:] for case in CASES]}")
print("as stated: labels are lost in a round trip through get_fdata and an integer header")
PYTHON
