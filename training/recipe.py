"""Recipes: how a bundle is made and what is to be said of it, as data.

``training/recipes/README.md`` describes every key. Nothing here trains: ``training.make`` runs a recipe, and
``training.bundle.card`` renders what it says.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import Field, TypeAdapter, ValidationError, model_validator
from pydantic_core import ErrorDetails

from training.config import (
    ISOTROPIC_VOLUMES,
    PLANES_OF_VOLUMES,
    RESIDUAL_VOLUMES,
    SEGMENTER_TEACHER,
    TEACHER,
    ClassifierConfig,
    Config,
    SegmenterConfig,
    VolumeSegmenterConfig,
)
from training.records import Part

RECIPES: Final = Path(__file__).with_name("recipes")

Base = Literal[
    "classifier",
    "teacher",
    "segmenter",
    "segmenter-teacher",
    "volume-segmenter",
    "isotropic-volumes",
    "residual-volumes",
    "planes-of-volumes",
]
BASES: Final[Mapping[Base, Config]] = {
    "classifier": ClassifierConfig(),
    "teacher": TEACHER,
    "segmenter": SegmenterConfig(),
    "segmenter-teacher": SEGMENTER_TEACHER,
    "volume-segmenter": VolumeSegmenterConfig(),
    "isotropic-volumes": ISOTROPIC_VOLUMES,
    "residual-volumes": RESIDUAL_VOLUMES,
    "planes-of-volumes": PLANES_OF_VOLUMES,
}
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]


class LabelSetPlan(Part):
    """``[[bundle.label_sets]]``: some of a classifier's labels as a bundle of their own."""

    name: Name
    labels: Annotated[tuple[str, ...], Field(min_length=2)]
    title: str = ""


class BundlePlan(Part):
    """``[bundle]``: what is made. ``{network}`` in a title becomes the network's name."""

    name: Name
    version: str = "1"
    title: str
    licence: str
    remakeable: bool = True
    reason: str = ""
    label_sets: tuple[LabelSetPlan, ...] = ()

    @model_validator(mode="after")
    def _reason_where_it_is_due(self) -> Self:
        if self.remakeable == bool(self.reason):
            raise ValueError("`reason` says why a bundle is not remakeable, and is given only then")
        return self

    def title_of(self, name: str, network: str) -> str:
        """The title of the bundle ``name``, one of the label sets or the whole."""
        own = next((item.title for item in self.label_sets if item.name == name), "")
        return (own or self.title).replace("{network}", network)


class DataPlan(Part):
    """``[[data]]``: a data set that weights were learnt from."""

    name: str
    licence: str
    source: str = ""
    use: str = ""


class StepPlan(Part):
    """``[[steps]]``: what makes a run, from runs of earlier steps."""

    name: Name
    # Fields that name earlier steps.
    reads: ClassVar[tuple[str, ...]] = ()

    @property
    def inputs(self) -> tuple[str, ...]:
        """Earlier steps that it reads."""
        found = (getattr(self, field) for field in self.reads)
        return tuple(name for value in found for name in ((value,) if isinstance(value, str) else value or ()))


class Train(StepPlan):
    """A training: the configuration ``base``, changed by ``config``."""

    do: Literal["train"]
    base: Base
    config: dict[str, Any] = Field(default_factory=dict)
    start: str | None = None
    # Begins with the network of photographs (``training.networks.starts``) instead of a step.
    photographs: bool = False
    encoder: str | None = None
    teachers: tuple[str, ...] = ()
    reads = ("start", "encoder", "teachers")

    @model_validator(mode="after")
    def _configuration_is_valid(self) -> Self:
        self.configuration()
        if self.photographs and self.start:
            raise ValueError(f"the step {self.name!r} begins with the network of photographs or with a step, not both")
        return self

    def configuration(self) -> Config:
        """The training's configuration. Raises ValueError for an unknown field or a value of another type."""
        base = BASES[self.base]
        config: Config = TypeAdapter(type(base)).validate_python(_changed(asdict(base), self.config, "config"))
        return config


class Average(StepPlan):
    """The mean of the weights of runs that went on from one another."""

    do: Literal["average"]
    of: Annotated[tuple[str, ...], Field(min_length=2)]
    reads = ("of",)


class Combine(StepPlan):
    """Classifiers that answer with their mean."""

    do: Literal["combine"]
    members: Annotated[tuple[str, ...], Field(min_length=2)]
    shares: tuple[float, ...] | None = None
    size: int | None = None
    reads = ("members",)


class Second(StepPlan):
    """A segmenter that asks another one where every sequence of TCGA-LGG is shown."""

    do: Literal["second-reader"]
    first: str
    second: str
    reads = ("first", "second")


Step = Train | Average | Combine | Second


class ExportPlan(Part):
    """``[export]``."""

    sizes: tuple[int, ...] = ()


class QuantizePlan(Part):
    """``[quantize]``."""

    int8: bool = True


class Gate(Part):
    """``[[gates]]``: a figure on ``val`` that must hold, or no bundle is written."""

    figure: str
    data_set: str
    bundle: str = ""
    at_least: float | None = None
    at_most: float | None = None


class Words(Part):
    """``[text]``: what the card says. Figures stand in it as ``{name | data set | split}``."""

    method: str
    splits: str = ""
    limits: tuple[str, ...] = ()
    history: tuple[str, ...] = ()


class Recipe(Part):
    """A whole recipe."""

    bundle: BundlePlan
    data: tuple[DataPlan, ...]
    steps: Annotated[tuple[Annotated[Step, Field(discriminator="do")], ...], Field(min_length=1)]
    export: ExportPlan = ExportPlan()
    quantize: QuantizePlan = QuantizePlan()
    gates: tuple[Gate, ...] = ()
    text: Words

    @model_validator(mode="after")
    def _steps_build_on_earlier_ones(self) -> Self:
        known: set[str] = set()
        for step in self.steps:
            strange = sorted(set(step.inputs) - known)
            if strange or step.name in known:
                what = f"reads {strange[0]!r}, which no earlier step makes" if strange else "stands there twice"
                raise ValueError(f"the step {step.name!r} {what}")
            known.add(step.name)
        return self

    @property
    def label_sets(self) -> dict[str, tuple[str, ...]]:
        """Labels by the name of their bundle; empty where the graph's own labels are the only ones."""
        return {item.name: item.labels for item in self.bundle.label_sets}


def _changed(fields: Mapping[str, Any], changes: Mapping[str, Any], where: str) -> dict[str, Any]:
    """``fields`` with ``changes`` in place, tables within tables. Raises ValueError for a key that is not there."""
    for key, value in changes.items():
        if key not in fields:
            raise ValueError(f"{where}.{key} is not known: there are {', '.join(fields)}")
        if isinstance(value, dict) and not isinstance(fields[key], dict):
            raise ValueError(f"{where}.{key} is no table")  # noqa: TRY004  (what is wrong is in the file)
    new = {k: _changed(fields[k], v, f"{where}.{k}") if isinstance(v, dict) else v for k, v in changes.items()}
    return {**fields, **new}


def parse_recipe(text: str, where: str) -> Recipe:
    """The recipe in ``text``. Raises ValueError that names ``where`` and each key that is unknown, lacking or wrong."""
    try:
        return Recipe.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{where} is no TOML: {error}") from error
    except ValidationError as error:
        raise ValueError(f"{where}: {'; '.join(map(_said, error.errors()))}") from error


def _said(fault: ErrorDetails) -> str:
    place, message = ".".join(map(str, fault["loc"])) or "recipe", fault["msg"]
    said = "is not known" if message.startswith("Extra inputs") else message.removeprefix("Value error, ")
    return f"{place}: {said}"


def read_recipe(name: str) -> Recipe:
    """The recipe of a name in ``training/recipes``, or in any TOML file by its path.

    Raises FileNotFoundError, which names the recipes there are, and ValueError.
    """
    path = Path(name) if name.endswith(".toml") else RECIPES / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(item.stem for item in RECIPES.glob("*.toml")))
        raise FileNotFoundError(f"{path} is not there; recipes by name: {known}")
    return parse_recipe(path.read_text(), str(path))
