#!/usr/bin/env bash
# A grey TIFF that stores white as 0 is turned at 8 bits and left as a negative at 16 bits, by the same readers.
#
# Seen with Pillow 13.0.0, opencv-python-headless 5.0.0.93, tifffile 2026.3.3 and SimpleITK 2.5.7.
# TIFF lets a grey image say that 0 is white (PhotometricInterpretation 0), which film scanners do. For stored values
# 0, 1, 2 in 8 bits OpenCV and Pillow give 255, 254, 253, the picture as it is meant. For stored 0, 1000, 2000 in
# 16 bits both give 0, 1000, 2000: a negative, without a warning. tifffile and SimpleITK give the stored values at both
# depths, so at 8 bits the four disagree and at 16 they agree on the wrong picture.
# It matters because the same film, exported with the deeper setting, reaches a network as its negative: fluid dark
# where it was bright, and every file of 8 bits used for a check looks right.
set -euo pipefail

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
{ python3 -m venv "$tmp/venv" &&
    "$tmp/venv/bin/pip" install --quiet --disable-pip-version-check pillow==13.0.0 \
        opencv-python-headless==5.0.0.93 tifffile==2026.3.3 SimpleITK==2.5.7 numpy==2.4.6; } ||
    { echo "the packages cannot be installed here" >&2; exit 2; }

"$tmp/venv/bin/python" - "$tmp" <<'PYTHON'
import sys

import cv2
import numpy as np
import SimpleITK
import tifffile
from PIL import Image

path = f"{sys.argv[1]}/film.tif"
READERS = {
    "Pillow": lambda: np.asarray(Image.open(path)),
    "OpenCV": lambda: cv2.imread(path, cv2.IMREAD_UNCHANGED),
    "tifffile": lambda: tifffile.imread(path),
    "SimpleITK": lambda: SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(path)),
}
seen = {}
for dtype, step in ((np.uint8, 1), (np.uint16, 1000)):
    film = (np.arange(64) * step).astype(dtype).reshape(8, 8)
    tifffile.imwrite(path, film, photometric="miniswhite")
    for name, read in READERS.items():
        values = read()
        white = int(np.iinfo(dtype).max)
        known = [word for word, one in (("stored", film), ("turned", white - film)) if np.array_equal(values, one)]
        seen[name, np.dtype(dtype).name] = known[0] if known else "neither"
        print(f"{np.dtype(dtype)} {film[0, :3].tolist()}: {name} {values[0, :3].tolist()}")

expected = {(name, dtype): "stored" for name, dtype in seen} | {
    (name, "uint8"): "turned" for name in ("Pillow", "OpenCV")
}
if seen != expected:
    sys.exit(f"changed: expected {expected}, seen {seen}")
print("as stated: turned at 8 bits, a negative at 16")
PYTHON
