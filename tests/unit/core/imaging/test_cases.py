"""Every upload of the table gets its right answer from the front door."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import RequestError
from core.imaging.decode import decode
from tests.fixtures.cases import INPUT_CASES, InputCase

ACCEPTED = [case for case in INPUT_CASES if case.status == 200]
REFUSED = [case for case in INPUT_CASES if case.status != 200]


def test_the_table_is_whole() -> None:
    names = [case.id for case in INPUT_CASES]
    assert len(set(names)) == len(names) >= 50
    assert all(case.code and case.mentions for case in REFUSED)


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case.id)
def test_a_sound_file_becomes_a_slice(case: InputCase) -> None:
    decoded = decode(case.data(), case.media_type)
    pixels = decoded.pixels
    assert pixels.dtype == np.float32
    assert pixels.ndim == 2
    assert pixels.flags.c_contiguous
    assert pixels.min() >= 0
    assert pixels.max() <= 1
    assert np.ptp(pixels) > 0.5


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.id)
def test_a_refusal_names_the_fault(case: InputCase) -> None:
    with pytest.raises(RequestError) as caught:
        decode(case.data(), case.media_type)
    assert (caught.value.status, caught.value.code) == (case.status, case.code)
    assert case.mentions in caught.value.detail
