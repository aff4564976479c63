#!/usr/bin/env bash
# A deformation in NIfTI means opposite things to SimpleITK, depending on one code of the header that few set.
#
# Seen with SimpleITK 2.5.7 and nibabel 5.4.2.
# The same vectors (1, 2, 3) are stored once with intent code 1006 (displacement vector) and once with 1007 (vector).
# SimpleITK reads (-1, -2, 3) from the first, as if it had been in RAS, and (1, 2, 3) from the second: the same field
# moves a point to the left in one file and to the right in the other. nibabel gives (1, 2, 3) for both. What SimpleITK
# itself makes with TransformToDisplacementField it writes under code 1007, so its own files come back as they were;
# a field that it has read under 1006 it cannot write at all and raises an error.
# It matters because registrations are handed from tool to tool as such files: a mask or a lesion carried over with the
# wrong sign lands in the other hemisphere, and where the deformation is small nobody sees it.
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

path, copy = f"{sys.argv[1]}/field.nii", f"{sys.argv[1]}/copy.nii"
seen = {}
for code in (1006, 1007):
    field = nibabel.Nifti1Image(np.tile(np.float32([1, 2, 3]), (4, 5, 6, 1, 1)), np.eye(4))
    field.header.set_intent(code)
    nibabel.save(field, path)
    image = SimpleITK.ReadImage(path)
    try:
        SimpleITK.WriteImage(image, copy)
        written = "written again"
    except RuntimeError:
        written = "refused when written again"
    stored = nibabel.load(path).get_fdata()[0, 0, 0, 0].tolist()
    move = SimpleITK.DisplacementFieldTransform(SimpleITK.Cast(image, SimpleITK.sitkVectorFloat64))
    seen[code] = stored, move.TransformPoint((-2.0, -2.0, 2.0)), written
    print(f"intent {code}: nibabel {stored}, SimpleITK moves (-2, -2, 2) to {seen[code][1]} (LPS), {written}")

translation = SimpleITK.TranslationTransform(3, (1.0, 2.0, 3.0))
SimpleITK.WriteImage(SimpleITK.TransformToDisplacementField(translation, SimpleITK.sitkVectorFloat64, (4, 5, 6)), path)
own = nibabel.load(path)
seen["own"] = int(own.header["intent_code"]), own.get_fdata()[0, 0, 0, 0].tolist()
print(f"SimpleITK's own field of (1, 2, 3): intent {seen['own'][0]}, stored {seen['own'][1]}")

expected = {
    1006: ([1, 2, 3], (-3, -4, 5), "refused when written again"),
    1007: ([1, 2, 3], (-1, 0, 5), "written again"),
    "own": (1007, [1, 2, 3]),
}
if seen != expected:
    sys.exit(f"changed: expected {expected}")
print("as stated: intent 1006 turns the signs of x and y, 1007 does not")
PYTHON
