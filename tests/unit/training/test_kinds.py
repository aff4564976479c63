"""The kinds of model: each is found by name and by task, and says of itself what records, manifests and cards need."""

from __future__ import annotations

from typing import get_args

import pytest

from core.contracts.manifest import ClassificationPreprocessing, SegmentationPreprocessing
from core.contracts.tensors import TENSORS
from training.config import ClassifierConfig
from training.data.scans import REGIONS
from training.kinds import Kind, kind_named, kind_of
from training.records import Export, KindName


def exported(kind: Kind) -> Export:
    """A record of a graph for slices of 96 pixels."""
    about = {"kind": kind.name, "architecture": "unet", "labels": ("a",), "images_seen": 1, "size": 96}
    return Export.model_validate({**about, "parity": 0.0, "rounding": 0.0, "sizes": {}})


def test_every_kind_has_its_name_and_a_task_of_its_own() -> None:
    kinds = [kind_named(name) for name in get_args(KindName)]
    assert [kind.name for kind in kinds] == list(get_args(KindName))
    assert {kind.task for kind in kinds} == set(TENSORS)
    assert all(kind_of(kind.task) is kind for kind in kinds)
    assert len({kind.bundle_name for kind in kinds}) == len(kinds)


def test_what_is_told_apart() -> None:
    assert kind_named("classifier").labels({"labels": ["x", "y"]}) == ("x", "y")
    assert kind_named("segmenter").labels({}) == ("tumor",)
    assert kind_named("volume-segmenter").labels({}) == REGIONS


def test_titles_name_the_network() -> None:
    title = kind_named("classifier").title({"architecture": "resnet50+vgg16"})
    assert title == "Classifier of single slices (ResNet50 and VGG16)"
    segmenter = kind_named("segmenter")
    assert segmenter.manifest_architecture("unet") == "unet-16-256"
    assert segmenter.manifest_architecture("pspnet") == "pspnet"
    assert kind_named("classifier").manifest_architecture(ClassifierConfig().architecture) == "resnet50"


def test_slices_are_prepared_at_the_size_of_the_graph() -> None:
    for name, spec in (("classifier", ClassificationPreprocessing), ("segmenter", SegmentationPreprocessing)):
        kind = kind_named(name)
        assert kind.preprocessing(exported(kind)) == spec(size=96)
    volumes = kind_named("volume-segmenter")
    with pytest.raises(ValueError, match="not one of a network of volumes"):
        volumes.preprocessing(exported(volumes))
