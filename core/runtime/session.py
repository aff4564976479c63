"""One ONNX network, loaded and ready to run from several threads at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from core.contracts.manifest import BundleFile, Wanted
from core.errors import BundleCorrupt, InvalidRequest
from core.runtime.bundle import Bundle, Precision, choose_file
from core.runtime.cpus import usable_cpus
from core.runtime.openvino.plug_in import add_plug_in
from core.runtime.providers import CPU, CUDA, Hint, check_provider, wanted_providers

Array = npt.NDArray[Any]

_SEVERITY_ERROR = 3

_DTYPES: dict[str, np.dtype[Any]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(float16)": np.dtype(np.float16),
    "tensor(double)": np.dtype(np.float64),
    "tensor(int8)": np.dtype(np.int8),
    "tensor(int16)": np.dtype(np.int16),
    "tensor(int32)": np.dtype(np.int32),
    "tensor(int64)": np.dtype(np.int64),
    "tensor(uint8)": np.dtype(np.uint8),
    "tensor(uint16)": np.dtype(np.uint16),
    "tensor(uint32)": np.dtype(np.uint32),
    "tensor(uint64)": np.dtype(np.uint64),
    "tensor(bool)": np.dtype(np.bool_),
}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, dtype and shape of one input or output; None is a free axis, as the batch axis is."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]

    def check(self, array: Array) -> None:
        """Raise InvalidRequest, naming what differs, unless ``array`` fits."""
        if array.dtype != self.dtype:
            raise InvalidRequest(f"Tensor {self.name} is {array.dtype}, the model takes {self.dtype}.")
        self.check_shape(array.shape)

    def check_shape(self, shape: Sequence[int]) -> None:
        """Raise InvalidRequest unless ``shape`` fits and holds at least one element."""
        fits = len(shape) == len(self.shape) and all(
            size > 0 and wanted in (None, size) for size, wanted in zip(shape, self.shape, strict=True)
        )
        if not fits:
            raise InvalidRequest(f"Tensor {self.name} has shape {_text(shape)}, the model takes {self.text()}.")

    def text(self) -> str:
        """The shape for people, free axes as -1."""
        return _text(tuple(-1 if size is None else size for size in self.shape))


class Session(Protocol):
    """What runs a network. ``run`` may be called from ``runners`` threads at once."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def provider(self) -> str:
        """The execution provider that is really active."""
        ...

    @property
    def runners(self) -> int:
        """How many threads make best use of it."""
        ...

    @property
    def splits_lone_runs(self) -> bool:
        """Whether a run that is made alone takes another way than the others."""
        ...

    def run(self, inputs: Mapping[str, Array], *, alone: bool = False) -> dict[str, Array]:
        """All outputs by name; ``alone`` promises that no other run is under way. Raises InvalidRequest when an input
        does not fit.
        """
        ...


class OrtSession:
    """ONNX Runtime behind the Session protocol.

    CPU: one thread per run and one runner per usable core. With several images in flight this costs less CPU
    per image than splitting each image over the cores, and idle threads never spin. The memory arena stays on:
    slices of one size reuse the same blocks, so it settles after the warm-up. ``threads`` splits one run over more
    of them, for inputs so large that only a few may be in memory at a time. ``lone_threads``, when more, split runs
    that are made alone: a second session, since a pool of threads that it leaves idle still costs a run 4 % of its CPU.
    CUDA: one runner, as one session has one stream and a second thread would only wait for the first.
    OpenVINO, by ``hint``: as on the CPU, with one session for all runners and a stream for each.
    """

    def __init__(
        self,
        model: Path,
        *,
        require_cuda: bool = False,
        force_cpu: bool = False,
        threads: int = 1,
        lone_threads: int = 1,
        hint: Hint | None = None,
    ) -> None:
        """Load ``model``. Raises BundleCorrupt for a file that is no usable network, ProviderMissing."""
        options = _options(threads)
        providers = [(CPU, {})] if force_cpu else wanted_providers()
        if hint is not None:
            add_plug_in(options, hint, usable_cpus())
            providers = []
        try:
            self._session = ort.InferenceSession(str(model), options, providers=providers)
        except Exception as error:  # ONNX Runtime's exception classes share no base below Exception
            raise BundleCorrupt(f"{model} cannot be loaded as an ONNX network: {error}") from error
        self._threads = threads
        self._provider = check_provider(self._session.get_providers()[0], require_cuda=require_cuda)
        self._lone = self._session
        if self._provider == CPU and lone_threads > threads:
            self._lone = ort.InferenceSession(str(model), _options(lone_threads), providers=[(CPU, {})])
        self._inputs = tuple(_spec(node) for node in self._session.get_inputs())
        self._outputs = tuple(_spec(node) for node in self._session.get_outputs())
        self._names = [spec.name for spec in self._outputs]

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What ``run`` takes."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What ``run`` returns."""
        return self._outputs

    @property
    def provider(self) -> str:
        """Read back from the session, because ONNX Runtime falls back to the CPU silently."""
        return self._provider

    @property
    def runners(self) -> int:
        """One on CUDA, else one per usable core and thread of a run."""
        return 1 if self._provider == CUDA else max(1, usable_cpus() // self._threads)

    @property
    def splits_lone_runs(self) -> bool:
        """Where ``lone_threads`` made a second session."""
        return self._lone is not self._session

    def run(self, inputs: Mapping[str, Array], *, alone: bool = False) -> dict[str, Array]:
        """Run the network; the GIL is released meanwhile. Arrays returned belong to the caller."""
        known = {spec.name for spec in self._inputs}
        if inputs.keys() != known:
            raise InvalidRequest(f"The model takes {', '.join(sorted(known))}, not {', '.join(sorted(inputs))}.")
        for spec in self._inputs:
            spec.check(inputs[spec.name])
        session = self._lone if alone else self._session
        return dict(zip(self._names, session.run(self._names, dict(inputs)), strict=True))


class SessionPool:
    """Opens what bundles run, each file once: bundles that name the same weights get the same session."""

    def __init__(
        self,
        precision: Precision,
        *,
        provider: Wanted = "builtin",
        require_cuda: bool = False,
        threads: int = 1,
        lone_threads: int = 1,
    ) -> None:
        self._precision: Precision = precision
        self._threads = threads
        self._lone_threads = lone_threads
        self._require_cuda = require_cuda or provider == "cuda"
        # What is to run on the OpenVINO plug-in begins on the CPU (core.serving.providers.choice).
        self._on_cpu = provider in ("cpu", "openvino") or wanted_providers()[0][0] == CPU
        self._by_sha256: dict[str, OrtSession] = {}

    def open(self, bundle: Bundle) -> tuple[BundleFile, OrtSession]:
        """The bundle's file that suits the provider, and a session on it. Raises BundleCorrupt, ProviderMissing."""
        file = choose_file(bundle, self._precision, on_cpu=self._on_cpu)
        if file.sha256 in self._by_sha256:
            return file, self._by_sha256[file.sha256]
        session = OrtSession(
            bundle.file_path(file),
            require_cuda=self._require_cuda,
            force_cpu=self._on_cpu,
            threads=self._threads,
            lone_threads=self._lone_threads,
        )
        if session.provider == CPU and not self._on_cpu:
            # CUDA is installed but did not come up: the CPU has a file of its own.
            self._on_cpu = True
            return self.open(bundle)
        self._by_sha256[file.sha256] = session
        return file, session


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    # The default is one thread per core of the host, whatever the container's quota is.
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = _SEVERITY_ERROR
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # Weights are allocated once and never grow, so they need not round up the arena.
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    return options


def _spec(node: ort.NodeArg) -> TensorSpec:
    if node.type not in _DTYPES:
        raise BundleCorrupt(f"Tensor {node.name} is {node.type}; only numeric tensors are served.")
    shape = tuple(size if isinstance(size, int) and size > 0 else None for size in node.shape)
    return TensorSpec(node.name, _DTYPES[node.type], shape)


def _text(shape: Sequence[int]) -> str:
    return f"({', '.join(map(str, shape))})"
