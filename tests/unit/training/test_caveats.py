"""A bundle says of itself which of its regions are not to be relied on."""

from __future__ import annotations

from core.contracts.manifest import Metric
from training.bundle.bundle import caveats
from training.records import Evaluate, Export

LABELS = ("whole_tumor", "tumor_core")


def export(kind: str = "volume-segmenter") -> Export:
    return Export.model_validate(
        {
            "kind": kind,
            "architecture": "any",
            "size": 16,
            "labels": LABELS,
            "parity": 0.0,
            "rounding": 0.0,
            "images_seen": 1,
            "sizes": {},
        }
    )


def scored(*figures: tuple[str, str, float]) -> Evaluate:
    """Figures (region, data set, mean Dice)."""
    reference = tuple(
        Metric(
            name=f"volumetric Dice a patient, mean ({region}, flair alone)",
            value=value,
            data_set=data_set,
            split="test",
            count=2,
            count_unit="patients",
        )
        for region, data_set, value in figures
    )
    return Evaluate(split="test", reference=reference)


def test_a_region_that_failed_on_any_data_set_is_named_with_its_worst_figure() -> None:
    evaluated = scored(("whole tumor", "A", 0.7), ("tumor core", "A", 0.6), ("tumor core", "B", 0.32))
    assert caveats(export(), evaluated) == (
        "Do not rely on the region tumor core: on 2 held-out patients of B this model reached a mean Dice of 0.32.",
    )


def test_good_regions_and_what_was_not_scored_carry_none() -> None:
    assert caveats(export(), scored(("whole tumor", "A", 0.7), ("tumor core", "A", 0.5))) == ()
    assert caveats(export(), None) == ()


def test_slices_have_no_regions() -> None:
    assert caveats(export("segmenter"), scored(("tumor core", "A", 0.1))) == ()
