"""The costliest DICOM files that the limits let in, made of noise."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

import numpy as np
from pydicom import uid

from drills.inputs.raster import noise, scans
from tests.fixtures.images import encode_frame, make_dicom

_PIXEL_DATA: Final = b"\xe0\x7f\x10\x00"
_ITEM: Final = b"\xfe\xff\x00\xe0"


def _elements(count: int) -> bytes:
    """Empty private elements, each with a tag of its own."""
    return b"".join(struct.pack("<HH", 0x1001 + 2 * (n >> 16), n & 0xFFFF) + b"LO\0\0" for n in range(count))


def _with(elements: bytes) -> bytes:
    """A small file with more elements in front of its pixels."""
    data = make_dicom(noise((64, 64), 8))
    at = data.index(_PIXEL_DATA)
    return data[:at] + elements + data[at:]


def _lookup_table(count: int) -> bytes:
    """VOILUTSequence of one item of ``count`` elements."""
    item = _elements(count)
    value = _ITEM + struct.pack("<I", len(item)) + item
    return b"\x28\x00\x10\x30SQ\0\0" + struct.pack("<I", len(value)) + value


def _fragments(count: int) -> bytes:
    """A frame with ``count`` empty fragments behind it."""
    frame = encode_frame(noise((64, 64), 8), uid.JPEG2000Lossless, 8)
    data = make_dicom(np.zeros((64, 64), np.uint8), transfer_syntax=uid.JPEG2000Lossless, pixel_data=frame)
    start = data.rindex(_ITEM)
    end = start + 8 + int.from_bytes(data[start + 4 : start + 8], "little")
    return data[:end] + (_ITEM + bytes(4)) * count + data[end:]


def _runs(side: int) -> bytes:
    """RLE in runs of one byte."""
    plane = b"\0\x05" * side**2
    frame = struct.pack("<16I", 2, 64, 64 + len(plane), *[0] * 13) + plane * 2
    return make_dicom(np.zeros((side, side), np.uint16), transfer_syntax=uid.RLELossless, pixel_data=frame)


CASES: Final[dict[str, Callable[[int], bytes]]] = {
    "dicom, uncompressed": lambda side: make_dicom(noise((min(side, 4_000),) * 2, 12, np.uint16)),
    "dicom, deflated, padded": lambda side: make_dicom(
        noise((side, side), 4, np.uint16),
        transfer_syntax=uid.DeflatedExplicitVRLittleEndian,
        elements={"PixelPaddingValue": 3},
    ),
    "dicom, 4,096 frames": lambda _: make_dicom(noise((4_096, 64, 64), 8)),
    "dicom, 4,096 frames, jpeg 2000": lambda _: make_dicom(
        np.repeat(noise((1, 64, 64), 8), 4_096, axis=0), transfer_syntax=uid.JPEG2000Lossless
    ),
    "dicom, most fragments": lambda _: _fragments(49_000),
    "dicom, most elements": lambda _: _with(_elements(99_000)),
    "dicom, most elements in a sequence": lambda _: _with(_lookup_table(520_000)),
    "dicom, rle": lambda side: make_dicom(np.zeros((side, side), np.uint16), transfer_syntax=uid.RLELossless),
    "dicom, rle in runs of one": lambda side: _runs(min(side, 1_400)),
    "dicom, jpeg, most scans": lambda side: make_dicom(
        np.zeros((side, side), np.uint8), transfer_syntax=uid.JPEGBaseline8Bit, pixel_data=scans(side)
    ),
    "dicom, jpeg lossless": lambda side: make_dicom(
        noise((side, side), 4, np.uint16), transfer_syntax=uid.JPEGLosslessSV1, bits_stored=16
    ),
    "dicom, jpeg-ls": lambda side: make_dicom(
        noise((side, side), 5, np.uint16), transfer_syntax=uid.JPEGLSLossless, bits_stored=16
    ),
    "dicom, jpeg 2000": lambda side: make_dicom(
        noise((side, side), 5, np.uint16), transfer_syntax=uid.JPEG2000Lossless, bits_stored=16
    ),
    "dicom, jpeg 2000, lossy": lambda side: make_dicom(noise((side, side), 6), transfer_syntax=uid.JPEG2000),
}
"""By name; each takes the side of the largest square frame in pixels."""
