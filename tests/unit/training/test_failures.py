"""Which answers a card shows as its worst."""

from __future__ import annotations

import numpy as np

from training.classification.evaluate import CLASS_FAILURES, class_failures
from training.evaluation.mask_figures import FIGSHARE, HEALTHY, LGG, MASK_FAILURES, mask_failures
from training.evaluation.predictions import ClassPredictions, MaskPredictions


def classes(certainties: list[float], labels: list[int], groups: list[str]) -> ClassPredictions:
    """Answers that are all "a", as certain as told."""
    first = np.array(certainties)
    return ClassPredictions(
        probabilities=np.stack([first, 1 - first], axis=1),
        labels=np.array(labels),
        groups=np.array(groups),
        sources=np.full(len(labels), "here"),
        images=np.array([f"slice{index}" for index in range(len(labels))]),
        names=np.array(["a", "b"]),
    )


def test_the_most_certain_errors_come_first_one_a_group() -> None:
    found = class_failures(classes([0.9, 0.99, 0.7, 0.8, 0.95], [1, 0, 1, 1, 1], ["g", "g", "h", "h", "g"]))
    assert [(item.name, item.truth, item.answer) for item in found] == [
        ("slice4", "b", "a, 0.95"),
        ("slice3", "b", "a, 0.80"),
    ]


def test_a_card_has_only_so_many_and_none_where_all_is_right() -> None:
    many = classes([0.9] * 20, [1] * 20, [str(index) for index in range(20)])
    assert len(class_failures(many)) == CLASS_FAILURES
    assert class_failures(classes([0.9], [0], ["g"])) == ()


def masks(rows: list[tuple[str, str, str, str, int, int, int]]) -> MaskPredictions:
    """Of (view, data set, image, patient, predicted, true, overlap)."""
    views, data_sets, images, patients, *counts = (np.array(column) for column in zip(*rows, strict=True))
    predicted, true, overlap = counts
    return MaskPredictions(
        views=views,
        data_sets=data_sets,
        images=images,
        patients=patients,
        predicted=predicted,
        true=true,
        overlap=overlap,
        pixels=np.full(len(rows), 100),
        hausdorff=np.full(len(rows), np.nan),
    )


def test_of_each_data_set_the_least_dice_in_its_first_view() -> None:
    found = mask_failures(
        masks(
            [
                ("three", LGG, "l1", "p1", 10, 10, 8),
                ("three", LGG, "l2", "p1", 0, 10, 0),
                ("three", LGG, "l3", "p2", 10, 10, 9),
                ("flair", LGG, "l1", "p1", 0, 10, 0),
                ("t1ce", FIGSHARE, "f1", "q1", 10, 10, 5),
                ("t1ce", FIGSHARE, "f2", "q1", 10, 10, 1),
                ("t1ce", FIGSHARE, "f3", "q2", 10, 10, 10),
                ("grey", HEALTHY, "h1", "r1", 4, 0, 0),
                ("grey", HEALTHY, "h2", "r2", 0, 0, 0),
                ("grey", HEALTHY, "h3", "r3", 7, 0, 0),
            ]
        )
    )
    # Patients as a whole in TCGA-LGG, slices elsewhere; nothing that was right.
    assert [(item.name, item.truth, item.answer) for item in found] == [
        ("p1", "20 outlined", "10 outlined, Dice 0.53"),
        ("p2", "10 outlined", "10 outlined, Dice 0.90"),
        ("f2", "10 outlined", "10 outlined, Dice 0.10"),
        ("h3", "no tumour", "7 outlined"),
        ("h1", "no tumour", "4 outlined"),
    ]
    assert {item.data_set for item in found} == {f"{LGG} (three)", f"{FIGSHARE} (t1ce)", f"{HEALTHY} (grey)"}


def test_only_so_many_of_each_data_set() -> None:
    rows = [("three", LGG, f"l{index}", f"p{index}", 5, 10, index) for index in range(5)]
    found = mask_failures(masks(rows))
    assert [item.name for item in found] == ["p0", "p1", "p2"]
    assert len(found) == MASK_FAILURES
