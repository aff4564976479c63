"""The perceptron of the input check: learnt from few pictures, and what is made up for it to learn from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from core.imaging.preparation.familiarity import KINDS, perceptron, turned
from core.imaging.preparation.transforms import Framed
from training.data.archives import FloatArray
from training.familiarity.drawn import JUDGED, LEARNT, ellipse_head
from training.familiarity.fit import doubts, fit
from training.familiarity.made_up import INVERSIONS, inverted, made_up_ct
from training.familiarity.making import write
from training.familiarity.pictures import changed, described
from training.familiarity.strangers import read_table

SAMPLES = Path(__file__).resolve().parents[3] / "gateway" / "page" / "samples"


@pytest.fixture(scope="module")
def head() -> FloatArray:
    pixels = cv2.imread(str(SAMPLES / "meningioma-like.png"), cv2.IMREAD_GRAYSCALE)
    return np.asarray(pixels, np.float32) / np.float32(255)


def test_it_tells_heads_from_turned_and_drawn_ones_and_its_weights_survive_the_file(
    tmp_path: Path, head: FloatArray
) -> None:
    rng = np.random.default_rng(0)
    heads = np.stack([described(changed(head, rng)) for _ in range(30)])
    drawings = np.stack([described(ellipse_head(rng)) for _ in range(30)])
    kinds = np.repeat([KINDS.index("familiar"), KINDS.index("other")], 30).astype(np.int64)
    # Shown often: so few are one batch an epoch.
    network = fit(np.tile(np.concatenate([heads, drawings]), (20, 1)), np.tile(kinds, 20), ["one"] * 1200)
    assert np.mean(doubts(network, heads) < 0) > 0.9
    assert np.mean(doubts(network, drawings) > 0) > 0.9
    for turns in (1, 2, 3):
        assert np.mean(doubts(network, turned(heads, turns)) > 0) > 0.9
    path = tmp_path / "weights.npz"
    write(replace(network, limits=np.array([0.5, 1.5], np.float32)), path)
    read = perceptron(path)
    assert read.limits.tolist() == [0.5, 1.5]
    np.testing.assert_allclose(doubts(read, heads), doubts(network, heads), atol=0.3)


def test_made_up_ct_has_a_closed_bright_shell_around_an_even_brain(head: FloatArray) -> None:
    for seed in range(4):
        ct = made_up_ct(head, np.random.default_rng(seed))
        assert ct.shape == head.shape
        middle = ct[140:180, 140:180]
        rays = [ct[:160, 160], ct[160:, 160], ct[160, :160], ct[160, 160:]]
        assert all(ray.max() >= middle.mean() for ray in rays)
        assert middle.std() < 0.5 * ct.std() + 0.2


@pytest.mark.parametrize("how", INVERSIONS)
def test_an_inverted_head_is_dark_where_it_was_bright(head: FloatArray, how: str) -> None:
    lesion = np.unravel_index(np.argmax(head), head.shape)
    dark = inverted(head, how)
    assert dark[lesion] < 0.05
    assert (dark[0, 0] > 0.9) == (how == "whole")


@pytest.mark.parametrize("name", [*LEARNT, *JUDGED])
def test_drawings_are_pictures_of_any_size(name: str) -> None:
    rng = np.random.default_rng(0)
    pictures = [{**LEARNT, **JUDGED}[name](rng) for _ in range(5)]
    assert len({picture.shape for picture in pictures}) > 1
    for picture in pictures:
        assert picture.dtype == np.float32
        assert 0 <= picture.min() <= picture.max() <= 1
        assert picture.std() > 0.02
        assert np.isfinite(described(picture)).all()
        assert Framed.of(picture).pixels.size


def test_every_source_names_what_it_shows() -> None:
    assert {source.shows for source in read_table()} == {"mr", "ct", "other"}
