"""The ceiling: decode, preprocess and run on threads of one process, with nothing in between.

Started as a process of its own (``python -m benchmarks.raw BUNDLE FILE IMAGE THREADS SECONDS``) so that its CPU time is
counted as a server's is. Prints one JSON line.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

import cv2
import onnxruntime as ort

from core.contracts.manifest import ClassificationPreprocessing, Manifest
from core.contracts.tensors import IMAGE
from core.imaging.decode import decode
from core.imaging.limits import ImageLimits
from core.imaging.preparation.transforms import prepare_classification

WARM_UP_RUNS = 3


def open_session(path: Path) -> ort.InferenceSession:
    """Opens the graph with the settings that are fastest on CPU: one thread a run, no spinning."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def classify(session: ort.InferenceSession, image: bytes, spec: ClassificationPreprocessing) -> None:
    """One request's work: bytes in, every output of the graph out."""
    slice_ = decode(image, None, ImageLimits())
    prepared, _ = prepare_classification(slice_.pixels, spec)
    session.run(None, {IMAGE: prepared[None]})


def measure(
    session: ort.InferenceSession, image: bytes, spec: ClassificationPreprocessing, threads: int, seconds: float
) -> dict[str, object]:
    """Runs ``threads`` closed loops for ``seconds`` and returns latencies in ms, wall and CPU seconds."""
    for _ in range(WARM_UP_RUNS):
        classify(session, image, spec)
    latencies: list[float] = []
    stop_at = time.perf_counter() + seconds

    def loop() -> None:
        while time.perf_counter() < stop_at:
            started = time.perf_counter()
            classify(session, image, spec)
            latencies.append((time.perf_counter() - started) * 1e3)

    workers = [threading.Thread(target=loop) for _ in range(threads)]
    wall, cpu = time.perf_counter(), time.process_time()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return {
        "latencies_ms": latencies,
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu,
        "failed": 0,
    }


def main() -> None:
    """Reads the arguments, measures, prints JSON."""
    bundle, file, image, threads, seconds = sys.argv[1:]
    cv2.setNumThreads(1)
    manifest = Manifest.model_validate_json((Path(bundle) / "manifest.json").read_bytes())
    spec = manifest.preprocessing
    assert isinstance(spec, ClassificationPreprocessing)
    result = measure(
        open_session(Path(bundle) / file), Path(image).read_bytes(), spec, threads=int(threads), seconds=float(seconds)
    )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
