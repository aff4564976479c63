"""A graph of six logits as two bundles that share one file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from scipy.special import softmax

from core.runtime.bundle import find_bundles
from tests.fixtures.models import SIX_LABELS, classifier_network
from training.bundle.bundle import Made, add_label_set, bundle_run
from training.bundle.card import render_card
from training.bundle.onnx_files import OnnxModel
from training.classification.label_sets import LabelSets, calibrate_label_sets
from training.evaluation.inputs import labelled_inputs
from training.recipe import read_recipe
from training.records import Evaluate, Export


def exported(run: Path, labels: tuple[str, ...] = SIX_LABELS) -> Path:
    """A run folder as ``export`` leaves it, around the tiny network."""
    run.mkdir()
    onnx.save(classifier_network(classes=len(labels), temperature=1.0), run / "model.onnx")
    record = Export(
        kind="classifier",
        architecture="resnet50",
        size=64,
        labels=labels,
        parity=0.0,
        rounding=0.0,
        images_seen=1,
        sizes={"64": 0.5},
        temperature=1.0,
        conformal_quantile=0.5,
        coverage=0.95,
        max_distance=1.0,
        max_energy=1.0,
    )
    record.write(run)
    return run


def test_each_set_is_fitted_on_its_own_logits(data: Path, tmp_path: Path) -> None:
    run = exported(tmp_path / "run")
    four, six = calibrate_label_sets(run, data).sets
    assert (four.name, six.name) == ("tumor-classifier", "tumor-classifier-6")
    assert (four.label_indices, six.label_indices) == ((0, 1, 2, 3), (0, 1, 2, 3, 4, 5))
    assert not four.calibration.temperature_in_graph
    inputs = labelled_inputs(data, "val", 64, SIX_LABELS)
    outputs = OnnxModel(run / "model.onnx").run_all(inputs.images)
    for fitted in (four, six):
        logits = outputs["logits"][:, fitted.label_indices] / fitted.calibration.temperature
        truth = softmax(logits, axis=1)[np.arange(len(logits)), inputs.labels]
        # The quantile covers the half that it was taken from, hence half of all at the least.
        assert fitted.calibration.conformal_quantile is not None
        assert np.mean(1 - truth <= fitted.calibration.conformal_quantile) >= 0.5
        assert np.mean(outputs["distance"] <= fitted.input_check.max_distance) >= 0.99


def test_the_bundles_share_the_file(data: Path, tmp_path: Path) -> None:
    run = exported(tmp_path / "run")
    calibrate_label_sets(run, data)
    (run / "tumor-classifier").mkdir()
    figures = Evaluate(split="val", reference=())
    figures.write(run / "tumor-classifier")
    made = Made(read_recipe("tumor-classifier"), "tumor-classifier", version="3")
    folders = bundle_run(run, tmp_path / "models", made)
    assert [folder.relative_to(tmp_path / "models").as_posix() for folder in folders] == [
        "tumor-classifier/3",
        "tumor-classifier-6/3",
    ]
    assert len(list((tmp_path / "models").rglob("*.onnx"))) == 1
    four, six = find_bundles(tmp_path / "models", "classification")
    assert four.manifest.files[0].bundle is None
    assert six.manifest.files[0].bundle == "tumor-classifier/3"
    assert four.manifest.files[0].sha256 == six.manifest.files[0].sha256
    assert six.manifest.labels == SIX_LABELS
    assert four.manifest.calibration != six.manifest.calibration
    assert "six classes" in six.manifest.title
    for folder in folders:
        assert "Research use only" in (folder / "CARD.md").read_text()


def test_one_set_alone_holds_the_file_itself(data: Path, tmp_path: Path) -> None:
    run = exported(tmp_path / "run")
    calibrate_label_sets(run, data)
    (folder,) = bundle_run(run, tmp_path / "models", Made(version="3"), "tumor-classifier-6")
    assert folder == tmp_path / "models" / "tumor-classifier-6" / "3"
    (six,) = find_bundles(tmp_path / "models", "classification")
    assert (six.manifest.name, six.manifest.files[0].bundle) == ("tumor-classifier-6", None)
    assert six.manifest.labels == SIX_LABELS
    with pytest.raises(ValueError, match="label set tumor-classifier-9"):
        bundle_run(run, tmp_path / "models", Made(version="3"), "tumor-classifier-9")


def test_a_set_is_added_to_a_bundle_that_is_there(data: Path, in_workspace: Path, tmp_path: Path) -> None:
    run = exported(tmp_path / "run")
    calibrate_label_sets(run, data)
    models = tmp_path / "models"
    _, of = bundle_run(run, models, Made(read_recipe("tumor-classifier"), "tumor-classifier"))
    folder = add_label_set("pituitary-or-not", "2", of, ("pituitary", "no_tumor"), data, "test")
    assert folder == models / "pituitary-or-not" / "2"
    found = {bundle.manifest.name: bundle.manifest for bundle in find_bundles(models, "classification")}
    added = found["pituitary-or-not"]
    # The files are named where they lie, which is not where it was added.
    assert added.files[0].bundle == "tumor-classifier/1"
    assert (added.labels, added.label_indices) == (("pituitary", "no_tumor"), (2, 3))
    assert added.calibration != found["tumor-classifier-6"].calibration
    assert {(metric.split, metric.count) for metric in added.metrics if metric.name == "accuracy"} >= {("test", 6)}
    card = (folder / "CARD.md").read_text()
    assert card == render_card(folder)
    assert "six classes (ResNet50): pituitary, no_tumor" in card.splitlines()[0]
    with pytest.raises(ValueError, match=r"two or more labels .* of: glioma"):
        add_label_set("other", "1", of, ("pituitary", "cyst"), data, "val")
    kept = (models / "tumor-classifier" / "1" / "manifest.json").read_bytes()
    with pytest.raises(ValueError, match="a model of its own"):
        add_label_set("tumor-classifier", "1", of, ("pituitary", "no_tumor"), data, "val")
    assert (models / "tumor-classifier" / "1" / "manifest.json").read_bytes() == kept
    assert add_label_set("pituitary-or-not", "2", of, ("pituitary", "no_tumor"), data, "test") == folder


def test_a_graph_of_four_logits_has_one_set(data: Path, tmp_path: Path) -> None:
    run = exported(tmp_path / "run", SIX_LABELS[:4])
    assert [fitted.name for fitted in calibrate_label_sets(run, data).sets] == ["tumor-classifier"]
    assert LabelSets.read(run).sets[0].label_indices == (0, 1, 2, 3)


def test_a_graph_of_other_labels_has_none(data: Path, tmp_path: Path) -> None:
    run = exported(tmp_path / "run", ("glioma", "meningioma"))
    with pytest.raises(ValueError, match="covers no label set"):
        calibrate_label_sets(run, data)
