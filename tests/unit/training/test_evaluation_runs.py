"""Evaluating run folders and bundles around real, tiny graphs."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import helper, numpy_helper
from PIL import Image
from scipy.special import softmax

from core.contracts.manifest import Metric
from tests.fixtures.models import LABELS, SIX_LABELS, classifier_network, write_label_sets, write_models
from tests.support.miniature import draw
from training.bundle.onnx_files import OnnxModel
from training.classification.evaluate import answers, prediction_sets
from training.classification.label_sets import calibrate_label_sets
from training.data.outlined import lgg_slices
from training.data.samples import Sample
from training.evaluation.evaluate import View, evaluate_run, subject_of
from training.evaluation.inputs import LabelledInputs, labelled_inputs, outlined_inputs, pick
from training.evaluation.masks import dice, volumetric_dice
from training.evaluation.predictions import ClassPredictions, MaskPredictions, outlines_path, predictions_path
from training.evaluation.rates import balanced_accuracy
from training.records import Evaluate, Export


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return write_models(tmp_path / "models")


@pytest.fixture
def six_label_run(tmp_path: Path) -> Path:
    """A run folder as ``export`` leaves it, of a graph with six logits."""
    run = tmp_path / "run"
    run.mkdir()
    onnx.save(classifier_network(classes=6, temperature=1.0), run / "model.onnx")
    calibration = {"temperature": 1.0, "conformal_quantile": 0.6, "coverage": 0.95, "max_distance": 9, "max_energy": 9}
    record = {"kind": "classifier", "architecture": "resnet50", "size": 64, "labels": SIX_LABELS}
    measured = {"parity": 0, "rounding": 0, "images_seen": 1, "sizes": {"64": 0.5}}
    Export.model_validate({**record, **calibration, **measured}).write(run)
    return run


def values(metrics: tuple[Metric, ...], data_set: str) -> dict[str, float]:
    """Figures of one data set by name."""
    return {metric.name: metric.value for metric in metrics if metric.data_set == data_set}


def contents(folder: Path) -> dict[str, str]:
    """Digest of every file below a folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_classifier_bundle(models: Path, data: Path, tmp_path: Path) -> None:
    before = contents(models)
    out = tmp_path / "figures"
    result = evaluate_run(models / "tumor-classifier" / "1", data, "val", out)
    assert contents(models) == before
    assert Evaluate.read(out) == result
    assert [metric.name for metric in result.int8] == [metric.name for metric in result.reference]
    figures = values(result.reference, "four-source slices")
    for rate in ("recall", "specificity", "precision", "F1", "AUC"):
        assert {f"{rate} of {label}" for label in LABELS} <= set(figures)
    macro = {f"macro {rate}" for rate in ("specificity", "precision", "F1", "AUC")}
    assert macro | {"ECE", "Brier score", "NLL", "coverage of prediction sets"} <= set(figures)
    item = ClassPredictions.load(predictions_path(out, "val"))
    inputs = labelled_inputs(data, "val", 64, LABELS)
    logits = OnnxModel(models / "tumor-classifier" / "1" / "model.onnx").run_all(inputs.images)["logits"]
    np.testing.assert_allclose(item.probabilities, softmax(logits.astype(np.float64), axis=1), rtol=1e-6)
    assert item.images.tolist() == [row.image for row in inputs.rows]
    assert figures["accuracy"] == np.mean(logits.argmax(axis=1) == inputs.labels)
    assert figures["balanced_accuracy"] == pytest.approx(balanced_accuracy(item.predicted, item.labels))
    # The lesions of these two lie in the quadrants that the network's first two logits look at.
    assert figures["recall of glioma"] == figures["recall of meningioma"] == 1
    assert sum(map(sum, result.confusion)) == len(inputs.labels)
    figshare = values(result.reference, "slices of figshare")
    part = inputs.sources == "figshare"
    assert figshare["accuracy"] == np.mean(item.predicted[part] == item.labels[part])
    assert set(figshare) == {"accuracy", "balanced_accuracy"}
    recall = next(metric for metric in result.reference if metric.name == "recall of no_tumor")
    assert recall.count == int(np.sum(inputs.labels == LABELS.index("no_tumor")))


def test_sets_are_those_the_service_gives() -> None:
    probabilities = np.array([[0.6, 0.3, 0.1], [0.4, 0.35, 0.25]])
    text = np.array(["a", "b"])
    item = ClassPredictions(probabilities, np.array([0, 1]), text, text, text, np.array(["x", "y", "z"]))
    assert prediction_sets(item, 0.65).tolist() == [[True, False, False], [True, True, False]]
    # Nothing reaches 0.95: the answer alone is left.
    assert prediction_sets(item, 0.05).tolist() == [[True, False, False], [True, False, False]]


def test_label_sets_share_one_pass_and_keep_their_own_calibration(six_label_run: Path, data: Path) -> None:
    four, six = calibrate_label_sets(six_label_run, data).sets
    own = evaluate_run(six_label_run, data, "val")
    assert Evaluate.read(six_label_run) == own
    inputs = labelled_inputs(data, "val", 64, SIX_LABELS)
    logits = OnnxModel(six_label_run / "model.onnx").run_all(inputs.images)["logits"].astype(np.float64)
    for label_set in (four, six):
        item = ClassPredictions.load(predictions_path(six_label_run / label_set.name, "val"))
        assert tuple(item.names.tolist()) == label_set.labels
        expected = softmax(logits[:, label_set.label_indices] / label_set.calibration.temperature, axis=1)
        np.testing.assert_allclose(item.probabilities, expected, rtol=1e-9)
        figures = Evaluate.read(six_label_run / label_set.name)
        quantile = label_set.calibration.conformal_quantile
        assert quantile is not None
        held = prediction_sets(item, quantile)[np.arange(len(item.labels)), item.labels]
        assert values(figures.reference, "four-source slices")["coverage of prediction sets"] == held.mean()


def test_four_of_six_without_a_calibration_of_their_own(six_label_run: Path, data: Path) -> None:
    result = evaluate_run(six_label_run, data, "val", label_set="tumor-classifier")
    figures = values(result.reference, "four-source slices")
    assert "coverage of prediction sets" not in figures
    item = ClassPredictions.load(predictions_path(six_label_run / "tumor-classifier", "val"))
    assert item.probabilities.shape[1] == len(result.confusion) == 4
    assert not Evaluate.path(six_label_run).exists()
    with pytest.raises(ValueError, match="no label set"):
        evaluate_run(six_label_run, data, "val", label_set="tumor-classifier-9")


def test_slices_with_other_labels_are_left_out() -> None:
    rows = tuple(
        Sample(f"{k}.jpg", ("image",), "feltrin", label, "", f"p{k}", "val") for k, label in enumerate(SIX_LABELS)
    )
    inputs = LabelledInputs(np.arange(6), rows, np.zeros((6, 1, 8, 8), np.float32))
    logits = np.tile(np.array([0, 0, 0, 1, 9, 0], np.float32), (6, 1))
    item = answers(logits, inputs, SIX_LABELS, View(LABELS, (0, 1, 2, 3), temperature=2.0))
    assert item.images.tolist() == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    assert item.labels.tolist() == [0, 1, 2, 3]
    # The fifth logit, however large, has no part: e^(1/2) over e^(1/2) + 3.
    assert item.probabilities[:, 3] == pytest.approx(np.exp(0.5) / (np.exp(0.5) + 3))
    # Labels of another order, as a bundle may have them.
    turned = answers(logits, inputs, SIX_LABELS, View(("neurocytoma", "glioma"), (4, 0)))
    assert turned.labels.tolist() == [1, 0]
    assert turned.predicted.tolist() == [0, 0]


def test_label_sets_of_bundles(tmp_path: Path) -> None:
    models = write_label_sets(tmp_path / "models")
    four, six = (subject_of(models / name / "1") for name in ("tumor-classifier", "tumor-classifier-6"))
    assert four.labels == LABELS
    assert six.labels == SIX_LABELS
    assert four.files["reference"].samefile(six.files["reference"])
    (four_view,), (six_view,) = four.views.values(), six.views.values()
    assert (four_view.temperature, six_view.temperature) == (1.5, 2.0)
    # The four of the six-label bundle: its temperature, and no promise of coverage.
    (restricted,) = subject_of(models / "tumor-classifier-6" / "1", label_set="tumor-classifier").views.values()
    assert (restricted.labels, restricted.indices) == (LABELS, (0, 1, 2, 3))
    assert (restricted.temperature, restricted.quantile) == (2.0, None)
    with pytest.raises(ValueError, match="the graph knows"):
        subject_of(models / "tumor-classifier" / "1", label_set="tumor-classifier-6")


def with_outline(network: onnx.ModelProto) -> onnx.ModelProto:
    """The classifier's graph with a second task: what is brighter than 0.8 is tumour."""
    for name, value in (("level", 0.8), ("slope", 40.0)):
        network.graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), name))
    steps = (("Sub", ["image", "level"], "above"), ("Mul", ["above", "slope"], "steep"))
    for operator, inputs, output in (*steps, ("Sigmoid", ["steep"], "probability")):
        network.graph.node.append(helper.make_node(operator, inputs, [output]))
    shape = ("N", 1, 64, 64)
    network.graph.output.append(helper.make_tensor_value_info("probability", onnx.TensorProto.FLOAT, shape))
    onnx.checker.check_model(network, full_check=True)
    return network


def test_a_classifier_that_draws_the_outline_as_well(six_label_run: Path, data: Path) -> None:
    onnx.save(with_outline(classifier_network(classes=6, temperature=1.0)), six_label_run / "model.onnx")
    result = evaluate_run(six_label_run, data, "val")
    figures = values(result.reference, "Figshare")
    assert figures["Dice on tumour slices (outline of the classifier)"] > 0.8
    item = MaskPredictions.load(outlines_path(six_label_run, "val"))
    assert figures["Dice on tumour slices (outline of the classifier)"] == pytest.approx(item.dice.mean())
    # Twelve slices of val show a tumour, each with its outline.
    assert len(item.images) == 12
    assert item.has_tumour.all()


def predicted_masks(path: Path, data: Path, split: str) -> tuple[list[npt.NDArray[np.bool_]], list[str]]:
    """Masks of the LGG slices with all sequences, by the shortest way."""
    model = OnnxModel(path)
    inputs = outlined_inputs(lgg_slices(data, split), 64, pick("t1", "t1ce", "flair"))
    masks = [item.placement.restore(model.run(item.image[None])["probability"][0, 0]) >= 0.5 for item in inputs]
    return masks, [item.patient for item in inputs]


def test_a_segmenter_bundle(models: Path, data: Path, tmp_path: Path) -> None:
    folder = models / "tumor-segmenter" / "1"
    result = evaluate_run(folder, data, "val", tmp_path / "figures")
    masks, patients = predicted_masks(folder / "model.onnx", data, "val")
    true = [item.mask for item in lgg_slices(data, "val")]
    by_patient = volumetric_dice(np.stack(masks), np.stack(true), patients)
    figures = values(result.reference, "TCGA-LGG")
    assert figures["volumetric Dice a patient, mean (t1+t1ce+flair)"] == pytest.approx(np.mean([*by_patient.values()]))
    tumour = [dice(mask, outline) for mask, outline in zip(masks, true, strict=True) if outline.any()]
    assert figures["Dice on tumour slices (t1+t1ce+flair)"] == pytest.approx(np.mean(tumour))
    for name in ("IoU on tumour slices", "Hausdorff 95 in pixels, mean of tumour slices"):
        assert f"{name} (t1+t1ce+flair)" in figures
        assert f"{name} (as a grey image)" in values(result.reference, "Figshare")
    # A bright disc in a grey head is found to within a few pixels where one grey slice fills all channels.
    grey = values(result.reference, "Figshare")
    assert grey["Dice on tumour slices (as a grey image)"] > 0.7
    assert grey["Hausdorff 95 in pixels, median of tumour slices (as a grey image)"] < 5
    # Nothing but false alarms can be told of a head without tumour.
    assert list(values(result.reference, "heads without tumour")) == ["false-positive slices, share (as a grey image)"]
    item = MaskPredictions.load(predictions_path(tmp_path / "figures", "val"))
    shown = item.shown("t1+t1ce+flair", "TCGA-LGG").by_patient()
    assert dict(zip(shown.patients.tolist(), shown.dice.tolist(), strict=True)) == pytest.approx(by_patient)
    with pytest.raises(ValueError, match="the graph knows tumor"):
        evaluate_run(folder, data, "val", tmp_path / "figures", label_set="tumor-classifier")


def test_a_folder_of_classes(models: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(5)
    for label in ("glioma", "meningioma"):
        folder = tmp_path / "own" / "val" / label
        folder.mkdir(parents=True)
        for index in range(3):
            Image.fromarray(draw(label, generator)[0]).save(folder / f"{index}.png")
    result = evaluate_run(models / "tumor-classifier" / "1", tmp_path / "own", "val", tmp_path / "figures")
    figures = values(result.reference, "own slices")
    assert figures["accuracy"] == figures["macro AUC"] == 1
    # Of what the folder does not have, nothing is said.
    assert "recall of pituitary" not in figures


def test_a_folder_of_volumes(models: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(5)
    folder = tmp_path / "own" / "TCGA_CS_0001_20000101"
    folder.mkdir(parents=True)
    for index in (1, 2, 3):
        pixels, lesion = draw("glioma" if index < 3 else "no_tumor", generator)
        stem = folder / f"{folder.name}_{index}"
        Image.fromarray(np.repeat(pixels[..., None], 3, axis=2)).save(f"{stem}.tif")
        Image.fromarray(lesion.astype(np.uint8) * 255).save(f"{stem}_mask.tif")
    names = [f"{folder.name}/{folder.name}_{index}.tif" for index in (1, 2, 3)]
    (tmp_path / "own" / "splits.csv").write_text("name,split\n" + "".join(f"{name},val\n" for name in names))
    result = evaluate_run(models / "tumor-segmenter" / "1", tmp_path / "own", "val", tmp_path / "figures")
    figures = values(result.reference, "own data")
    assert figures["volumetric Dice a patient, mean (t1 as a grey image)"] > 0.7
    # Without a lesion the noise itself is stretched to white, and the tiny network takes it for tumour.
    assert figures["false-positive slices, share (t1 as a grey image)"] == 1
    assert "Dice on tumour slices (t1+flair+t1ce)" in figures
