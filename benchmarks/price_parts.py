"""CPU milliseconds of the two steps of a request that need no server: preparation, and the run of the network.

A program of its own (``price_parts.py BUNDLE IMAGE THREADS SECONDS``), run in the checkout that it is to measure, which
may be an older one: it asks little of that. Prints one JSON line.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

import cv2

from classifier_service.model import prepare
from core.contracts.manifest import ClassificationPreprocessing, Manifest
from core.contracts.tensors import IMAGE
from core.imaging.limits import ImageLimits
from core.runtime.session import OrtSession

WARM_UP_RUNS = 20


def cpu_ms(step: Callable[[], object], threads: int, seconds: float) -> float:
    """CPU milliseconds of the process for one ``step``, with that many in a closed loop each on a thread."""
    for _ in range(WARM_UP_RUNS):
        step()
    counts: list[int] = []
    stop_at = time.perf_counter() + seconds

    def loop() -> None:
        count = 0
        while time.perf_counter() < stop_at:
            step()
            count += 1
        counts.append(count)

    workers = [threading.Thread(target=loop) for _ in range(threads)]
    before = time.process_time()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return (time.process_time() - before) * 1e3 / max(1, sum(counts))


def upload_of(data: bytes) -> tuple[Any, ...]:
    """The first arguments of ``prepare`` for one slice: an older checkout takes its bytes and their declared type."""
    if len(signature(prepare).parameters) > 3:
        return data, None
    from core.contracts.operations.bodies import IMAGE_PART
    from core.http.bodies import Upload

    return ({IMAGE_PART: Upload(data, None)},)


def main() -> None:
    """Reads the arguments, measures, prints JSON."""
    bundle, image, threads, seconds = sys.argv[1:]
    cv2.setNumThreads(1)
    try:
        from core.runtime.memory import keep_freed_memory
    except ImportError:
        pass  # an older checkout leaves memory to the C library
    else:
        keep_freed_memory()
    manifest = Manifest.model_validate_json((Path(bundle) / "manifest.json").read_bytes())
    spec = manifest.preprocessing
    assert isinstance(spec, ClassificationPreprocessing)
    data = Path(image).read_bytes()
    session = OrtSession(Path(bundle) / manifest.files[0].name, force_cpu=True)
    # As an older checkout's is another, its arguments are not checked.
    preparation: Callable[..., Any] = prepare
    upload = upload_of(data)
    inputs = {IMAGE: preparation(*upload, ImageLimits(), spec).tensor[None]}
    steps: dict[str, Callable[[], object]] = {
        "preparation": lambda: preparation(*upload, ImageLimits(), spec),
        "network": lambda: session.run(inputs),
    }
    print(json.dumps({name: cpu_ms(step, int(threads), float(seconds) / 2) for name, step in steps.items()}))


if __name__ == "__main__":
    main()
