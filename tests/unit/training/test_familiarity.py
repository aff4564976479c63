"""The perceptron of the input check, learnt from a few drawn heads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from core.imaging.preparation.familiarity import KINDS, perceptron
from training.familiarity.fit import doubts, fit
from training.familiarity.making import write
from training.familiarity.pictures import described, drawn_head, inverted
from training.familiarity.strangers import read_table


def test_it_tells_drawn_heads_from_inverted_ones_and_its_weights_survive_the_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    heads = [drawn_head(rng) for _ in range(40)]
    descriptions = np.stack([*map(described, heads), *(described(inverted(head, rng)) for head in heads)])
    kinds = np.repeat([KINDS.index("familiar"), KINDS.index("inverted")], 40).astype(np.int64)
    # Shown often: so few are one batch an epoch.
    network = fit(np.tile(descriptions, (40, 1)), np.tile(kinds, 40), ["drawn"] * 3200)
    doubt = doubts(network, descriptions)
    assert np.mean(doubt[:40] < 0) > 0.9
    assert np.mean(doubt[40:] > 0) > 0.9
    path = tmp_path / "weights.npz"
    write(replace(network, limits=np.array([0.5, 1.5], np.float32)), path)
    read = perceptron(path)
    assert read.limits.tolist() == [0.5, 1.5]
    np.testing.assert_allclose(doubts(read, descriptions), doubt, atol=0.3)


def test_every_source_names_what_it_shows() -> None:
    assert {source.shows for source in read_table()} == {"mr", "ct", "other"}
