"""What the gate is asked of a graph, what it answers, and where the answers of a machine are kept."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from core.contracts.manifest import Variant
from core.runtime.openvino.plug_in import processor, versions
from core.runtime.providers import Hint

SLICES: Final = 200
"""Drawn slices that a graph is compared on; a tenth of them lie near its decision where that can be made."""

_RULES: Final = 1
"""Counts up when other slices or limits would give other reports: what was kept before is then measured anew."""


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Question(_Fact):
    """A graph file, and how its answers are read by the bundles that use it.

    ``choices`` are the logits that each set of labels takes, ``thresholds`` the probabilities above which a pixel is
    tumour: a graph has one of the two. ``size`` is the side of its slices, ``keep`` the folder of reports.
    """

    model: Path
    sha256: str
    variant: Variant
    size: int
    choices: tuple[tuple[int, ...], ...] = ()
    thresholds: tuple[float, ...] = ()
    hints: tuple[Hint, ...] = ("f32",)
    slices: int = SLICES
    keep: Path | None = None

    @property
    def facts(self) -> dict[str, object]:
        """All that a report depends on."""
        asked = self.model_dump(mode="json", exclude={"model", "keep"})
        return {**asked, "processor": processor(), "versions": versions(), "rules": _RULES}

    @property
    def kept(self) -> Path | None:
        """The file of its report."""
        if self.keep is None:
            return None
        return self.keep / f"{hashlib.sha256(repr(sorted(self.facts.items())).encode()).hexdigest()[:32]}.json"


class Trial(_Fact):
    """One precision on the plug-in: CPU milliseconds a slice, and what speaks against it (nothing where it passed)."""

    hint: Hint
    cpu_ms: float
    agreement: float
    fault: str = ""


class Report(_Fact):
    """What the gate found: CPU milliseconds a slice on the CPU provider, and a trial of each precision.

    ``refused`` says why none was tried. ``facts`` are those of the question.
    """

    cpu_ms: float = 0.0
    trials: tuple[Trial, ...] = ()
    refused: str = ""
    facts: dict[str, object] = {}


def find_report(question: Question) -> Report | None:
    """What was found before by the same question on the same processor and versions; None where nothing is kept."""
    if question.kept is None:
        return None
    try:
        return Report.model_validate_json(question.kept.read_bytes())
    except (OSError, ValidationError):
        return None


def keep_report(report: Report, question: Question) -> None:
    """Keep it for all processes of the machine, if there is a folder and it can be written."""
    if question.kept is None:
        return
    fresh = question.kept.with_suffix(f".{os.getpid()}")
    stated = report.model_copy(update={"facts": question.facts})
    with suppress(OSError):
        fresh.write_text(stated.model_dump_json(indent=2), encoding="utf-8")
        fresh.replace(question.kept)


@contextmanager
def alone(folder: Path | None) -> Iterator[None]:
    """Hold back while another process of the machine measures; a folder that cannot be written holds nobody back."""
    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w") if folder is not None else None
    except OSError:
        lock = None
    if lock is None:
        yield
        return
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
