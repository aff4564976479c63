"""The class activation map as a picture: where in the image the evidence for a class lies."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]

# Inferno rises in lightness from end to end, so more evidence always looks like more, in grey print as well.
_COLOUR_MAP = cv2.COLORMAP_INFERNO
# The strongest evidence still lets a third of the anatomy through.
_STRONGEST_ALPHA = 0.65
# Blending holds four float copies of what it works on; a slice of 40 million pixels would need two gigabytes at once.
_ROWS_AT_ONCE = 256
_PNG_FLAGS = (cv2.IMWRITE_PNG_COMPRESSION, 1)


def render_heat_map(pixels: FloatArray, heat: FloatArray) -> bytes:
    """An RGB PNG of the slice (h, w) in grey under ``heat`` (h, w), both in [0, 1]; no evidence leaves the grey."""
    picture = np.empty((*pixels.shape, 3), np.uint8)
    for top in range(0, pixels.shape[0], _ROWS_AT_ONCE):
        rows = slice(top, top + _ROWS_AT_ONCE)
        picture[rows] = _blend(pixels[rows], heat[rows])
    _, encoded = cv2.imencode(".png", picture, _PNG_FLAGS)
    return encoded.tobytes()


def _blend(pixels: FloatArray, heat: FloatArray) -> ByteArray:
    """Blue, green and red (h, w, 3) of grey rows under their heat."""
    grey = np.rint(np.clip(pixels, 0.0, 1.0) * np.float32(255.0))[:, :, None]
    colours = cv2.applyColorMap(np.rint(heat * np.float32(255.0)).astype(np.uint8), _COLOUR_MAP)
    alpha = (np.float32(_STRONGEST_ALPHA) * heat)[:, :, None]
    return np.asarray(np.rint(grey + alpha * (colours - grey)), np.uint8)
