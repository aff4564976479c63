"""``python -m benchmarks.volumes``: the worker's sliding windows beside MONAI's, and whole jobs, in one run."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track

from benchmarks.volumes_case import SHAPE, finer, make_case, write_bundle, write_case
from benchmarks.volumes_compare import Comparison, FalxSide, Parity, TorchSide, compare, same_lattice, torch_side
from benchmarks.volumes_job import JobTimes, do_job, store_inputs
from benchmarks.volumes_report import Results, write_report
from core.contracts.manifest import VolumePreprocessing
from core.imaging.preparation.volume_transforms import VolumeSpec, prepare_volume
from core.imaging.volume import FloatArray, Volume

ROOT = Path(__file__).parents[1]

PathOption = Annotated[Path, typer.Option()]


def prepared(case: dict[str, Volume], preprocessing: VolumePreprocessing) -> FloatArray:
    """The network's input (sequences, i, j, k), as a job prepares it."""
    return prepare_volume(case, VolumeSpec.of(preprocessing)).tensor


def measure(
    folder: Path, other: TorchSide, case: dict[str, Volume], factors: list[float], rounds: int
) -> tuple[list[Comparison], Parity, list[JobTimes]]:
    """At each spacing both ways of running windows and one whole job; parity at the last."""
    files, blobs = write_case(folder, case), folder / "blobs"
    comparisons, jobs = [], []
    for factor in track(factors, description="spacings"):
        models, network = folder / f"models-{factor:g}", finer(other.network, factor)
        write_bundle(models, network)
        tensor = prepared(case, network.preprocessing)
        falx = FalxSide(models)
        int8 = None if network.int8 is None else FalxSide(models, "int8")
        comparisons.append(compare(falx, tensor, other, rounds, int8))
        jobs.append(do_job(store_inputs(blobs, files), models, blobs))
    return comparisons, same_lattice(falx, tensor, other), jobs


def main(
    torch_python: PathOption,
    run: Annotated[
        Path | None, typer.Option(help="Run folder of a volume segmenter; without it, the preset and random weights.")
    ] = None,
    output: PathOption = ROOT / "docs" / "benchmarks-volumes.md",
    factor: Annotated[
        list[float], typer.Option(help="On the network's spacing, which the first, 1, leaves alone; smaller is finer.")
    ] = [1.0, 0.667],  # noqa: B006  # typer copies it
    rounds: int = 3,
    shape: tuple[int, int, int] = SHAPE,
) -> None:
    """Writes docs/benchmarks-volumes.md. TORCH_PYTHON is the Python of an environment with training's requirements."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with torch_side(torch_python, folder, run) as other:
            comparisons, parity, jobs = measure(folder, other, make_case(shape), factor, rounds)
            results = Results(comparisons, parity, jobs, other.versions, shape, other.network, trained=run is not None)
    write_report(output, results)
    typer.echo(f"wrote {output}")


if __name__ == "__main__":
    typer.run(main)
