"""The preprocessing that training and serving share, on phantoms of any size."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from core.contracts.manifest import ClassificationPreprocessing, SegmentationPreprocessing
from core.errors import InconsistentGeometry, InvalidRequest, MissingSequence
from core.imaging.preparation.copies import find_copies
from core.imaging.preparation.frame import Box, find_content
from core.imaging.preparation.transforms import (
    FloatArray,
    Placement,
    find_head,
    grey_window,
    prepare_classification,
    prepare_segmentation,
)

sides = st.integers(min_value=40, max_value=420)
model_sizes = st.sampled_from([64, 97, 128, 192])


def ellipse(shape: tuple[int, int], centre: tuple[float, float], radii: tuple[float, float]) -> npt.NDArray[np.bool_]:
    """A filled ellipse; centre and radii (row, column) as shares of the slice's sides."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    row = (rows + 0.5 - centre[0] * shape[0]) / (radii[0] * shape[0])
    column = (columns + 0.5 - centre[1] * shape[1]) / (radii[1] * shape[1])
    return np.asarray(row**2 + column**2 <= 1)


def phantom(shape: tuple[int, int]) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """A grey head on black with a bright lesion in its upper left; the lesion's mask."""
    head = ellipse(shape, (0.52, 0.47), (0.38, 0.33))
    lesion = ellipse(shape, (0.38, 0.33), (0.11, 0.09))
    shade = np.linspace(0.3, 0.45, shape[0], dtype=np.float32)[:, None]
    return np.where(lesion, np.float32(0.9), shade * head).astype(np.float32), lesion


def centroid(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Mean (row, column)."""
    return np.asarray(np.argwhere(mask).mean(axis=0), np.float64)


def within(mask: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_], pixels: int) -> bool:
    """Whether ``mask`` lies inside ``other`` grown by ``pixels`` in every direction."""
    kernel = np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8)
    grown = cv2.dilate(other.astype(np.uint8), kernel)
    return bool(np.all(grown[mask] > 0))


def blunted(mask: npt.NDArray[np.bool_], pixels: int) -> npt.NDArray[np.bool_]:
    """The part of ``mask`` that squares with ``pixels`` on each side of their centre fit into: no thin tips."""
    kernel = np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8)
    return np.asarray(cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, kernel) > 0)


@settings(max_examples=60, deadline=None)
@given(height=sides, width=sides, size=model_sizes)
@example(height=316, width=46, size=128)  # an ellipse so slender that its tips are thinner than a model pixel
def test_a_lesion_comes_back_to_its_own_pixels(height: int, width: int, size: int) -> None:
    pixels, lesion = phantom((height, width))
    image, placement = prepare_segmentation({"flair": pixels}, SegmentationPreprocessing(size=size))
    restored = placement.restore((image[3] > 0.75).astype(np.float32)) >= 0.5
    assume(0.09 * min(height, width) >= 2 * placement.side / size)  # smaller lesions vanish between model pixels
    # One pixel of the coarser of the two grids.
    tolerance = max(1, int(np.ceil(placement.side / size)))
    assert within(restored, lesion, tolerance)
    # What is two model pixels wide in both directions holds a whole one, wherever their grid lies, and must come back;
    # a tip that is thinner may fall between two of them and vanish.
    wide = blunted(lesion, tolerance)
    assert wide.sum() > 0.75 * lesion.sum()
    assert within(wide, restored, tolerance)
    # Two cuts at a level, on two grids, move an edge by up to half a pixel each; a shift would move it by one.
    assert np.abs(centroid(restored) - centroid(lesion)).max() <= 0.75 * max(1.0, placement.side / size)


@settings(max_examples=60, deadline=None)
@given(height=sides, width=sides, size=model_sizes)
def test_a_full_map_fills_the_box_and_nothing_else(height: int, width: int, size: int) -> None:
    pixels, _ = phantom((height, width))
    _, placement = prepare_classification(pixels, ClassificationPreprocessing(size=size))
    restored = placement.restore(np.ones((size, size), np.float32))
    expected = np.zeros((height, width), np.float32)
    placement.shown.of(expected)[:] = 1
    assert restored.dtype == np.float32
    np.testing.assert_array_equal(restored, expected)


@settings(max_examples=40, deadline=None)
@given(height=sides, width=sides, scale=st.integers(min_value=1, max_value=4))
def test_cut_and_restore_are_exact_on_whole_multiples(height: int, width: int, scale: int) -> None:
    """Enlarging by a whole factor and averaging back must not move anything, for odd and even sizes alike."""
    placement = Placement((height, width), Box(0, 0, height, width), Box(0, 0, height, width))
    pixels, lesion = phantom((height, width))
    large = placement.cut(lesion.astype(np.float32), placement.side * scale)
    np.testing.assert_array_equal(placement.restore(large) >= 0.5, lesion)
    np.testing.assert_allclose(placement.restore(placement.cut(pixels, placement.side)), pixels, atol=1e-6)


def test_a_coarse_map_is_laid_over_the_same_square() -> None:
    pixels, _ = phantom((300, 200))
    _, placement = prepare_classification(pixels, ClassificationPreprocessing(size=128))
    coarse = np.zeros((4, 4), np.float32)
    coarse[0, 0] = 1.0
    row, column = np.unravel_index(int(placement.restore(coarse).argmax()), (300, 200))
    assert row < placement.box.top + placement.side / 2
    assert column < placement.box.left + placement.box.width / 2


@settings(max_examples=40, deadline=None)
@given(height=sides, width=sides, size=model_sizes, gain=st.floats(0.05, 1.0))
def test_input_is_bounded_and_does_not_depend_on_gain(height: int, width: int, size: int, gain: float) -> None:
    pixels, _ = phantom((height, width))
    spec = ClassificationPreprocessing(size=size)
    image, _ = prepare_classification(pixels, spec)
    dimmed, _ = prepare_classification(pixels * np.float32(gain), spec)
    assert image.shape == (1, size, size)
    assert image.dtype == np.float32
    assert 0.0 <= float(image.min()) <= float(image.max()) <= 1.0
    np.testing.assert_allclose(image, dimmed, atol=1e-3)


def test_the_head_is_cut_out_whole_with_its_margin() -> None:
    pixels, _ = phantom((240, 200))
    _, placement = prepare_segmentation({"image": pixels}, SegmentationPreprocessing(size=64))
    box = placement.box
    rows, columns = np.nonzero(pixels)
    assert box.top <= rows.min()
    assert box.bottom > rows.max()
    assert box.left <= columns.min()
    assert box.right > columns.max()
    assert box.height <= np.ptp(rows) + 1 + 2 * (5 + 4)
    assert box.width <= np.ptp(columns) + 1 + 2 * (5 + 4)


def test_a_slice_is_shown_with_the_border_of_the_manifest_around_what_is_not_black() -> None:
    pixels, _ = phantom((240, 200))
    content = find_content(pixels)
    _, placement = prepare_classification(pixels, ClassificationPreprocessing(size=64, border=0.1, head_margin=0.5))
    assert placement.box == content.grown(round(0.1 * content.longer))
    # Where the air around the head is not black, the head does not become small in it.
    foggy = np.pad(pixels, 200) + np.float32(0.05)
    head = find_head(foggy)
    _, placement = prepare_classification(foggy, ClassificationPreprocessing(size=64, border=0.0, head_margin=0.25))
    assert placement.box == head.grown(round(0.25 * head.longer))


BORDERS = {
    "left": (0, 90, 0, 0),
    "right": (0, 0, 0, 41),
    "top": (77, 0, 0, 0),
    "bottom": (0, 0, 13, 0),
    "16:9": (0, 113, 0, 114),
    "1.6 times": (72, 60, 72, 60),
    "2.2 times": (144, 120, 144, 120),
    "uneven": (3, 200, 150, 31),
}


@pytest.mark.parametrize("border", BORDERS.values(), ids=BORDERS)
@pytest.mark.parametrize("noisy", [False, True])
def test_a_black_border_changes_nothing_that_a_network_is_shown(
    border: tuple[int, int, int, int], *, noisy: bool
) -> None:
    pixels, lesion = phantom((240, 200))
    top, left, bottom, right = border
    around = ((top, bottom), (left, right))
    bordered = np.pad(pixels, around)
    if noisy:
        noise = np.random.default_rng(0).integers(0, 5, bordered.shape).astype(np.float32) / np.float32(255)
        bordered = np.where(np.pad(np.ones_like(pixels), around) > 0, bordered, noise)
    classified, placed = prepare_classification(pixels, ClassificationPreprocessing(size=96))
    outlined, _ = prepare_segmentation({"flair": pixels}, SegmentationPreprocessing(size=96))
    classified_too, placed_too = prepare_classification(bordered, ClassificationPreprocessing(size=96))
    outlined_too, placed_mask = prepare_segmentation({"flair": bordered}, SegmentationPreprocessing(size=96))
    np.testing.assert_array_equal(classified, classified_too)
    np.testing.assert_array_equal(outlined, outlined_too)
    # What comes back lies on the caller's own pixels, as far as it lies on those of the slice.
    assert placed_too.box == placed.box.moved(top, left)
    restored = placed_mask.restore(placed_mask.cut(np.pad(lesion, around).astype(np.float32), 192))
    assert restored.shape == bordered.shape
    assert np.abs(centroid(restored >= 0.5) - centroid(lesion) - (top, left)).max() <= 0.75


def test_all_greys_of_what_is_shown_are_told_apart() -> None:
    pixels, _ = phantom((200, 200))
    veiled = np.float32(0.2) + pixels * np.float32(0.5)
    spec = ClassificationPreprocessing(size=200, border=0.0, head_margin=0.5)
    shown, _ = prepare_classification(veiled, spec)
    np.testing.assert_allclose(shown[0], (pixels - pixels.min()) / np.ptp(pixels), atol=1e-5)


def test_burnt_in_letters_do_not_widen_the_box() -> None:
    pixels, _ = phantom((256, 256))
    marked = pixels.copy()
    marked[4:12, 4:7] = 1.0
    marked[240:250, 246:249] = 1.0
    assert find_head(marked) == find_head(pixels)


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (16, 16), (17, 640)])
@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_featureless_slices_give_a_whole_finite_square(shape: tuple[int, int], value: float) -> None:
    image, placement = prepare_classification(np.full(shape, value, np.float32), ClassificationPreprocessing(size=64))
    assert placement.shown == Box(0, 0, *shape)
    assert np.isfinite(image).all()
    assert placement.restore(image[0]).shape == shape


def test_noise_in_the_background_does_not_hide_the_head() -> None:
    pixels, _ = phantom((256, 256))
    noisy = np.clip(pixels + np.random.default_rng(0).normal(0, 0.01, pixels.shape), 0, 1).astype(np.float32)
    box, clean = find_head(noisy), find_head(pixels)
    assert (
        np.abs(
            np.subtract((box.top, box.left, box.bottom, box.right), (clean.top, clean.left, clean.bottom, clean.right))
        ).max()
        <= 4
    )


def test_the_grey_window_ignores_background() -> None:
    pixels = np.zeros((100, 100), np.float32)
    pixels[40:60, 40:60] = np.linspace(0.5, 0.9, 400, dtype=np.float32).reshape(20, 20)
    low, high = grey_window(pixels, Box(0, 0, 100, 100), (1.0, 99.0))
    assert low == pytest.approx(0.504, abs=1e-3)
    assert high == pytest.approx(0.896, abs=1e-3)


def test_padding_is_black_and_centred() -> None:
    pixels, _ = phantom((300, 100))
    image, placement = prepare_classification(pixels, ClassificationPreprocessing(size=150))
    rows, columns = np.nonzero(image[0] > 0.01)
    scale = 150 / placement.side
    assert columns.min() >= np.floor(placement.offset[1] * scale)
    assert columns.max() <= np.ceil(150 - placement.offset[1] * scale)
    assert columns.min() + columns.max() == pytest.approx(149, abs=4)
    assert np.ptp(rows) > 2 * np.ptp(columns)


def test_channels_follow_the_model_and_absent_ones_are_zero() -> None:
    pixels, _ = phantom((120, 90))
    spec = SegmentationPreprocessing(size=64)
    image, _ = prepare_segmentation({"flair": pixels, "t1ce": pixels[::, ::-1].copy()}, spec)
    assert image.shape == (4, 64, 64)
    assert [bool(channel.any()) for channel in image] == [False, True, False, True]
    assert not np.array_equal(image[1], image[3])


def test_sequences_share_one_placement() -> None:
    """The union of both heads is cut out, so that what is at one place in one sequence is so in the other."""
    left, right = np.zeros((100, 100), np.float32), np.zeros((100, 100), np.float32)
    # A gradient: a head of one grey value has no contrast to stretch.
    left[30:60, 10:40] = right[30:60, 50:80] = np.linspace(0.5, 0.9, 30, dtype=np.float32)
    image, placement = prepare_segmentation({"t1": left, "t2": right}, SegmentationPreprocessing(size=128))
    box = placement.box
    assert box.left <= 10
    assert box.right >= 80
    restored = placement.restore(image[2])
    assert float(restored[35:55, 60:75].min()) > float(restored[35:55, 15:35].max())


def test_a_slice_of_unknown_sequence_fills_every_channel() -> None:
    pixels, _ = phantom((80, 120))
    image, _ = prepare_segmentation({"image": pixels}, SegmentationPreprocessing(size=64))
    alone, _ = prepare_segmentation({"t1": pixels}, SegmentationPreprocessing(size=64))
    for channel in image:
        np.testing.assert_array_equal(channel, alone[0])


def test_what_does_not_fit_together_is_refused() -> None:
    pixels, _ = phantom((60, 60))
    spec = SegmentationPreprocessing(size=64)
    with pytest.raises(MissingSequence, match="t1, t1ce, t2, flair"):
        prepare_segmentation({}, spec)
    with pytest.raises(InvalidRequest, match="dwi"):
        prepare_segmentation({"dwi": pixels}, spec)
    with pytest.raises(InvalidRequest, match="alone"):
        prepare_segmentation({"image": pixels, "t1": pixels}, spec)
    with pytest.raises(InconsistentGeometry, match="60x59"):
        prepare_segmentation({"t1": pixels, "flair": pixels[:59]}, spec)


def grainy(seed: int) -> FloatArray:
    """The phantom's head with a texture of its own: another sequence of the same slice."""
    pixels, _ = phantom((120, 100))
    texture = np.random.default_rng(seed).random(pixels.shape).astype(np.float32)
    return np.asarray(pixels * (0.4 + 0.6 * texture), np.float32)


def test_a_sequence_that_repeats_another_is_left_out() -> None:
    spec = SegmentationPreprocessing(size=64)
    flair, t2 = grainy(1), grainy(2)
    # Saved again with other contrast and rounding, as archives do.
    copy = np.rint((0.1 + 0.8 * flair) * 255).astype(np.float32) / np.float32(255)
    sequences = {"t1": copy, "t2": t2, "flair": flair}
    assert find_copies(sequences, spec.sequences, spec.copy_correlation) == {"t1": "flair"}
    image, _ = prepare_segmentation(sequences, spec)
    without, _ = prepare_segmentation({"t2": t2, "flair": flair}, spec)
    np.testing.assert_array_equal(image, without)


def test_one_image_under_every_name_stays_under_one() -> None:
    spec = SegmentationPreprocessing(size=64)
    everywhere = dict.fromkeys(spec.sequences, grainy(1))
    assert find_copies(everywhere, spec.sequences, spec.copy_correlation) == {
        "t1": "flair",
        "t1ce": "flair",
        "t2": "flair",
    }
    image, _ = prepare_segmentation(everywhere, spec)
    assert [bool(channel.any()) for channel in image] == [False, False, False, True]


def test_blank_slices_are_not_copies_of_each_other() -> None:
    spec = SegmentationPreprocessing(size=64)
    blank = np.zeros((120, 100), np.float32)
    sequences = {"t1": blank, "t2": blank, "flair": grainy(1)}
    assert find_copies(sequences, spec.sequences, spec.copy_correlation) == {}
