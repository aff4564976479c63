"""RLE Lossless against the rules of DICOM PS3.5 Annex G."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import uid

from core.imaging.dicom.rle import decode
from tests.fixtures.images import encode_frame


def framed(*segments: bytes) -> bytes:
    offsets = [64 + sum(len(segment) for segment in segments[:n]) for n in range(len(segments))]
    return struct.pack("<16I", len(segments), *offsets, *[0] * (15 - len(segments))) + b"".join(segments)


def test_literals_repeats_and_nothing() -> None:
    # 2 literals, 128 (nothing), one byte 3 times, a padding byte.
    assert decode(framed(b"\x01\x0a\x0b\x80\xfe\x07\x00"), 5, 1).tolist() == [10, 11, 7, 7, 7]


def test_the_high_byte_comes_first() -> None:
    assert decode(framed(b"\x01\x12\x34", b"\x01\x56\x78"), 2, 2).tolist() == [0x1256, 0x3478]


@pytest.mark.parametrize("frame", [b"", bytes(64), framed(b"\x01\x0a"), framed(b"\x00\x01", b"\x00\x01")])
def test_what_does_not_fit_is_refused(frame: bytes) -> None:
    with pytest.raises(ValueError, match="RLE"):
        decode(frame, 2, 1)


def test_no_more_is_expanded_than_the_frame_holds() -> None:
    bomb = framed(b"\x81\x00" * 1_000_000)
    assert decode(bomb, 256, 1).tolist() == [0] * 256
    with pytest.raises(ValueError, match="another size"):
        decode(bomb, 200, 1)


@given(st.lists(st.integers(0, 65_535), min_size=1, max_size=300))
def test_it_undoes_an_independent_encoder(values: list[int]) -> None:
    pixels = np.array([values], np.uint16)
    assert decode(encode_frame(pixels, uid.RLELossless, 16), len(values), 2).tolist() == values
