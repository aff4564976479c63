"""Arrays: their types, images read out of tar archives, and prepared arrays cached beside the runs."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

BoolArray = npt.NDArray[np.bool_]
UInt8Array = npt.NDArray[np.uint8]
IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]

CACHE_FOLDER = Path(".cache/training")
# Raise when the shape or meaning of cached arrays changes, so that old caches are not read.
_CACHE_VERSION = 1


@contextmanager
def tar_images(*archives: Path) -> Iterator[Callable[[str], FloatArray]]:
    """Reads images of tar archives by member name, grey float32 (h, w) in [0, 1]; closes the archives in the end."""
    with ExitStack() as stack:
        tars = [stack.enter_context(tarfile.open(path)) for path in archives]
        members = {member.name: (tar, member) for tar in tars for member in tar.getmembers()}

        def grey(name: str) -> FloatArray:
            tar, member = members[name]
            stream = tar.extractfile(member)
            if stream is None:
                raise FileNotFoundError(name)
            with Image.open(io.BytesIO(stream.read())) as image:
                return np.asarray(image.convert("L"), np.float32) / np.float32(255)

        yield grey


def read_rows(path: Path) -> list[dict[str, str]]:
    """A CSV file as one dictionary a row."""
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def to_uint8(values: FloatArray) -> UInt8Array:
    """[0, 1] as 0 to 255."""
    return np.rint(values * 255).astype(np.uint8)


def cached(
    name: str, key: Mapping[str, Any], build: Callable[[], dict[str, npt.NDArray[Any]]]
) -> dict[str, npt.NDArray[Any]]:
    """Arrays made by ``build`` once and read back (memory-mapped) ever after, for one name and set of parameters."""
    text = json.dumps({"version": _CACHE_VERSION, **key}, sort_keys=True, default=str)
    folder = CACHE_FOLDER / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    done = folder / "key.json"
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        for part, array in build().items():
            np.save(folder / f"{part}.npy", array)
        done.write_text(text)
    return {path.stem: np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy"))}
