"""``python -m tests.support.draw_samples`` draws the sample pictures of the page anew. No pixel comes from a person."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from tests.fixtures.images import ByteArray, make_head_slice, to_jpeg

SAMPLES: Final = Path(__file__).resolve().parents[2] / "gateway" / "page" / "samples"
_SIDE: Final = 512


def bright_spot() -> ByteArray:
    """The head of ``docs/samples/slice.jpg``, (512, 512)."""
    return make_head_slice(_SIDE, _SIDE, seed=3)


def ring() -> ByteArray:
    """A head (512, 512) with a dark spot in a bright ring, which in turn lies in a paler area."""
    head = make_head_slice(_SIDE, _SIDE, seed=11).astype(np.float32)
    y, x = np.mgrid[0:_SIDE, 0:_SIDE].astype(np.float32)
    distance = np.hypot((x - 178) / 1.15, y - 200)
    swelling = np.exp(-((distance / 66) ** 4))
    head += 45 * swelling
    head += 95 * np.exp(-(((distance - 38) / 9) ** 2))
    head -= 70 * np.exp(-((distance / 27) ** 4))
    return np.asarray(np.clip(head, 0, 255), np.uint8)


def no_head() -> ByteArray:
    """A test card (512, 512) of bars and a grating: what the input check has to refuse."""
    y, x = np.mgrid[0:_SIDE, 0:_SIDE].astype(np.float32)
    bars = np.floor(x / _SIDE * 8) / 7 * 255
    grating = 127 + 127 * np.sin(x * (0.02 + x / 4000))
    return np.asarray(np.where(y < _SIDE * 0.6, bars, grating), np.uint8)


PICTURES: Final = {"bright-spot.jpg": bright_spot, "ring.jpg": ring, "no-head.jpg": no_head}


def main() -> None:
    """Write every picture."""
    for name, draw in PICTURES.items():
        (SAMPLES / name).write_bytes(to_jpeg(draw(), quality=90))


if __name__ == "__main__":
    main()
