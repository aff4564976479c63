"""The report on miniature data: its figures, what they show, and what its page says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from matplotlib.figure import Figure
from PIL import Image
from typer.testing import CliRunner

from core.contracts.manifest import Manifest, Metric
from tests.fixtures.models import LABELS, write_models
from tests.support.layouts import write_brats
from training.commands.report import report_command
from training.config import Augmentation
from training.evaluation.masks import dice
from training.evaluation.predictions import ClassPredictions
from training.evaluation.rates import area_under_roc
from training.records import Evaluate
from training.report.answers import plot_confusion, plot_reliability, plot_roc
from training.report.assemble import draw_patients
from training.report.chart import BEGIN, END, Row, accuracy_rows, dice_rows, fill, plot_rows, table_5_3
from training.report.distribution import class_counts, draw_distribution, outlined_counts
from training.report.examples import answered, patient_slices, patient_volume
from training.report.phantom import SHAPE, phantom
from training.report.pictures import augmented, largest_cut, planes_through
from training.report.scored import Scored, score_bundles

# Largest figure that a repository should have to carry.
LARGEST_BYTES = 150_000


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def predictions(truth: Sequence[int], answers: Sequence[int], sure: float = 0.7) -> ClassPredictions:
    """Answers of three classes, each with the probability ``sure``."""
    count = len(truth)
    probabilities = np.full((count, 3), (1 - sure) / 2)
    probabilities[np.arange(count), list(answers)] = sure
    text = np.array([f"{index}" for index in range(count)])
    return ClassPredictions(probabilities, np.array(truth, np.int64), text, text, text, np.array(["a", "b", "c_d"]))


def metric(name: str, value: float, **changes: object) -> Metric:
    stated = {
        "name": name,
        "value": value,
        "data_set": "somewhere",
        "split": "test",
        "count": 40,
        "interval": (0.5, 0.9),
    }
    return Metric.model_validate(stated | changes)


def scored(manifest: dict[str, object], *metrics: Metric, int8: tuple[Metric, ...] = ()) -> Scored:
    """A bundle with these figures and no answers."""
    file = {"name": "model.onnx", "sha256": "0" * 64, "variant": "reference", "size_bytes": 1}
    usual = {"version": "1", "title": "x", "files": [file], "licence": "x", "architecture": "resnet50"}
    read = Manifest.model_validate(usual | manifest)
    return Scored(read, Path(), Evaluate(split="test", reference=metrics, int8=int8), Path())


CLASSIFIER: dict[str, object] = {
    "name": "tumor-classifier",
    "task": "classification",
    "preprocessing": {"kind": "classification", "size": 64},
    "labels": LABELS,
}
SEGMENTER: dict[str, object] = {
    "name": "tumor-segmenter",
    "task": "segmentation",
    "architecture": "unet",
    "preprocessing": {"kind": "segmentation", "size": 64},
    "labels": ("tumor",),
}


def texts(axes: object) -> list[str]:
    return [text.get_text() for text in axes.texts]  # type: ignore[attr-defined]


def test_the_confusion_matrix_shows_the_counts() -> None:
    axes = Figure().subplots()
    plot_confusion(axes, predictions(truth=[0, 0, 0, 0, 1, 1, 2], answers=[0, 0, 0, 2, 1, 0, 2]))
    rows = ["3\n75%", "0", "1\n25%", "1\n50%", "1\n50%", "0", "0", "0", "1\n100%"]
    assert texts(axes) == rows
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c d"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("answer", "truth")


def roc_line(scores: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """False-positive and true-positive rates (2, m) that are drawn of the first class."""
    item = predictions(truth=np.where(positive, 0, 1).tolist(), answers=[0] * len(scores))
    probabilities = np.stack([scores, 1 - scores, np.zeros(len(scores))], axis=1)
    axes = Figure().subplots()
    plot_roc(axes, replace(item, probabilities=probabilities))
    return np.array(axes.lines[0].get_data())


def test_the_roc_curve_by_hand() -> None:
    """Scores 0.9+ 0.8- 0.7+ 0.7- 0.1-: one threshold for the tie."""
    scores, positive = np.array([0.7, 0.9, 0.1, 0.8, 0.7]), np.array([True, True, False, False, False])
    alarms, hits = roc_line(scores, positive)
    np.testing.assert_allclose(alarms, [0, 0, 1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(hits, [0, 0.5, 0.5, 1, 1])
    generator = np.random.default_rng(1)
    scores, positive = generator.integers(0, 9, 80) / 9, generator.random(80) < 0.4
    alarms, hits = roc_line(scores, positive)
    assert np.trapezoid(hits, alarms) == pytest.approx(area_under_roc(scores, positive))


def test_classes_that_the_split_lacks_have_no_roc_curve() -> None:
    axes = Figure().subplots()
    plot_roc(axes, predictions(truth=[0, 0, 1, 1], answers=[0, 0, 1, 0]))
    curves = [line.get_label() for line in axes.lines if not str(line.get_label()).startswith("_")]
    assert curves == ["a, area 0.750", "b, area 0.750"]


def test_the_reliability_diagram() -> None:
    """Four answers at 0.7, three of them right."""
    axes, below = Figure().subplots(2, 1)
    plot_reliability(axes, below, predictions(truth=[0, 1, 2, 0], answers=[0, 1, 2, 1]))
    (bar,) = axes.patches
    assert bar.get_height() == 0.75
    assert bar.get_x() < 0.7 < bar.get_x() + bar.get_width()
    assert axes.get_title() == "ECE 0.050, 15 bins"
    assert sum(patch.get_height() for patch in below.patches) == 4


def test_classes_are_counted_by_split_and_source(data: Path, tmp_path: Path) -> None:
    counts = class_counts(data)
    assert counts["train"] == {
        ("glioma", "figshare"): 6,
        ("meningioma", "figshare"): 6,
        ("pituitary", "figshare"): 6,
        # The listed CT head is one of seven and is left out here, but not in val.
        ("no_tumor", "sartaj"): 6,
    }
    assert counts["val"]["no_tumor", "sartaj"] == 5
    assert outlined_counts(data)["test"] == {("test", "with tumour"): 4, ("test", "without"): 2}
    section = draw_distribution(tmp_path / "classes.png", data)
    assert list(section.images) == ["classes.png"]
    assert f"{counts['val'].total()} in `val`" in section.text
    assert distinct_greys(tmp_path / "classes.png") > 10


def test_the_phantom_is_a_head_with_a_tumour_of_three_regions() -> None:
    volume = phantom()
    assert {name: grey.shape for name, grey in volume.sequences.items()} == dict.fromkeys(
        ("t1", "t1ce", "t2", "flair"), SHAPE
    )
    assert np.unique(volume.regions).tolist() == [0, 1, 2, 3]
    for grey in volume.sequences.values():
        assert grey.dtype == np.float32
        assert 0 <= grey.min() < grey.max() <= 1
    oedema, enhancing = volume.regions == 2, volume.regions == 3
    assert volume.sequences["flair"][oedema].mean() > volume.sequences["t1"][oedema].mean() + 0.3
    assert volume.sequences["t1ce"][enhancing].mean() > volume.sequences["t1"][enhancing].mean() + 0.3
    np.testing.assert_array_equal(volume.sequences["flair"], phantom().sequences["flair"])


def test_planes_stand_as_in_radiology() -> None:
    """Of a voxel towards the left, the face and the vertex, in 8 x 10 x 6 voxels along left, back, head."""
    voxels = np.zeros((8, 10, 6))
    voxels[6, 1, 5] = 1
    planes = planes_through(voxels, (6, 1, 5))
    places = {name: tuple(int(axis[0]) for axis in np.nonzero(cut)) for name, cut in planes.items()}
    assert places == {"axial": (1, 6), "coronal": (0, 6), "sagittal": (0, 1)}
    assert {name: cut.shape for name, cut in planes.items()} == {
        "axial": (10, 8),
        "coronal": (6, 8),
        "sagittal": (6, 10),
    }


def test_the_cut_goes_through_most_of_the_tumour() -> None:
    volume = phantom()
    x, y, z = largest_cut(volume)
    tumour = volume.regions > 0
    assert tumour[:, :, z].sum() == tumour.sum(axis=(0, 1)).max()
    assert tumour[x].sum() == tumour.sum(axis=(1, 2)).max()
    assert tumour[:, y].sum() == tumour.sum(axis=(0, 2)).max()


def test_augmented_slices_differ_and_come_again() -> None:
    image = np.pad(np.linspace(0.2, 0.9, 400, dtype=np.float32).reshape(20, 20), 6)
    state = torch.random.get_rng_state()
    changed = augmented(image, Augmentation(), 3)
    assert changed.shape == (3, 32, 32)
    assert not np.array_equal(changed[0], changed[1])
    np.testing.assert_array_equal(changed, augmented(image, Augmentation(), 3))
    assert torch.equal(state, torch.random.get_rng_state())


def test_table_5_3_sets_ours_beside_the_same_network() -> None:
    balanced = metric("balanced_accuracy", 0.75, interval=None)
    table = table_5_3([scored(CLASSIFIER, metric("accuracy", 0.7), balanced), scored(SEGMENTER)])
    lines = table.splitlines()
    assert len(lines) == 6
    (ours,) = (line for line in lines if "tumor-classifier/1" in line)
    assert ours == (
        "| ResNet50V2 | 0.935 | tumor-classifier/1 (resnet50), 4 classes | 0.700 (0.500 to 0.900) | 0.750 | "
        "`test`, somewhere | 40 slices |"
    )
    assert "| DenseNet121 | 0.938 | none shipped |" in table
    assert len({line.count("|") for line in lines}) == 1


def test_classifiers_of_other_networks_stand_below_the_table() -> None:
    item = scored(CLASSIFIER, metric("accuracy", 0.7))
    other = replace(item, manifest=item.manifest.model_copy(update={"architecture": "efficientnet-lite0"}))
    *_, last = table_5_3([other, scored(SEGMENTER)]).splitlines()
    assert last.startswith("| none of the above |  | tumor-classifier/1 (efficientnet-lite0), 4 classes | 0.700 ")


def test_the_table_replaces_what_stood_between_its_marks() -> None:
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    once = fill(text, "| new |")
    assert once == f"before\n{BEGIN}\n\n| new |\n\n{END}\nafter\n"
    assert fill(once, "| new |") == once
    with pytest.raises(ValueError, match=re.escape("no place for table 5.3")):
        fill("nothing", "| new |")


def test_the_comparison_has_one_kind_of_dice_a_data_set() -> None:
    lgg = {"data_set": "TCGA-LGG"}
    item = scored(
        SEGMENTER,
        metric("volumetric Dice a patient, mean (flair alone)", 0.8, count_unit="patients", **lgg),
        metric("volumetric Dice a patient, median (flair alone)", 0.85, count_unit="patients", **lgg),
        metric("Dice on tumour slices (flair alone)", 0.7, **lgg),
        metric("Dice on tumour slices (t1ce)", 0.6, data_set="Figshare"),
    )
    ours = [(row.name, row.value) for row in dice_rows([item], None) if row.kind == "bundle"]
    assert ours == [
        ("segmenter: TCGA-LGG, flair alone, a patient", 0.8),
        ("segmenter: Figshare, t1ce, a tumour slice", 0.6),
    ]
    both = scored(CLASSIFIER, metric("accuracy", 0.7), int8=(metric("accuracy", 0.69),))
    rows = accuracy_rows([both, item], None)
    assert [(row.name, row.value) for row in rows if row.kind == "bundle"] == [
        ("tumor-classifier/1, reference", 0.7),
        ("tumor-classifier/1, int8", 0.69),
    ]
    # The paper states none.
    assert all(row.interval is None for row in rows if row.kind == "paper")


def test_the_chart_marks_value_and_interval() -> None:
    axes = Figure().subplots()
    plot_rows(axes, [Row("theirs", 0.9, None, "paper"), Row("ours", 0.8, (0.7, 0.85), "bundle")])
    assert texts(axes) == ["0.900", "0.800"]
    drawn = [
        (list(map(float, np.atleast_1d(line.get_xdata()))), int(np.atleast_1d(line.get_ydata())[0]))
        for line in axes.lines
    ]
    assert drawn == [([0.9], 0), ([0.7, 0.85], 1), ([0.8], 1)]


def distinct_greys(path: Path) -> int:
    with Image.open(path) as image:
        return len(np.unique(np.asarray(image.convert("L"))))


def write_history(run: Path) -> Path:
    """A run folder with a checkpoint's history and nothing else of it."""
    run.mkdir()
    history = [{"images": 100.0 * k, "size": 64, "speed": 9.0, "loss": 1 / k, "accuracy": 0.3 * k} for k in (1, 2, 3)]
    torch.save({"state": {"history": history}}, run / "last.pt")
    return run


@pytest.mark.usefixtures("in_workspace")
def test_the_command_writes_every_figure_and_its_page(data: Path, tmp_path: Path) -> None:
    models = write_models(tmp_path / "models")
    paper = tmp_path / "paper.md"
    paper.write_text(f"ours\n{BEGIN}\n{END}\n")
    app = typer.Typer()
    app.command()(report_command)
    out = tmp_path / "report"
    arguments = [
        "--data",
        data,
        "--models",
        models,
        "--out",
        out,
        "--runs",
        write_history(tmp_path / "run"),
        "--paper",
        paper,
    ]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    text = (out / "README.md").read_text()
    linked = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)
    assert len(linked) == len(set(linked)) == 10
    assert sorted(linked) == sorted(path.name for path in out.glob("*.png"))
    for name in linked:
        with Image.open(out / name) as image:
            assert min(image.size) > 150
        assert (out / name).stat().st_size < LARGEST_BYTES, name
        assert distinct_greys(out / name) > 10, name
    answers = score_bundles(models, data, "test")[0].classes()
    right = int(np.sum(answers.predicted == answers.labels))
    assert f"12 slices: accuracy {right / 12:.3f} (" in text
    assert "a run that is no shipped bundle by itself; at the end accuracy 0.900" in text
    assert max(len(line) for line in text.splitlines() if not line.startswith(("|", "!"))) <= 120
    assert "none shipped" in paper.read_text()
    before = {name: (out / name).read_bytes() for name in linked}
    again = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert again.exit_code == 0
    assert {name: (out / name).read_bytes() for name in linked} == before


def test_patients_do_not_belong_into_the_report(data: Path, tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(report_command)
    arguments = [
        "--data",
        data,
        "--models",
        tmp_path,
        "--out",
        tmp_path / "out",
        "--with-images",
        tmp_path / "out" / "p",
    ]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("in_workspace")
def test_pictures_of_patients_show_bad_usual_and_good_answers(data: Path, tmp_path: Path) -> None:
    """And the first case that has every region, whatever lies before it."""
    own = tmp_path / "data"
    own.mkdir()
    for path in data.iterdir():
        (own / path.name).symlink_to(path)
    names = {name: name for name in ("t1", "t1ce", "t2", "flair", "seg")}
    write_brats(own / "brats" / "a", names, (1, 2))
    with pytest.raises(FileNotFoundError, match="all three regions"):
        patient_volume(own)
    write_brats(own / "brats" / "b", names, (1, 2, 4), seed=1)
    assert set(np.unique(patient_volume(own).regions)) == {0, 1, 2, 3}
    models = write_models(tmp_path / "models")
    segmenter = score_bundles(models, own, "test")[1]
    shown = answered(segmenter, patient_slices(segmenter, own, "test"))
    measured = [dice(item.predicted, item.true) for item in shown]
    assert measured == sorted(measured)
    assert [item.title for item in shown] == [f"Dice {value:.2f}" for value in measured]
    draw_patients(own, models, tmp_path / "pictures", "test")
    pictures = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert pictures == {"sequences.png", "planes.png", "augmented.png", "tumor-segmenter-1-masks.png"}


@pytest.mark.usefixtures("in_workspace")
def test_answers_come_from_the_run_that_stated_them(data: Path, tmp_path: Path) -> None:
    """A bundle whose figures a run states is not scored again; one whose figures differ is."""
    models = write_models(tmp_path / "models")
    folder = models / "tumor-classifier" / "1"
    run = tmp_path / "run"
    run.mkdir()
    (run / "model.onnx").write_bytes((folder / "model.onnx").read_bytes())
    stated = Manifest.model_validate_json((folder / "manifest.json").read_text())
    Evaluate(split="test", reference=stated.metrics).write(run)
    cached = score_bundles(models, data, "test", [run])[0]
    assert cached.answers != run
    (run / "predictions-test.npz").write_bytes((cached.answers / "predictions-test.npz").read_bytes())
    assert score_bundles(models, data, "test", [run])[0].answers == run
    Evaluate(split="test", reference=()).write(run)
    assert score_bundles(models, data, "test", [run])[0].answers == cached.answers
