"""Window functions against numbers worked out by hand from DICOM PS3.3 C.11.2.1."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.imaging.dicom.voi import FUNCTIONS, LINEAR, LINEAR_EXACT, SIGMOID, Window
from core.imaging.ramp import full_range


def shown(window: Window, *values: float) -> list[float]:
    return [float(value) for value in window.apply(np.array(values, np.float32))]


def test_linear_shows_as_many_levels_as_it_is_wide() -> None:
    # The standard's own example: centre 2048 and width 4096 show 0 to 4095.
    assert shown(Window(2048, 4096), -1, 0, 4095, 4096) == pytest.approx([0, 0, 1, 1])
    assert shown(Window(2048, 4096), 819) == pytest.approx([0.2])
    # Centre 0 and width 100: black up to -50, white from 49, (x + 0.5) / 99 + 0.5 between.
    assert shown(Window(0, 100), -50, 0, 49) == pytest.approx([0, 0.5 + 0.5 / 99, 1])


def test_linear_of_width_one_is_a_threshold() -> None:
    assert shown(Window(2048, 1), 2047, 2048) == [0, 1]
    assert shown(Window(0, 1), -1, 0) == [0, 1]


def test_linear_exact_spans_its_width() -> None:
    assert shown(Window(0.5, 1, LINEAR_EXACT), -0.1, 0, 0.25, 1, 1.1) == pytest.approx([0, 0, 0.25, 1, 1])


def test_sigmoid_is_the_logistic_curve() -> None:
    expected = [1 / (1 + math.e**4), 0.5, 1 / (1 + math.e**-4)]
    assert shown(Window(100, 50, SIGMOID), 50, 100, 150) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("window", "valid"),
    [
        (Window(40, 400), True),
        (Window(40, 1), True),
        (Window(40, 0.5), False),
        (Window(40, 0.5, LINEAR_EXACT), True),
        (Window(40, 0, SIGMOID), False),
        (Window(40, -3), False),
        (Window(math.nan, 400), False),
        (Window(40, math.inf), False),
        (Window(40, 400, "CUBIC"), False),
    ],
)
def test_what_the_standard_forbids_is_not_valid(window: Window, valid: bool) -> None:
    assert window.valid is valid


@given(
    centre=st.floats(-1e6, 1e6),
    width=st.floats(1, 1e6),
    function=st.sampled_from(FUNCTIONS),
    values=st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=20),
)
def test_every_window_is_monotonic_and_stays_in_range(
    centre: float, width: float, function: str, values: list[float]
) -> None:
    result = shown(Window(centre, width, function), *sorted(values))
    assert all(0 <= value <= 1 for value in result)
    assert result == sorted(result)


def test_the_full_range_leaves_out_what_does_not_count() -> None:
    values = np.array([[-2000, 10], [20, 30]], np.float32)
    assert full_range(values).tolist() == [[0, pytest.approx(2010 / 2030)], [pytest.approx(2020 / 2030), 1]]
    assert full_range(values, values != -2000).tolist() == [[0, 0], [0.5, 1]]


def test_a_flat_slice_is_black() -> None:
    assert not full_range(np.full((4, 4), 7, np.float32)).any()
    assert Window(0, 100, LINEAR).apply(np.full((4, 4), -200, np.float32)).max() == 0


@pytest.mark.parametrize("window", [Window(100, 50), Window(100, 1), Window(100, 50, LINEAR_EXACT)])
def test_at_its_bounds_a_window_is_black_and_white(window: Window) -> None:
    black, white = window.bounds
    assert shown(window, black - 1, black, white, white + 1)[::3] == [0, 1]
    assert shown(window, black, white + 1e-3) == pytest.approx([0, 1])


def test_at_its_bounds_a_sigmoid_is_within_one_grey_of_black_and_white() -> None:
    window = Window(100, 50, SIGMOID)
    black, white = shown(window, *window.bounds)
    assert black < 1 / 255
    assert white > 254 / 255
