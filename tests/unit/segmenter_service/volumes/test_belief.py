"""Which regions are believed, and what callers are told of the others."""

from __future__ import annotations

from typing import Final

import numpy as np
import pytest

from core.contracts.manifest import Manifest, Metric
from core.contracts.regions import REGIONS
from segmenter_service.volumes.belief import Belief, doubts_of
from tests.fixtures.servers import ROOT
from tests.fixtures.volume_models import validated

SURE: Final = dict.fromkeys(("whole_tumor", "tumor_core", "enhancing"), 0.9)
LABELS: Final = np.array([0, 1, 2, 3], np.uint8).reshape(4, 1, 1)


def figures(**dice: float) -> dict[str, Metric]:
    return {region: Metric.model_validate(validated(value)) for region, value in dice.items()}


def good(**others: float) -> dict[str, Metric]:
    return figures(**(dict.fromkeys(REGIONS, 0.8) | others))


def belief(validated_dice: dict[str, Metric], **certainty: float) -> Belief:
    return Belief.of(doubts_of(validated_dice, SURE | certainty), experimental=False)


def carried(found: Belief) -> list[int]:
    return found.carried(LABELS).ravel().tolist()


def test_regions_that_are_all_good_are_all_shown() -> None:
    found = belief(good())
    assert found == Belief({}, {})
    assert found.label_names == {1: "necrotic core", 2: "oedema", 3: "enhancing"}
    assert carried(found) == [0, 1, 2, 3]
    assert found.warnings == ()


@pytest.mark.parametrize(("dice", "withheld"), [(0.5, False), (0.4999, True)])
def test_a_region_below_one_half_on_validation_is_withheld(dice: float, withheld: bool) -> None:
    assert ("enhancing" in belief(good(enhancing=dice)).withheld) is withheld


def test_the_reason_is_the_figure_and_where_it_comes_from() -> None:
    found = belief(good(enhancing=0.31))
    assert found.withheld["enhancing"].startswith(
        "On 4 validation patients of phantoms this model reached a mean Dice of 0.31;"
    )


def test_what_lies_between_is_doubted_with_its_borders() -> None:
    found = belief(good(enhancing=0.31))
    assert list(found.withheld) == ["necrotic_core", "enhancing"]
    assert found.withheld["necrotic_core"] == "It lies between regions that cannot be relied on: enhancing."
    # Enhancing voxels, and the necrotic core that cannot be told from them, are of the core around both.
    assert carried(found) == [0, 1, 2, 1]
    assert found.label_names == {1: "tumour core", 2: "oedema"}


def test_all_but_the_whole_tumour() -> None:
    found = belief(good(tumor_core=0.46, necrotic_core=0.01, oedema=0.04, enhancing=0.36))
    assert set(found.withheld) == set(REGIONS) - {"whole_tumor"}
    assert carried(found) == [0, 2, 2, 2]
    assert found.label_names == {2: "whole tumour"}
    (warning,) = found.warnings
    assert "Withheld: tumour core, necrotic core, oedema, enhancing;" in warning
    assert warning.endswith("In the label map 2 is whole tumour.")


def test_a_small_region_may_be_believed_where_the_one_around_it_is_not() -> None:
    found = belief(good(tumor_core=0.3))
    assert set(found.withheld) == {"tumor_core", "necrotic_core", "oedema"}
    assert carried(found) == [0, 2, 2, 3]
    assert found.label_names == {2: "whole tumour", 3: "enhancing"}


def test_a_model_that_was_never_validated_shows_nothing() -> None:
    found = belief({})
    assert set(found.withheld) == set(REGIONS)
    assert found.withheld["whole_tumor"] == "How well this model finds it was not validated."
    assert carried(found) == [0, 0, 0, 0]
    assert found.label_names == {}
    assert "empty because nothing in it could be relied on" in found.warnings[0]


@pytest.mark.parametrize(("certainty", "withheld"), [(0.5, False), (0.4999, True)])
def test_a_region_that_the_network_is_not_sure_of_is_withheld(certainty: float, withheld: bool) -> None:
    found = belief(good(), whole_tumor=certainty)
    assert set(found.withheld) == ({"whole_tumor", "oedema"} if withheld else set())
    assert carried(found) == ([0, 1, 0, 3] if withheld else [0, 1, 2, 3])
    if withheld:
        assert "surely does" in found.withheld["whole_tumor"]


def test_of_the_shipped_model_the_whole_tumour_is_shown() -> None:
    shipped = ROOT / "models" / "tumor-volume" / "1" / "manifest.json"
    found = belief(Manifest.model_validate_json(shipped.read_text()).validated_dice)
    assert set(found.withheld) == set(REGIONS) - {"whole_tumor"}
    assert all("validation patients of BraTS 2018" in reason for reason in found.withheld.values())


def test_who_asks_for_experimental_regions_gets_them_with_the_reasons() -> None:
    doubts = doubts_of(good(tumor_core=0.46, enhancing=0.1), SURE)
    found = Belief.of(doubts, experimental=True)
    assert (found.withheld, found.experimental) == ({}, doubts)
    assert carried(found) == [0, 1, 2, 3]
    assert found.label_names == {1: "necrotic core", 2: "oedema", 3: "enhancing"}
    assert found.warnings[0].startswith("Experimental, shown because it was asked for: tumour core, necrotic core,")
    # Nothing is experimental of a model that is good at everything.
    assert Belief.of(doubts_of(good(), SURE), experimental=True) == Belief({}, {})
