"""Which networks are compared, under which budget, and what is kept of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final, get_args

from training.config import ClassifierConfig, ClassifierName, Phase, ScheduleConfig, SegmenterName
from training.folds.figures import Difference, Judged
from training.recipe import BASES, Base, BundlePlan, DataPlan, Recipe, Train, Words
from training.records import KindName, Part, Record

CLASSIFIERS: Final[tuple[str, ...]] = get_args(ClassifierName)
SEGMENTERS: Final[tuple[str, ...]] = get_args(SegmenterName)
NETWORKS: Final = (*CLASSIFIERS, *SEGMENTERS)
# The one that the others of its kind are compared with.
YARDSTICKS: Final = (CLASSIFIERS[0], SEGMENTERS[0])
# Classifiers as published; segmenters as the preset ``paper`` has them (``training.paper.presets``).
_CLASSIFIER_WIDTH: Final = 64
_SEGMENTER_WIDTH: Final = 32
# More than any time limit lets through.
_ENDLESS: Final = 10_000_000
# Inputs between two checkpoints under a time limit; of a number of images a tenth of them.
_EPOCH: Final = 2048
_EPOCHS: Final = 10
# What is less than this is a trial, and is not published.
_LEAST_MINUTES: Final = 20.0
_LEAST_IMAGES: Final = 50_000
_LEAST_SIZE: Final = 128


class Budget(Part):
    """What each network is given: minutes of training and validation, or a number of images."""

    minutes: float | None = None
    images: int | None = None
    size: int
    threads: int
    bfloat16: bool = False
    device: str = "cpu"

    @property
    def full(self) -> bool:
        """Whether the networks had the time to learn something that is worth telling."""
        enough = (self.minutes or 0) >= _LEAST_MINUTES or (self.images or 0) >= _LEAST_IMAGES
        return enough and self.size >= _LEAST_SIZE

    def told(self) -> str:
        """In words."""
        amount = f"{self.minutes:g} minutes" if self.minutes is not None else f"{self.images:,} slices"
        how = "in bfloat16" if self.bfloat16 else "in float32"
        threads = f" on {self.threads} thread{'s' * (self.threads > 1)}" if self.device == "cpu" else ""
        return f"{amount} of training each at {self.size} pixels, {how} on {self.device}{threads}"

    def schedule(self, base: ScheduleConfig) -> dict[str, Any]:
        """The changes that it makes to a schedule."""
        if (self.minutes is None) == (self.images is None):
            raise ValueError("a budget is minutes or images, one of the two")
        phase = Phase(self.size, self.images or _ENDLESS, base.phases[0].batch)
        epoch = max(phase.batch, self.images // _EPOCHS) if self.images else _EPOCH
        told = {"phases": [asdict(phase)], "epoch_images": epoch, "bfloat16": self.bfloat16}
        return told | {"time_limit_min": self.minutes}


class Network(Part):
    """One network, what it was given, and what it answers on the fold that it has not seen."""

    name: str
    kind: KindName
    architecture: str
    # Whether it started from noise under the budget, as the comparison has it, or is a run of another making.
    compared: bool
    parameters: int
    images_seen: int
    size: int
    judged: tuple[Judged, ...]
    # From the yardstick of its kind.
    differences: tuple[Difference, ...] = ()
    # CPU ms an image of the exported graph on one thread, by execution provider.
    cpu_ms: dict[str, float]
    history: tuple[dict[str, float], ...]


class Networks(Record):
    """``networks.json``: all that the tables and the figure show."""

    budget: Budget
    folds: int
    fold: int
    processor: str
    networks: tuple[Network, ...]


def comparison_recipe(budget: Budget, labels: Sequence[str]) -> Recipe:
    """Every network as a step of its own, from noise, differing from the defaults in size and length alone."""
    return Recipe(
        bundle=BundlePlan(name="comparison", title="{network}", licence="not shipped"),
        data=(DataPlan(name="the data of the fold", licence="not shipped"),),
        steps=tuple(_step(name, budget, labels) for name in NETWORKS),
        text=Words(method="One of the networks of the paper, from noise."),
    )


def _step(name: str, budget: Budget, labels: Sequence[str]) -> Train:
    base: Base = "classifier" if name in CLASSIFIERS else "segmenter"
    usual = BASES[base]
    config: dict[str, Any] = {"architecture": name, "schedule": budget.schedule(usual.schedule)}
    if isinstance(usual, ClassifierConfig):
        config |= {"labels": tuple(labels), "width": _CLASSIFIER_WIDTH}
    else:
        config |= {"width": _SEGMENTER_WIDTH}
    return Train(name=name, do="train", base=base, config=config)
