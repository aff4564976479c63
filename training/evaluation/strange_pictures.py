"""Pictures that the input check must refuse: a folder of kinds, and the CT heads among the data's own slices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.contracts.manifest import ClassificationPreprocessing
from core.errors import RequestError
from core.imaging.limits import ImageLimits
from core.imaging.preparation.input_check import Finding
from core.imaging.raster.decoder import decode_raster
from core.imaging.slices import Slice
from training.classification.checked import evenly, prepare
from training.data.archives import FloatArray
from training.data.labelled import ct_heads, read_greys
from training.data.published import SlicesTable

CT_HEADS = "ct_heads_of_the_data"


@dataclass(frozen=True)
class Pictures:
    """Strange pictures: inputs float32 (n, 1, s, s), findings, kind and group of each, and files that cannot be read.

    The group is the name up to its first hyphen: cuts of one volume, or parts of one photograph, count as one.
    """

    images: FloatArray
    findings: tuple[tuple[Finding, ...], ...]
    kinds: tuple[str, ...]
    groups: tuple[str, ...]
    unreadable: tuple[str, ...]


def load_pictures(
    folder: Path | None, data: Path, spec: ClassificationPreprocessing, limit: int | None = None
) -> Pictures:
    """Pictures in ``folder``/KIND, and the CT heads among the data's own slices where it has them."""
    found: list[tuple[str, str, Slice]] = []
    unreadable = []
    for kind in sorted(path for path in folder.iterdir() if path.is_dir()) if folder else ():
        files = sorted(path for path in kind.iterdir() if path.is_file())
        for path in (files[place] for place in evenly(len(files), limit)):
            try:
                found.append((kind.name, path.stem, decode_raster(path.read_bytes(), ImageLimits())))
            except RequestError:
                unreadable.append(f"{kind.name}/{path.name}")
    if SlicesTable.recognises(data):
        rows = [row for row in SlicesTable(data).describe() if row.image in ct_heads()]
        greys = zip(rows, read_greys(data, rows), strict=True)
        found += [(CT_HEADS, Path(row.image).stem, Slice(grey, "image/jpeg")) for row, grey in greys]
    prepared = [prepare(image, spec) for _, _, image in found]
    return Pictures(
        np.array([tensor for tensor, _, _ in prepared], np.float32).reshape(-1, 1, spec.size, spec.size),
        tuple(findings for _, _, findings in prepared),
        tuple(kind for kind, _, _ in found),
        tuple(f"{kind}/{name.split('-')[0]}" for kind, name, _ in found),
        tuple(unreadable),
    )
