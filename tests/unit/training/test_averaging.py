"""The mean of the weights of runs of one network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.support.runs import write_run
from training.config import SegmenterConfig
from training.loop.checkpoints import average, load_trained

SMALL = SegmenterConfig(width=4)


def test_every_weight_is_the_mean(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, "segmenter", SMALL, history=[{"dice": 0.5}]) for name in "ab"]
    average(runs, tmp_path / "mean")
    first, second, mean = (load_trained(run).model.state_dict() for run in (*runs, tmp_path / "mean"))
    for name, value in mean.items():
        torch.testing.assert_close(
            value, (first[name] + second[name]) / 2 if value.is_floating_point() else first[name]
        )
    assert load_trained(tmp_path / "mean").history == ()
    assert not torch.equal(first["head.weight"], second["head.weight"])


def test_other_networks_and_one_alone_are_refused(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", "segmenter", SMALL)
    wider = write_run(tmp_path / "wider", "segmenter", SegmenterConfig(width=8))
    for runs in ((one,), (one, wider)):
        with pytest.raises(ValueError, match="of one network"):
            average(runs, tmp_path / "mean")
    assert not (tmp_path / "mean").exists()
