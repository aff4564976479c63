"""``python -m benchmarks.gpu``: whether a GPU answers as the CPU does, and how much faster it is, in ten minutes.

For each bundle of slices: the fp32 network on the CPU against the same file on the GPU and against a copy with half
precision; images a second at batches of 1 to 64, plain and with inputs and outputs bound to the device; then the whole
service. Ends with 2 where there is no GPU and with 1 where answers differ by more than they may. ``--device cpu`` goes
through the same steps without one, to see that the program works.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, NoReturn

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import psutil
import typer
from onnxruntime.transformers.float16 import convert_float_to_float16

from benchmarks.processes import Tree, measure
from benchmarks.report import machine
from benchmarks.stack import started
from classifier_service.prediction import softmax
from core.contracts.tensors import LOGITS, TENSORS
from core.runtime.bundle import Bundle, find_bundles
from core.runtime.openvino.agreement import Judge
from core.runtime.openvino.drawings import draw_slice
from core.runtime.providers import CPU, CUDA, wanted_providers

ROOT: Final = Path(__file__).parents[1]
BATCHES: Final = (1, 2, 4, 8, 16, 32, 64)
SLICES: Final = 64
NO_GPU: Final = 2
# What probabilities may differ by in fp32, and from where a pixel is tumour. How labels and masks may differ in any
# precision, ``Judge`` knows.
_FP32_DIFFERENCE: Final = 1e-3
_THRESHOLD: Final = 0.5
_RUNS: Final = 5

Array = npt.NDArray[np.float32]
Device = Literal["cuda", "cpu"]

_PAGE: Final = """# On a GPU

Written by `python -m benchmarks.gpu`; do not edit by hand.

- Machine: {machine}, {device}
- ONNX Runtime {version}

Answers to {slices} drawn slices, compared with fp32 on the CPU provider:

{parity}

Images a second by batch, the fastest of {runs} runs; *bound* has its inputs and outputs on the device, which is what IO
binding can gain at most.

{throughput}

The whole service, through the model server:

{service}
"""


@dataclass(frozen=True, slots=True)
class Parity:
    """How answers on the device differ from the reference, and whether they may."""

    bundle: str
    precision: str
    difference: float
    alike: float
    measure: str
    passed: bool

    def row(self) -> str:
        """A row of the table."""
        verdict = "passed" if self.passed else "FAILED"
        alike = f"{self.measure} {self.alike:.4f}"
        return f"| {self.bundle} | {self.precision} | {self.difference:.2g} | {alike} | {verdict} |"


def inputs_of(session: ort.InferenceSession, count: int) -> Array:
    """What the network takes: (count, channels, side, side), drawn."""
    _, channels, side, _ = session.get_inputs()[0].shape
    return np.stack([draw_slice(number, channels, side) for number in range(count)])


def no_gpu(reason: str) -> NoReturn:
    """End the program: nothing has been measured."""
    print(f"There is no GPU to measure. {reason}", file=sys.stderr)
    sys.exit(NO_GPU)


def opened(model: Path, device: Device) -> ort.InferenceSession:
    """A session on the device. Ends the program with ``NO_GPU`` where ONNX Runtime would fall back to the CPU."""
    providers = wanted_providers() if device == "cuda" else [(CPU, {})]
    session = ort.InferenceSession(str(model), providers=providers)
    if device == "cuda" and session.get_providers()[0] != CUDA:
        no_gpu(f"CUDA did not come up: the session runs on {session.get_providers()[0]}.")
    return session


def halved(model: Path, folder: Path) -> Path:
    """A copy of the network that computes in half precision; inputs and outputs stay float32."""
    path = folder / f"{model.parents[1].name}.fp16.onnx"
    onnx.save(convert_float_to_float16(onnx.load(str(model)), keep_io_types=True), str(path))
    return path


def answers(session: ort.InferenceSession, bundle: Bundle, rows: Array) -> Array:
    """The first output that counts: logits (n, labels) or probabilities (n, 1, h, w), a few rows at a time."""
    tensors = TENSORS[bundle.manifest.task]
    parts = [rows[start : start + 8] for start in range(0, len(rows), 8)]
    return np.concatenate([session.run([tensors.outputs[0]], {tensors.input: part})[0] for part in parts])


def compared(bundle: Bundle, precision: str, reference: Array, found: Array) -> Parity:
    """What ``found`` is beside ``reference``: logits (n, labels) or probabilities (n, 1, h, w)."""
    classifies = TENSORS[bundle.manifest.task].outputs[0] == LOGITS
    judge = Judge(choices=(tuple(range(reference.shape[1])),)) if classifies else Judge(thresholds=(_THRESHOLD,))
    for expected, given in zip(reference, found, strict=True):
        judge.add(expected, given)
    agreement = judge.result()
    shown = [np.array([softmax(row) for row in values]) if classifies else values for values in (reference, found)]
    difference = float(np.abs(shown[1] - shown[0]).max())
    near = bool(np.isfinite(found).all()) and (precision != "fp32" or difference <= _FP32_DIFFERENCE)
    passed = near and not agreement.fault
    return Parity(
        bundle.manifest.name, precision, difference, agreement.share, "classes" if classifies else "Dice", passed
    )


def rate(run: Callable[[], object], rows: int) -> float:
    """Images a second: the fastest of a few runs after one that chooses its kernels."""
    run()
    times = []
    for _ in range(_RUNS):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return rows / min(times)


def throughput(session: ort.InferenceSession, bundle: Bundle, device: Device, batch: int) -> tuple[float, float]:
    """Images a second at ``batch``, plain and bound."""
    tensors = TENSORS[bundle.manifest.task]
    rows = inputs_of(session, batch)
    names = list(tensors.outputs)
    binding = session.io_binding()
    binding.bind_ortvalue_input(tensors.input, ort.OrtValue.ortvalue_from_numpy(rows, device, 0))
    for name in names:
        binding.bind_output(name, device)

    def bound() -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return rate(lambda: session.run(names, {tensors.input: rows}), batch), rate(bound, batch)


def reference_of(bundle: Bundle) -> Path:
    """The bundle's own file in full precision."""
    return bundle.file_path(next(file for file in bundle.manifest.files if file.variant == "reference"))


def networks(bundle: Bundle, folder: Path) -> Iterator[tuple[str, Path]]:
    """What of the bundle runs on the device: the reference file, and its copy in half precision."""
    path = reference_of(bundle)
    yield "fp32", path
    yield "fp16", halved(path, folder)


def device_name(device: Device) -> str:
    """What the driver calls the GPU."""
    if device == "cpu":
        return "without its GPU"
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(query, check=True, capture_output=True, text=True).stdout.strip().replace("\n", "; ")
    except (OSError, subprocess.CalledProcessError):
        return "a GPU that nvidia-smi does not name"


def service(models: Path, device: Device, image: Path, seconds: float) -> list[str]:
    """Rows of load on the classifier's and the segmenter's servers as they are shipped."""
    rows = ["| server | at once | images/s | CPU ms | p50 ms | p95 ms | p99 ms | failed |", "|---|" + "---:|" * 7]
    settings = {"FALX_MODELS_DIR": str(models), "FALX_REQUIRE_CUDA": str(device == "cuda").lower()}
    for module, path in (("classifier_service", "classifications"), ("segmenter_service", "segmentations")):
        with started(module, settings) as server:
            tree = Tree(psutil.Process(server.process.pid))
            for concurrency in (1, 8, 32):
                found = measure([f"{server.url}/v1/{path}"], image, concurrency, seconds, [tree])
                latencies = " | ".join(f"{found.percentile_ms(percent):.1f}" for percent in (50, 95, 99))
                cells = f"{concurrency} | {found.rate:.1f} | {found.cpu_ms:.2f} | {latencies} | {found.failed}"
                rows.append(f"| {path} | {cells} |")
    return rows


def examine(bundles: Sequence[Bundle], device: Device, count: int, largest: int) -> tuple[list[Parity], list[str]]:
    """Parity and throughput of every bundle; the second as rows of a table."""
    found: list[Parity] = []
    rows = ["| bundle | precision | batch | images/s | bound |", "|---|---|---:|---:|---:|"]
    with tempfile.TemporaryDirectory() as folder:
        for bundle in bundles:
            exact = opened(reference_of(bundle), "cpu")
            drawn = inputs_of(exact, count)
            reference = answers(exact, bundle, drawn)
            for precision, path in networks(bundle, Path(folder)):
                session = opened(path, device)
                found.append(compared(bundle, precision, reference, answers(session, bundle, drawn)))
                for batch in (size for size in BATCHES if size <= largest):
                    plain, bound = throughput(session, bundle, device, batch)
                    rows.append(f"| {bundle.manifest.name} | {precision} | {batch} | {plain:.1f} | {bound:.1f} |")
    return found, rows


def slice_bundles(models: Path) -> list[Bundle]:
    """The bundles of slices with files of their own: others run the same graph."""
    every = [bundle for task in ("classification", "segmentation") for bundle in find_bundles(models, task)]
    return [bundle for bundle in every if all(file.bundle is None for file in bundle.manifest.files)]


def main(
    device: Annotated[Device, typer.Option(help="cpu goes through the same steps without a GPU.")] = "cuda",
    models: Path = ROOT / "models",
    image: Path = ROOT / "docs" / "samples" / "slice.jpg",
    output: Annotated[Path | None, typer.Option(help="A file for the page, which is printed as well.")] = None,
    slices: int = SLICES,
    largest: Annotated[int, typer.Option(help="The largest batch that is tried.")] = BATCHES[-1],
    seconds: float = 10.0,
) -> None:
    """Checks parity, throughput and the whole service; prints a page of markdown."""
    if device == "cuda" and CUDA not in ort.get_available_providers():
        no_gpu("ONNX Runtime here has no CUDA: install with EXTRA=cuda, on a machine with an NVIDIA GPU.")
    parities, rows = examine(slice_bundles(models), device, slices, largest)
    head = ["| bundle | precision | largest difference | alike | |", "|---|---|---:|---:|---|"]
    page = _PAGE.format(
        machine=machine(),
        device=device_name(device),
        version=ort.__version__,
        slices=slices,
        runs=_RUNS,
        parity="\n".join([*head, *(parity.row() for parity in parities)]),
        throughput="\n".join(rows),
        service="\n".join(service(models, device, image, seconds)),
    )
    typer.echo(page)
    if output is not None:
        output.write_text(page)
    if not all(parity.passed for parity in parities):
        sys.exit(1)


if __name__ == "__main__":
    typer.run(main)
