"""What evaluation says of volume networks: rows, figures, and what is chosen of too little that enhances."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.data.scans import Scan
from training.evaluation.predictions import predictions_path
from training.volumes.evaluate import report_views
from training.volumes.export import Answer, choose_enhancing
from training.volumes.figures import HEALTHY, region_metrics
from training.volumes.predictions import VolumePredictions, VolumeRow, named

ALL = "t1+t1ce+t2+flair"
MM = (1.0, 1.0, 2.0)


def nothing() -> Any:
    """No scan of these tests is read."""
    raise AssertionError


def scan(name: str, site: str = "", data_set: str = "X") -> Scan:
    return Scan(name, name, data_set, {}, nothing, site)


def box(size: int, start: int = 2) -> np.ndarray:
    mask = np.zeros((20, 20, 20), np.bool_)
    mask[start : start + size, 2:12, 2:12] = True
    return mask


def rows() -> VolumePredictions:
    found = []
    for number, (site, predicted, true) in enumerate([("A", 8, 8), ("A", 4, 8), ("B", 8, 4)]):
        for shown, whole in ((ALL, box(predicted)), ("flair alone", box(true))):
            case = scan(f"case {number}", site)
            found.append(VolumeRow.of(case, "whole_tumor", shown, (whole, box(true)), MM))
            found.append(VolumeRow.of(case, "enhancing", shown, (box(2), box(2 if number else 0)), MM))
    for number, marked in enumerate((0, 1, 10)):
        half = scan(f"case {number}", data_set=HEALTHY)
        found.append(VolumeRow.of(half, "whole_tumor", ALL, (box(marked), box(0)), MM))
    return VolumePredictions.of(found)


def figures() -> dict[tuple[str, str], float]:
    return {(metric.data_set, metric.name): metric.value for metric in region_metrics(rows(), "val")}


def test_regions_are_named_as_channels_are() -> None:
    assert [named(region) for region in ("whole_tumor", "enhancing", "oedema")] == [
        "whole tumor", "enhancing tumor", "oedema",
    ]  # fmt: skip


def test_everything_is_measured_of_all_sequences() -> None:
    found, view = figures(), f"whole tumor, {ALL}"
    dice = [1, 2 / 3, 2 / 3]
    assert found["X", f"volumetric Dice a patient, mean ({view})"] == pytest.approx(np.mean(dice))
    assert found["X", f"volumetric Dice a patient, median ({view})"] == pytest.approx(2 / 3)
    assert found["X", f"lesion-wise Dice, mean ({view})"] == pytest.approx(np.mean(dice))
    # Slabs of 100 columns of 2 mm3: too small and too large by 0.8 ml each.
    assert found["X", f"volume error in ml, mean ({view})"] == pytest.approx(1.6 / 3)
    assert found["X", f"volume in ml too large, mean ({view})"] == pytest.approx(0)
    # One outline ends 4 mm beyond the other in two of three; 95 % of all distances are below that.
    assert 2 < found["X", f"Hausdorff 95 in mm, mean ({view})"] <= 8 / 3
    assert found["X, A", f"volumetric Dice a patient, mean ({view})"] == pytest.approx(5 / 6)
    assert found["X, B", f"volumetric Dice a patient, mean ({view})"] == pytest.approx(2 / 3)


def test_of_subsets_the_mean_dice_is_told() -> None:
    found = figures()
    # Absent in truth and found: 0.
    inner = "volumetric Dice a patient, mean (enhancing tumor, flair alone)"
    assert found["X", inner] == pytest.approx(2 / 3)
    assert [name for data_set, name in found if "flair alone" in name and "enhancing" in name] == [inner]
    assert found["X", "volumetric Dice a patient, median (whole tumor, flair alone)"] == 1
    # Where a region is absent there is no distance.
    assert found["X", f"Hausdorff 95 in mm, mean (enhancing tumor, {ALL})"] == 0


def test_of_heads_without_tumour_what_is_marked_is_told() -> None:
    found = {name: value for (data_set, name), value in figures().items() if data_set == HEALTHY}
    assert found == {
        f"marked in ml, mean (whole tumor, {ALL})": pytest.approx((0 + 0.2 + 2) / 3),
        f"at most 1 ml marked, share of heads (whole tumor, {ALL})": pytest.approx(2 / 3),
    }


def test_every_answer_is_a_line(tmp_path: Path) -> None:
    path = predictions_path(tmp_path, "val")
    rows().save(path)
    VolumePredictions.load(path).write_cases(tmp_path / "cases.csv")
    with (tmp_path / "cases.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert len(lines) == 15
    assert lines[4] == {
        "data_set": "X", "site": "A", "case": "case 1", "patient": "case 1", "region": "whole tumor", "shown": ALL,
        "dice": "0.6667", "hausdorff95_mm": lines[4]["hausdorff95_mm"], "lesion_wise_dice": "0.6667",
        "predicted_ml": "0.8000", "true_ml": "1.6000",
    }  # fmt: skip
    assert lines[1]["hausdorff95_mm"] == ""


def test_without_the_size_of_a_voxel_nothing_is_in_millimetres() -> None:
    row = VolumeRow.of(scan("stack"), "whole_tumor", ALL, (box(4), box(8)), None)
    assert (row.predicted, row.true, row.overlap) == (400, 800, 400)
    names = [metric.name for metric in region_metrics(VolumePredictions.of([row]), "val")]
    assert names
    assert all(name.startswith("volumetric") for name in names)


def test_subsets_are_those_that_a_scan_has() -> None:
    assert list(report_views(["t1", "t1ce", "t2", "flair"])) == [
        ALL, "flair alone", "t1+t1ce+flair", "t1ce+flair", "t1ce alone",
    ]  # fmt: skip
    assert list(report_views(["t1", "t1ce", "flair"])) == ["t1+t1ce+flair", "flair alone", "t1ce+flair", "t1ce alone"]
    assert report_views(["flair"]) == {"flair": ("flair",), "flair alone": ("flair",)}


def test_too_little_that_enhances_is_learnt_on_validation() -> None:
    """0.1 ml are noise in one scan, and 0.3 ml are right in another."""
    answers = []
    for voxels, right in ((100, 0), (300, 300)):
        true = np.zeros((3, 20, 20, 20), np.bool_)
        true[:2] = True
        found = true.copy()
        for mask, count in ((true, right), (found, voxels)):
            mask[2].ravel()[:count] = True
        answers.append(Answer(found.astype(np.float16), true, 0.001))
    scores = choose_enhancing(answers, (0.5, 0.5, 0.5), 0.0)
    assert scores == {0.0: 0.5, 0.05: 0.5, 0.1: 0.5, 0.2: 1.0, 0.5: 0.5, 1.0: 0.5}
    whole_alone = [Answer(answer.probabilities[:1], answer.true[:1], 0.001) for answer in answers]
    assert choose_enhancing(whole_alone, (0.5, 0.5, 0.5), 0.0) == {}
