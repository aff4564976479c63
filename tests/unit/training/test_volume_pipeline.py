"""The volume segmenter from data to a verified bundle through the command line, in miniature."""

from __future__ import annotations

import dataclasses
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import onnx
import pytest
import torch
from typer.testing import CliRunner

from core.contracts.manifest import VolumePreprocessing
from core.runtime.bundle import load_bundle
from training import cli
from training.bundle.card import render_card
from training.bundle.onnx_files import OnnxModel
from training.bundle.quantize import all_float
from training.config import ISOTROPIC_VOLUMES, Phase, ScheduleConfig, VolumeSegmenterConfig
from training.data.published import detect
from training.data.scans import BRATS, BRATS_2018, LGG, REGIONS, scans
from training.evaluation.predictions import MaskPredictions, predictions_path
from training.loop.trainer import CHECKPOINT
from training.networks.slices_in_volume import SlicesInVolume
from training.networks.unet import ResidualAttentionUNet3d
from training.recipe import BASES
from training.records import INT8_FILE, REFERENCE_FILE, Evaluate, Export
from training.volumes.evaluate import FLAIR_ALONE, by_region
from training.volumes.export import served_graph, write_graph
from training.volumes.inputs import preprocessing_of
from training.volumes.task import VolumeSegmenterTask

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
    pytest.mark.timeout(300),
]

TINY = ScheduleConfig(phases=(Phase(16, 8, 2),), epoch_images=4)


def falx(*arguments: str | Path) -> str:
    """Run ``python -m training`` in this process; what it printed."""
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    return result.output


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """As ``shrink``, for every test."""
    shrink(monkeypatch)


def shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped configuration, two channels wide, on coarse voxels, with a schedule of eight patches."""
    torch.set_num_threads(1)
    shipped = VolumeSegmenterConfig()
    smaller = dataclasses.replace(shipped, width=2, spacing_mm=(4.0, 4.0, 8.0), in_plane=(32, 32), schedule=TINY)
    monkeypatch.setitem(BASES, "volume-segmenter", smaller)


def write_case(folder: Path, stem: str, seed: int) -> None:
    """A head of 4 mm voxels with a tumour of three shells, labelled as BraTS 2021 does."""
    generator = np.random.default_rng(seed)
    shape = (36, 40, 30)
    places = np.indices(shape) / np.array(shape).reshape(3, 1, 1, 1)
    centre = generator.uniform(0.4, 0.6, (3, 1, 1, 1))
    head = ((places - 0.5) ** 2).sum(axis=0) < 0.2
    distance = ((places - centre) ** 2).sum(axis=0)
    labels = np.select([distance < 0.004, distance < 0.01, distance < 0.03], [4, 1, 2], 0).astype(np.uint8)
    folder.mkdir(parents=True)
    affine = np.diag([-4.0, -4.0, 4.0, 1.0])
    for name in ("t1", "t1ce", "t2", "flair"):
        grey = np.where(head, 400 + 200 * (labels > 0) + generator.normal(0, 20, shape), 0).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(grey, affine), folder / f"{stem}{name}.nii.gz")
    nibabel.save(nibabel.Nifti1Image(labels, affine), folder / f"{stem}seg.nii.gz")


def write_2018(data: Path) -> None:
    """Three cases of BraTS 2018, one a split, and the table that says so."""
    splits = {"CBICA_A": "train", "CBICA_B": "val", "TCIA01_1": "test"}
    for seed, name in enumerate(splits):
        write_case(data / "brats2018" / name, "", 7 + seed)
    rows = "".join(f"{name},{split},HGG\n" for name, split in splits.items())
    (data / "brats2018" / "cases.csv").write_text(f"case,split,grade\n{rows}")


@pytest.fixture(scope="module")
def volumes(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miniature LGG slices, and three BraTS cases, one of which is held out."""
    folder = tmp_path_factory.mktemp("volumes")
    for name in ("lgg.csv", "lgg.tar"):
        shutil.copy(data / name, folder / name)
    write_case(folder / "brats/BraTS2021_00001", "", 1)
    write_case(folder / "brats/BraTS2021_00002", "BraTS2021_00002_", 2)
    write_case(folder / "brats/BraTS2021_01485", "", 3)
    return folder


def history(run: Path) -> list[dict[str, Any]]:
    """Figures of a run's epochs."""
    found: list[dict[str, Any]] = torch.load(run / CHECKPOINT, weights_only=False)["state"]["history"]
    return found


def test_no_case_is_trained_on_and_held_out(volumes: Path) -> None:
    found = {
        split: [(scan.data_set, scan.name) for scan in scans(volumes, split)] for split in ("train", "val", "test")
    }
    brats = {split: [name for data_set, name in names if data_set == BRATS] for split, names in found.items()}
    assert brats == {"train": ["BraTS2021_00001", "BraTS2021_00002"], "val": [], "test": ["BraTS2021_01485"]}
    patients = {split: {name for data_set, name in names if data_set == LGG} for split, names in found.items()}
    assert {split: len(names) for split, names in patients.items()} == {"train": 3, "val": 2, "test": 2}
    # The slices of a patient lie in the order of their numbers: only slice 2, the lowest, has no tumour.
    regions = scans(volumes, "val")[0].read().regions
    assert regions.shape == (1, 96, 96, 3)
    assert regions[0].any(axis=(0, 1)).tolist() == [False, True, True]


def test_cases_of_brats_2018_are_where_their_table_has_them(volumes: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(volumes, data)
    write_2018(data)
    found = {
        split: [scan.name for scan in scans(data, split) if scan.data_set == BRATS_2018]
        for split in ("train", "val", "test")
    }
    assert found == {"train": ["CBICA_A"], "val": ["CBICA_B"], "test": ["TCIA01_1"]}
    *_, slices = detect(data)
    assert {(sample.patient, sample.split) for sample in slices.samples} == {
        ("CBICA_A", "train"), ("CBICA_B", "val"), ("TCIA01_1", "test"),
    }  # fmt: skip


def test_of_brats_2018_site_weak_labels_and_patients_are_known(volumes: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(volumes, data)
    write_2018(data)
    (data / "brats2018" / "TCIA01_1").rename(data / "brats2018" / "TCIA13_623")
    table = "case,split,site,weak_enhancing_label\nCBICA_A,train,CBICA,0\nCBICA_B,train,CBICA,0\n"
    (data / "brats2018" / "cases.csv").write_text(f"{table}TCIA13_623,train,TCIA,1\n")
    found = {scan.name: scan for scan in scans(data, "train") if scan.data_set == BRATS_2018}
    assert {name: scan.site for name, scan in found.items()} == {
        "CBICA_A": "CBICA",
        "CBICA_B": "CBICA",
        "TCIA13_623": "TCIA",
    }
    assert [scan.teaches for scan in found.values()] == [(1, 1, 1), (1, 1, 1), (1, 1, 0.25)]
    # The patient is in TCGA-LGG as well.
    assert found["TCIA13_623"].patient == "TCGA_HT_7473_19970826"
    assert found["CBICA_A"].patient == "CBICA_A"
    (data / "brats2018" / "cases.csv").write_text("case,split\nCBICA_A,train\n")
    with pytest.raises(ValueError, match="does not name"):
        scans(data, "train")


@pytest.fixture(scope="module")
def trained(volumes: Path, workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """A run that went the whole way, and the folder of its bundle."""
    folder = tmp_path_factory.mktemp("trained")
    run = folder / "run"
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(workspace)
        shrink(patched)
        command = ("train", "volume-segmenter", "--data", volumes, "--run", run, "--train-slices")
        assert "100.0%" in falx(*command)
        first = history(run)
        # A finished run has nothing left to do.
        falx(*command)
        assert history(run) == first
        assert "parity with torch" in falx("export", "--data", volumes, "--run", run)
        falx("quantize", "--data", volumes, "--run", run)
        falx("evaluate", "--data", volumes, "--run", run, "--split", "test")
        (bundle,) = (Path(line) for line in falx("bundle", "--run", run, "--out", folder / "models").split())
        yield run, bundle


def test_a_run_is_scored_scan_by_scan(trained: tuple[Path, Path]) -> None:
    run, _ = trained
    assert [epoch["images"] for epoch in history(run)] == [4, 8]
    assert {"loss", "dice", "dice_flair"} <= set(history(run)[-1])
    export, evaluated = Export.read(run), Evaluate.read(run)
    assert export.parity <= 1e-4
    assert export.labels == REGIONS
    assert export.thresholds is not None
    assert export.thresholds[1:] == (0.5, 0.5)
    whole = "volumetric Dice a patient, mean (whole tumor, {})"
    counts = {(metric.data_set, metric.name): metric.count for metric in evaluated.reference}
    assert counts[LGG, whole.format("t1+t1ce+flair")] == 2
    assert counts[LGG, whole.format("flair alone")] == 2
    assert counts[BRATS, whole.format("t1+t1ce+t2+flair")] == 1
    assert counts[BRATS, "volumetric Dice a patient, mean (enhancing tumor, t1+t1ce+t2+flair)"] == 1
    assert (BRATS, "Hausdorff 95 in mm, mean (tumor core, t1+t1ce+t2+flair)") in counts
    assert not any("Hausdorff" in name for data_set, name in counts if data_set == LGG)
    rows = MaskPredictions.load(predictions_path(run, "test"))
    stacks = rows.only(rows.data_sets == LGG)
    assert set(stacks.pixels.tolist()) == {96 * 96 * 3}


def test_its_bundle_says_what_the_run_measured(trained: tuple[Path, Path]) -> None:
    run, folder = trained
    export, evaluated = Export.read(run), Evaluate.read(run)
    manifest = load_bundle(folder).manifest
    assert (folder.parent.name, folder.name) == ("tumor-volume", "1")
    assert [file.variant for file in manifest.files] == ["reference", "int8"]
    assert "dice_change" in manifest.files[1].agreement
    assert isinstance(manifest.preprocessing, VolumePreprocessing)
    assert (manifest.preprocessing.window, manifest.preprocessing.spacing_mm) == ((32, 32, 16), (4.0, 4.0, 8.0))
    assert (manifest.labels, manifest.thresholds) == (REGIONS, export.thresholds)
    assert manifest.smallest_component_ml == export.smallest_component_ml
    assert manifest.metrics == evaluated.reference
    assert manifest.validated_dice == export.validated_dice
    card = (folder / "CARD.md").read_text()
    assert "Research use only. Not a medical device." in card
    assert all(metric.name in card for metric in evaluated.reference)


def test_regions_are_validated_over_every_view_of_the_scans_that_know_them(
    trained: tuple[Path, Path], volumes: Path, tmp_path: Path
) -> None:
    run, folder = trained
    falx("evaluate", "--data", volumes, "--run", run, "--split", "val", "--out", tmp_path / "val")
    scored = {metric.name: metric.value for metric in Evaluate.read(tmp_path / "val").reference}
    # Every sequence, and FLAIR alone; a report has more subsets.
    views = [
        scored[f"volumetric Dice a patient, mean (whole tumor, {view})"] for view in ("t1+t1ce+flair", FLAIR_ALONE)
    ]
    # No scan of validation knows an inner region.
    (whole,) = Export.read(run).validated_dice.values()
    assert whole.value == pytest.approx(np.mean(views))
    assert (whole.data_set, whole.split, whole.count, whole.count_unit) == (LGG, "val", 2, "patients")
    bundle, data = tmp_path / "tumor-volume" / "1", tmp_path / "data"
    shutil.copytree(folder, bundle)
    shutil.copytree(volumes, data)
    write_2018(data)
    said = falx("validate", bundle, "--data", data)
    found = load_bundle(bundle).manifest.validated_dice
    counts = {region: (metric.count, metric.data_set) for region, metric in found.items()}
    inner = dict.fromkeys(("tumor_core", "necrotic_core", "oedema", "enhancing"), (1, BRATS_2018))
    assert counts == {"whole_tumor": (3, f"{LGG} and {BRATS_2018}")} | inner
    assert f"whole_tumor: {found['whole_tumor'].value:.3f} (3 patients" in said
    assert (bundle / "CARD.md").read_text() == render_card(bundle)
    assert "necrotic core 0." in (bundle / "CARD.md").read_text()


def test_regions_lie_in_and_between_those_that_are_drawn() -> None:
    nested = np.zeros((3, 4, 1, 1), np.bool_)
    nested[0, :3], nested[1, 1:3], nested[2, 2] = True, True, True
    found = {region: mask.ravel().nonzero()[0].tolist() for region, mask in by_region(nested).items()}
    assert found == {
        "whole_tumor": [0, 1, 2], "tumor_core": [1, 2], "enhancing": [2], "necrotic_core": [1], "oedema": [0],
    }  # fmt: skip
    assert list(by_region(nested[:1])) == ["whole_tumor"]


def test_its_graphs_take_columns_of_any_length(trained: tuple[Path, Path]) -> None:
    _, folder = trained
    preprocessing = load_bundle(folder).manifest.preprocessing
    assert isinstance(preprocessing, VolumePreprocessing)
    assert preprocessing.columns
    # A column of more windows than that which the graphs were exported with.
    column = np.random.default_rng(0).random((1, 4, 32, 32, 32), np.float32)
    for name in (REFERENCE_FILE, INT8_FILE):
        probability = OnnxModel(folder / name).run(column)["probability"]
        assert probability.shape == (3, 3, 32, 32, 16)
        assert 0 <= float(probability.min()) <= float(probability.max()) <= 1
    assert int8_convolutions(folder / REFERENCE_FILE) == {}
    # More than the slice network's: which stay float depends on what agrees with the reference.
    ((rank, count),) = int8_convolutions(folder / INT8_FILE).items()
    assert rank == 4
    assert count > 19


def test_bundle_and_run_are_starts_and_score_alike(
    trained: tuple[Path, Path], volumes: Path, in_workspace: Path, tmp_path: Path
) -> None:
    run, folder = trained
    for start in (folder, run):
        again = tmp_path / f"from-{start.name}"
        falx("train", "volume-segmenter", "--data", volumes, "--run", again, "--start-from", start, "--scale", "0.25")
        assert [epoch["images"] for epoch in history(again)] == [2]
    falx("evaluate", "--data", volumes, "--run", folder, "--split", "test", "--out", tmp_path / "out")
    assert Evaluate.read(tmp_path / "out").reference == Evaluate.read(run).reference


def test_an_interrupted_training_goes_on(
    volumes: Path, in_workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("train", "volume-segmenter", "--data", volumes, "--run")
    falx(*command, tmp_path / "whole")
    validate = VolumeSegmenterTask.validate
    calls: list[int] = []

    def stop_in_the_second_epoch(task: Any, model: Any, size: int) -> dict[str, float]:
        calls.append(size)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return validate(task, model, size)

    with monkeypatch.context() as patched:
        patched.setattr(VolumeSegmenterTask, "validate", stop_in_the_second_epoch)
        CliRunner().invoke(cli.app, [str(argument) for argument in (*command, tmp_path / "cut")])
    assert len(history(tmp_path / "cut")) == 1
    falx(*command, tmp_path / "cut")
    weights = [torch.load(tmp_path / name / CHECKPOINT, weights_only=False)["average"] for name in ("whole", "cut")]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, msg=name)


def int8_convolutions(path: Path) -> dict[int, int]:
    """How many convolutions have quantised weights, by the rank of what they give."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in (*graph.value_info, *graph.output)}
    made_by = {output: node.op_type for node in graph.node for output in node.output}
    found = [n for n in graph.node if n.op_type == "Conv" and made_by.get(n.input[1]) == "DequantizeLinear"]
    return dict(Counter(ranks[node.output[0]] for node in found))


def test_a_network_that_convolves_volumes_alone_gets_no_int8(tmp_path: Path) -> None:
    shipped = VolumeSegmenterConfig()
    alone = dataclasses.replace(ISOTROPIC_VOLUMES, in_plane=(32, 32), schedule=TINY)
    sliced = dataclasses.replace(shipped, in_plane=(32, 32), schedule=TINY)
    for config, network, expected in (
        (alone, ResidualAttentionUNet3d(4, 3, 2), False),
        (sliced, SlicesInVolume(4, 3, 2), True),
    ):
        preprocessing = preprocessing_of(dataclasses.asdict(config))
        path = tmp_path / f"{config.architecture}.onnx"
        write_graph(served_graph(network, preprocessing), preprocessing, path)
        assert all_float(onnx.load(path)) is not expected
