"""``python -m benchmarks.volumes``: the worker's sliding windows beside MONAI's, and whole jobs, in one run."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track

from benchmarks.volumes_case import SHAPE, make_case, write_bundle, write_case
from benchmarks.volumes_compare import Comparison, FalxSide, Parity, TorchSide, compare, same_lattice, torch_side
from benchmarks.volumes_job import JobTimes, do_job, store_inputs
from benchmarks.volumes_report import Results, write_report
from core.contracts.manifest import VolumePreprocessing
from core.imaging.volume import FloatArray, Volume
from core.imaging.volume_transforms import VolumeSpec, prepare_volume

ROOT = Path(__file__).parents[1]

PathOption = Annotated[Path, typer.Option()]


def prepared(case: dict[str, Volume], preprocessing: VolumePreprocessing) -> FloatArray:
    """The network's input (sequences, i, j, k), as a job prepares it."""
    spec = VolumeSpec(
        preprocessing.sequences, preprocessing.spacing_mm, preprocessing.percentiles, preprocessing.margin_mm
    )
    return prepare_volume(case, spec).tensor


def measure(
    folder: Path, other: TorchSide, case: dict[str, Volume], window: int, spacings: list[float], rounds: int
) -> tuple[list[Comparison], Parity, list[JobTimes]]:
    """At each spacing both ways of running windows and one whole job; parity at the last."""
    files, blobs = write_case(folder, case), folder / "blobs"
    comparisons, jobs = [], []
    for spacing_mm in track(spacings, description="spacings"):
        models = folder / f"models-{spacing_mm:g}"
        preprocessing = write_bundle(models, folder / "model.onnx", window, spacing_mm, overlap=0.5)
        tensor = prepared(case, preprocessing)
        falx = FalxSide(models)
        comparisons.append(compare(falx, tensor, spacing_mm, other, rounds))
        jobs.append(do_job(store_inputs(blobs, files), models, blobs))
    return comparisons, same_lattice(falx, tensor, other), jobs


def main(
    torch_python: PathOption,
    run: Annotated[
        Path | None, typer.Option(help="Run folder of a volume segmenter; without it, random weights.")
    ] = None,
    output: PathOption = ROOT / "docs" / "benchmarks-volumes.md",
    spacing_mm: list[float] = [3.0, 1.5],  # noqa: B006  # typer copies it
    window: int = 48,
    rounds: int = 3,
    shape: tuple[int, int, int] = SHAPE,
) -> None:
    """Writes docs/benchmarks-volumes.md. TORCH_PYTHON is the Python of an environment with training's requirements."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with torch_side(torch_python, folder, window, run) as other:
            case = make_case(shape)
            comparisons, parity, jobs = measure(folder, other, case, window, spacing_mm, rounds)
            results = Results(comparisons, parity, jobs, other.versions, shape, window, trained=run is not None)
    write_report(output, results)
    typer.echo(f"wrote {output}")


if __name__ == "__main__":
    typer.run(main)
