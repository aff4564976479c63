"""A file is read no longer than somebody waits for it."""

from __future__ import annotations

import io
import itertools
import time
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from pydicom import uid

from core.errors import DeadlineExceeded
from core.imaging.decode import decode
from core.imaging.patience import seconds_left, while_waited_for
from tests.fixtures.images import make_dicom, make_head_slice

HEAD = make_head_slice(72, 90, seed=3)


def picture(name: str, side: int = 64) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (side, side, 3), np.uint8)
    Image.fromarray(pixels).save(file, name)
    return file.getvalue()


def counting_down(reads: int) -> Callable[[], float]:
    """Somebody who waits until he has been asked so often whether he does."""
    left = iter(range(reads, -1, -1))
    return lambda: float(next(left))


@pytest.mark.parametrize(
    "data",
    [picture("PNG"), picture("BMP"), make_dicom(HEAD), make_dicom(HEAD, transfer_syntax=uid.JPEG2000Lossless)],
    ids=["PNG", "BMP", "DICOM", "JPEG 2000"],
)
def test_nothing_is_read_for_nobody(data: bytes) -> None:
    with while_waited_for(lambda: 0.0), pytest.raises(DeadlineExceeded):
        decode(data)
    # Out of there, nobody has said how long he waits.
    assert seconds_left() == float("inf")
    decode(data)


def test_a_picture_is_read_in_pieces_and_ends_between_two_of_them() -> None:
    data = picture("PNG", 1024)
    with while_waited_for(counting_down(8)), pytest.raises(DeadlineExceeded):
        decode(data)
    asked = itertools.count()
    with while_waited_for(lambda: 1.0 + next(asked)):
        decode(data)
    assert next(asked) > 20


def test_a_codec_is_ended_with_the_wait_for_it() -> None:
    noise = np.random.default_rng(0).integers(0, 4096, (1600, 1600), np.uint16)
    data = make_dicom(noise, bits_stored=12, transfer_syntax=uid.JPEG2000Lossless)
    decode(make_dicom(HEAD, transfer_syntax=uid.JPEG2000Lossless))  # a child is there
    ends_s = time.monotonic() + 0.15
    with while_waited_for(lambda: ends_s - time.monotonic()), pytest.raises(DeadlineExceeded):
        decode(data)
    decode(data)
