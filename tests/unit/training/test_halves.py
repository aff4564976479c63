"""A run may learn half of ``val``: nothing of the other half, and it is calibrated as a run that learnt neither."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with training/requirements.txt")
pytest.importorskip("monai", reason="monai comes with training/requirements.txt")

from core.contracts.manifest import Calibration, ClassificationPreprocessing, InputCheck  # noqa: E402
from training.averaging import average  # noqa: E402
from training.checkpoints import make_classifier  # noqa: E402
from training.classifier import ClassifierTask  # noqa: E402
from training.config import ClassifierConfig, Phase, ScheduleConfig  # noqa: E402
from training.data.slices import ct_heads, load_slices  # noqa: E402
from training.export import export_run  # noqa: E402
from training.halves import Half, learnt  # noqa: E402
from training.label_sets import LabelSet, LabelSets  # noqa: E402
from training.records import Export  # noqa: E402
from training.trainer import CHECKPOINT  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")

SIZE = 64
CONFIG = ClassifierConfig(width=8, schedule=ScheduleConfig(phases=(Phase(SIZE, 8),)))


def halved(half: Half | None) -> ClassifierConfig:
    return dataclasses.replace(CONFIG, val_half=half)


def write_run(run: Path, half: Half | None) -> Path:
    """A run as training leaves it, of random weights."""
    config = dataclasses.asdict(halved(half))
    about = {"kind": "classifier", "config": config}
    weights = make_classifier(config).state_dict()
    run.mkdir()
    torch.save({"about": about, "average": weights, "state": {"images_seen": 8, "history": []}}, run / CHECKPOINT)
    return run


def test_the_halves_share_no_group_and_are_all_there_is() -> None:
    groups = ["b", "a", "b", "c", "d"]
    first, second = learnt(groups, "first"), learnt(groups, "second")
    assert first.tolist() == [False, True, False, True, False]
    np.testing.assert_array_equal(second, ~first)
    assert not learnt(groups, None).any()


@pytest.mark.usefixtures("in_workspace")
def test_each_learns_train_and_its_half_alone(data: Path) -> None:
    train, val = (
        [row.image for row in load_slices(data, split, ClassificationPreprocessing(size=SIZE), CONFIG.labels).rows]
        for split in ("train", "val")
    )
    shown = {
        half: [row.image for row in ClassifierTask(halved(half), data, "cpu").slices(SIZE).rows]
        for half in (None, "first", "second")
    }
    assert shown[None] == train
    first, second = (set(shown[half]) - set(train) for half in ("first", "second"))
    assert first
    assert second
    assert not first & second
    # What is CT is learnt by neither.
    assert first | second == set(val) - ct_heads()
    assert set(val) & ct_heads()


@pytest.mark.usefixtures("in_workspace")
def test_figures_are_of_what_was_not_learnt(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[int] = []

    def record(model: object, images: np.ndarray, device: object) -> np.ndarray:
        judged.append(len(images))
        return np.zeros((len(images), len(CONFIG.labels)), np.float32)

    monkeypatch.setattr("training.classifier.predict_logits", record)
    for half in (None, "first", "second"):
        task = ClassifierTask(halved(half), data, "cpu")
        task.validate(task.model, SIZE)
    every, without_first, without_second = judged
    assert without_first + without_second == every
    assert 0 < without_first < every


def write_calibrated(run: Path) -> Export:
    """What ``export`` leaves of a run that learnt neither half."""
    run.mkdir()
    limits = {"max_distance": 1.5, "max_energy": 2.5}
    fitted = {"temperature": 1.0, "conformal_quantile": 0.7, "coverage": 0.95}
    known = {"kind": "classifier", "labels": CONFIG.labels, "size": SIZE, "images_seen": 8, "sizes": {str(SIZE): 0.5}}
    export = Export.model_validate({**known, **fitted, **limits, "parity": 0.0, "rounding": 0.0})
    label_set = LabelSet(
        name="tumor-classifier",
        labels=CONFIG.labels[:4],
        label_indices=(0, 1, 2, 3),
        calibration=Calibration(temperature=1.25, temperature_in_graph=False, conformal_quantile=0.8, coverage=0.95),
        input_check=InputCheck(max_distance=1.75, max_energy=None),
    )
    export.write(run)
    LabelSets(sets=(label_set,)).write(run)
    return export


@pytest.mark.usefixtures("in_workspace")
def test_it_is_calibrated_as_one_that_learnt_neither(data: Path, tmp_path: Path) -> None:
    first, second = (write_run(tmp_path / half, half) for half in ("first", "second"))
    plain, mean = tmp_path / "plain", tmp_path / "mean"
    average((first, second), mean)
    with pytest.raises(ValueError, match="--calibrated-as"):
        export_run(mean, data)
    assert not Export.path(mean).exists()
    given = write_calibrated(plain)
    taken = export_run(mean, data, calibrated_as=plain)
    for name in ("size", "temperature", "conformal_quantile", "max_distance", "max_energy"):
        assert getattr(taken, name) == getattr(given, name)
    assert (taken.learnt_val, taken.sizes) == (True, {})
    assert LabelSets.read(mean) == LabelSets.read(plain)
    given.model_copy(update={"labels": CONFIG.labels[:4]}).write(plain)
    with pytest.raises(ValueError, match="cannot be calibrated as"):
        export_run(mean, data, calibrated_as=plain)
