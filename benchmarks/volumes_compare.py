"""The worker's sliding windows beside MONAI's: the same network, volume, windows, overlap and number of threads."""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.volumes_case import Network, spacing_of
from core.contracts.manifest import VolumePreprocessing
from core.imaging.volume import Spacing
from core.runtime.bundle import Precision
from core.runtime.cpus import usable_cpus
from core.runtime.session import Array, OrtSession
from core.runtime.sliding import SIGMA, Shape, plan_windows
from segmenter_service.volumes.model import VolumeModel, infer, open_model
from segmenter_service.volumes.settings import VolumeSettings

ROOT = Path(__file__).parents[1]
FloatArray = npt.NDArray[np.float32]

BATCHES: Final = (1, 2)
"""Windows that one call of MONAI's runs together: the faster of these is compared."""

_THRESHOLD: Final = 0.5
# Along one axis. Written down anew, so that parity fails where the worker's weights come to differ.
_LEAST_WEIGHT: Final = 0.1


@dataclass(frozen=True, slots=True)
class Parity:
    """How far apart two maps of probabilities are: at most and in the mean, and the share of voxels that come to lie
    on different sides of one half."""

    largest: float
    mean: float
    decided_otherwise: float

    @classmethod
    def of(cls, one: FloatArray, other: FloatArray) -> Parity:
        """Of two maps of one shape."""
        if one.shape != other.shape:
            raise ValueError(f"probabilities of shape {one.shape} and {other.shape}")
        apart = np.abs(one - other)
        return cls(float(apart.max()), float(apart.mean()), float(((one > _THRESHOLD) != (other > _THRESHOLD)).mean()))


@dataclass(frozen=True, slots=True)
class Run:
    """Seconds that a volume took, and those of them that were the network's."""

    seconds: float
    network_s: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """All rounds at one spacing; ``monai_batch`` windows ran together in MONAI's."""

    spacing_mm: Spacing
    shape: tuple[int, ...]
    windows: int
    falx: tuple[Run, ...]
    monai: tuple[Run, ...]
    monai_batch: int
    parity: Parity
    # The worker with the int8 file, which is the CPU's default; empty where the network has none.
    int8: tuple[Run, ...] = ()

    @property
    def ratio(self) -> float:
        """Times as long as the worker's that MONAI's takes: median over rounds, which pair neighbours in time."""
        return _ratio(self.falx, self.monai)

    @property
    def int8_ratio(self) -> float | None:
        """As ``ratio``, of the worker with int8."""
        return _ratio(self.int8, self.monai) if self.int8 else None


def _ratio(falx: Sequence[Run], monai: Sequence[Run]) -> float:
    return statistics.median(b.seconds / a.seconds for a, b in zip(falx, monai, strict=True))


class TorchSide:
    """The process in training's environment, and the network that it runs."""

    def __init__(self, process: subprocess.Popen[str], folder: Path, int8: Path | None = None) -> None:
        self._process, self._folder = process, folder
        told = self._answer()
        self.versions: dict[str, str] = told["versions"]
        preprocessing = VolumePreprocessing.model_validate_json(json.dumps(told["preprocessing"]))
        self.network = Network(folder / "model.onnx", told["architecture"], preprocessing, int8)

    def infer(
        self, tensor: FloatArray, overlap: float, batch: int, weights: FloatArray | None = None
    ) -> tuple[Run, FloatArray]:
        """Time, and the probabilities."""
        paths = {name: str(self._folder / f"{name}.npy") for name in ("tensor", "result", "weights")}
        np.save(paths["tensor"], tensor)
        if weights is None:
            request: dict[str, Any] = {**paths, "weights": None}
        else:
            np.save(paths["weights"], weights)
            request = dict(paths)
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({**request, "overlap": overlap, "batch": batch}) + "\n")
        self._process.stdin.flush()
        return Run(**self._answer()), np.load(paths["result"])

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the torch process ended; its reason stands above")
        return json.loads(line)


@contextmanager
def torch_side(python: Path, folder: Path, run: Path | None) -> Iterator[TorchSide]:
    """Starts the process; the graph of its network lies in ``folder`` once this is entered."""
    command = [str(python), "-m", "benchmarks.volumes_torch", str(folder), str(usable_cpus())]
    if run is not None:
        command.append(str(run.resolve()))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            yield TorchSide(process, folder, _int8_of(run))
        finally:
            assert process.stdin is not None
            process.stdin.close()


def _int8_of(run: Path | None) -> Path | None:
    """The int8 graph of a run that was quantised."""
    path = None if run is None else run / "model.int8.onnx"
    return path if path is not None and path.is_file() else None


class TimedSession(OrtSession):
    """The session of a job on the CPU; ``seconds`` adds up what its runs took."""

    seconds = 0.0

    @property
    def splits_lone_runs(self) -> bool:
        """Never."""
        return False

    def run(self, inputs: Mapping[str, Array], *, alone: bool = False) -> dict[str, Array]:
        """As the session's own."""
        started = time.perf_counter()
        outputs = super().run(inputs, alone=alone)
        self.seconds += time.perf_counter() - started
        return outputs


class FalxSide:
    """The bundle of a folder as a job loads it, on all cores: its float32 network or the one in int8."""

    def __init__(self, models: Path, precision: Precision = "reference") -> None:
        self._settings = VolumeSettings(models_dir=models, precision=precision)
        model = open_model(self._settings)
        self._session = TimedSession(model.bundle.file_path(model.file), force_cpu=True, threads=usable_cpus())
        self.model: VolumeModel = replace(model, session=self._session)

    def infer(self, tensor: FloatArray) -> tuple[Run, FloatArray]:
        """Time, and the probabilities."""
        self._session.seconds = 0.0
        started = time.perf_counter()
        probabilities = infer(self.model, tensor, self._settings, lambda _: None)
        return Run(time.perf_counter() - started, self._session.seconds), probabilities


def compare(
    falx: FalxSide, tensor: FloatArray, other: TorchSide, rounds: int, int8: FalxSide | None = None
) -> Comparison:
    """All ways in turn, ``rounds`` times, after a round that is not counted and that chooses MONAI's batch."""
    overlap = falx.model.preprocessing.overlap
    columns = falx.model.preprocessing.columns
    plan = plan_windows(tensor.shape[1:], falx.model.window, overlap, columns=columns)
    _, ours = falx.infer(tensor)
    tried = {batch: other.infer(tensor, overlap, batch) for batch in BATCHES}
    batch = min(tried, key=lambda batch: tried[batch][0].seconds)
    if int8 is not None:
        int8.infer(tensor)
    ours_s, theirs_s, int8_s = [], [], []
    for _ in range(rounds):
        ours_s.append(falx.infer(tensor)[0])
        theirs_s.append(other.infer(tensor, overlap, batch)[0])
        int8_s += [] if int8 is None else [int8.infer(tensor)[0]]
    return Comparison(
        spacing_of(falx.model.preprocessing),
        tensor.shape[1:],
        plan.count,
        tuple(ours_s),
        tuple(theirs_s),
        batch,
        Parity.of(ours, tried[batch][1]),
        tuple(int8_s),
    )


def same_lattice(falx: FalxSide, tensor: FloatArray, other: TorchSide) -> Parity:
    """Parity where both lay the same windows and weigh them alike: what is left is the network's arithmetic.

    Elsewhere MONAI moves the last window of an axis inwards, where the worker spreads all evenly, and cuts the weights
    off at another value.
    """
    window = falx.model.window
    middle = two_windows(tensor, window)
    _, ours = falx.infer(middle)
    return Parity.of(ours, other.infer(middle, 0.5, 1, window_weights(window))[1])


def two_windows(tensor: FloatArray, window: Shape) -> FloatArray:
    """The middle of a volume (sequences, i, j, k), cut or filled to two windows an axis that overlap by half."""
    lengths = [side + side // 2 for side in window]
    middle = np.zeros((len(tensor), *lengths), np.float32)
    pairs = list(zip(tensor.shape[1:], lengths, strict=True))
    taken = tuple(_centred(min(size, length), size) for size, length in pairs)
    filled = tuple(_centred(min(size, length), length) for size, length in pairs)
    middle[(slice(None), *filled)] = tensor[(slice(None), *taken)]
    return middle


def _centred(length: int, within: int) -> slice:
    first = (within - length) // 2
    return slice(first, first + length)


def window_weights(window: Shape) -> FloatArray:
    """Weights of the voxels of one window, of its shape, as ``core.runtime.sliding`` describes them."""
    i, j, k = (_axis_weights(side) for side in window)
    weights: FloatArray = i[:, None, None] * j[:, None] * k
    return weights


def _axis_weights(side: int) -> FloatArray:
    from_centre = (np.arange(side) - (side - 1) / 2) / (SIGMA * side)
    return np.maximum(np.exp(-(from_centre**2) / 2), _LEAST_WEIGHT).astype(np.float32)
