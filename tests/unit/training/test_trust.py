"""What ``trust`` measures, on pictures and answers whose figures are known."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import typer
from onnx import numpy_helper
from typer.testing import CliRunner

from core.contracts.manifest import Calibration, ClassificationPreprocessing, Manifest, MapGeometry
from core.imaging.preparation.frame import Box
from core.imaging.preparation.transforms import Placement
from tests.fixtures.models import classifier_manifest, classifier_network, write_bundle
from training.bundle.map_geometry import map_geometry
from training.bundle.onnx_files import OnnxModel, export_graph
from training.classification.checked import checked_slices, evenly
from training.commands.runs import trust_command
from training.data.labelled import LABELS
from training.evaluation.pointing import hit, randomise_weights, strongest_point
from training.evaluation.rates import area_under_roc
from training.evaluation.strange_pictures import CT_HEADS, load_pictures
from training.evaluation.trust import Trust, answer_metrics

SPEC = ClassificationPreprocessing(size=64)


def manifest(**changes: object) -> Manifest:
    file = {"name": "model.onnx", "sha256": "0" * 64, "variant": "reference", "size_bytes": 1}
    return Manifest.model_validate({**classifier_manifest(), "files": [file], **changes})


@pytest.fixture
def strange(tmp_path: Path) -> Path:
    """Two kinds: noise without a background, and coloured noise; and a file that is no picture."""
    generator = np.random.default_rng(5)
    for kind, shape in (("noise", (80, 80)), ("colours", (80, 80, 3))):
        folder = tmp_path / "strange" / kind
        folder.mkdir(parents=True)
        for index in range(4):
            cv2.imwrite(str(folder / f"{index // 2}-{index}.png"), generator.integers(0, 255, shape, np.uint8))
    (tmp_path / "strange" / "noise" / "notes.txt").write_text("no picture")
    return tmp_path / "strange"


def test_the_command_writes_every_figure(data: Path, strange: Path, tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "models", classifier_manifest(), classifier_network(), channels=1)
    app = typer.Typer()
    app.command()(trust_command)
    out = tmp_path / "trust.json"
    arguments = ["--bundle", folder, "--data", data, "--strange", strange, "--out", out, "--split", "test"]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    record = Trust.model_validate(json.loads(out.read_text()))
    # The data have two CT heads among their slices.
    assert record.strange == {"colours": 4, "ct_heads_of_the_data": 2, "noise": 4}
    assert record.unreadable == ("noise/notes.txt",)
    figures = {(metric.name, metric.data_set): metric for metric in record.metrics}
    assert figures["refused by the input check", "strange pictures: colours"].value == 1.0
    assert figures["AUROC of the input check", "strange pictures: all"].count == 10
    assert figures["coverage of prediction sets", "labelled slices"].split == "test"
    # Nine slices with an outline, three a label.
    assert figures["pointing game, inside (heat map)", "outlined slices"].count == 9
    assert figures["pointing game, inside (control: random weights)", "outlined slices"].count == 9
    for metric in record.metrics:
        assert metric.interval is not None
        assert metric.interval[0] <= metric.value <= metric.interval[1]


def test_pictures_are_taken_evenly_and_grouped_by_name(data: Path, strange: Path, tmp_path: Path) -> None:
    pictures = load_pictures(strange, data, SPEC, limit=2)
    assert pictures.kinds == ("colours", "colours", "noise", CT_HEADS, CT_HEADS)
    assert pictures.groups[:3] == ("colours/0", "colours/1", "noise/0")
    assert pictures.images.shape == (5, 1, 64, 64)
    assert load_pictures(None, tmp_path, SPEC).images.shape == (0, 1, 64, 64)


def test_area_under_curve_by_hand() -> None:
    assert area_under_roc(np.array([1.0, 2.0, 3.0, 4.0]), np.array([False, False, True, True])) == 1.0
    assert area_under_roc(np.array([1.0, 3.0, 2.0, 4.0]), np.array([False, False, True, True])) == 0.75
    assert area_under_roc(np.array([1.0, 1.0]), np.array([False, True])) == 0.5
    assert np.isnan(area_under_roc(np.array([1.0]), np.array([True])))


def test_answers_are_read_as_the_service_reads_them(data: Path) -> None:
    """Of five logits the labels are the last four; the temperature is left to apply and sharpens nothing here."""
    inputs = checked_slices(data, "val", SPEC, LABELS)
    truth = inputs.labels
    logits = np.full((len(truth), 5), -9.0, np.float32)
    logits[:, 0] = 50.0
    logits[np.arange(len(truth)), truth + 1] = 0.0
    told = manifest(
        label_indices=[1, 2, 3, 4],
        calibration=Calibration(temperature=3.0, temperature_in_graph=False, conformal_quantile=0.2, coverage=0.9),
    )
    figures = {metric.name: metric.value for metric in answer_metrics(told, inputs, logits, "val")}
    sure = 1 / (1 + 3 * np.exp(-3.0))
    assert figures["accuracy"] == 1.0
    assert figures["expected calibration error"] == pytest.approx(1 - sure)
    assert figures["coverage of prediction sets"] == 1.0
    assert figures["labels a prediction set"] == 1.0


def test_places_are_spread_evenly() -> None:
    assert evenly(5, None).tolist() == evenly(5, 9).tolist() == [0, 1, 2, 3, 4]
    assert evenly(9, 3).tolist() == [0, 4, 8]


def test_points_are_found_in_the_slice_and_judged() -> None:
    placement = Placement((128, 256), Box(0, 64, 128, 192), Box(0, 0, 128, 256))
    told = manifest(map_geometry=MapGeometry(first=0, step=16))
    evidence = np.full((4, 4), -1.0, np.float32)
    evidence[2, 1] = 5.0
    # Cell (2, 1) is centred on pixel (32, 16) of the 64-pixel square, which shows 128 x 128 pixels from column 64 on.
    point = strongest_point(evidence, placement, told)
    assert point is not None
    row, column = point
    assert abs(row - 64) <= 2
    assert abs(column - 96) <= 2
    assert strongest_point(np.full((4, 4), -1.0, np.float32), placement, told) is None
    mask = np.zeros((128, 256), bool)
    mask[60:70, 110:120] = True
    assert (hit((64, 115), mask).inside, hit((64, 115), mask).near) == (True, True)
    assert (hit((64, 96), mask).inside, hit((64, 96), mask).near) == (False, True)
    assert not hit((64, 94), mask).near
    assert not hit(None, mask).near


def test_random_weights_replace_the_trained_ones_and_signals_live(tmp_path: Path) -> None:
    onnx.save(classifier_network(), tmp_path / "a.onnx")
    randomise_weights(tmp_path / "a.onnx", tmp_path / "b.onnx")
    before, after = (
        {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(tmp_path / name).graph.initializer}
        for name in ("a.onnx", "b.onnx")
    )
    assert not np.isclose(before["evidence"], after["evidence"]).any()
    assert after["evidence"].std() == pytest.approx(np.sqrt(2 / 8), rel=0.5)
    assert np.array_equal(before["bias"], after["bias"])
    image = np.random.default_rng(0).random((1, 1, 64, 64), np.float32)
    assert np.ptp(OnnxModel(tmp_path / "b.onnx").run(image)["cam"]) > 0.01


def test_geometry_follows_strides_and_padding(tmp_path: Path) -> None:
    """Two strided convolutions, a pooling and a padding."""
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(
                nn.Conv2d(1, 1, 7, 2, 3), nn.MaxPool2d(3, 2, 1), nn.ZeroPad2d((1, 2, 1, 2)), nn.Conv2d(1, 1, 3, 2, 0)
            )

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.layers(image)

    export_graph(Net(), torch.rand(2, 1, 64, 64), tmp_path / "n.onnx", "image", ["cam"])
    geometry = map_geometry(tmp_path / "n.onnx")
    assert (geometry.first, geometry.step) == (0.0, 8.0)
    with pytest.raises(ValueError, match="no way"):
        map_geometry(tmp_path / "n.onnx", target="absent")


def test_patches_side_by_side_are_centred_in_their_middle(tmp_path: Path) -> None:
    onnx.save(classifier_network(), tmp_path / "n.onnx")
    assert map_geometry(tmp_path / "n.onnx") == MapGeometry(first=3.5, step=8.0)
