"""What a job hands over: the label map, the report, pictures of three planes.

When asked for, probabilities too, and the backdrop: the sequence that lies behind the labels, for viewers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

from core.contracts.base import DISCLAIMER
from core.contracts.jobs import OutputName, StoredFile
from core.contracts.nifti import NiftiGeometry
from core.contracts.regions import CHANNELS
from core.imaging.nifti.file import write_nifti
from core.imaging.preparation.geometry import WorkingSpace
from core.imaging.volume import LabelArray, Volume
from segmenter_service.volumes.belief import Belief
from segmenter_service.volumes.dicom_results import Origin, make_objects
from segmenter_service.volumes.files import JobFiles
from segmenter_service.volumes.planes import render_planes, to_grey

FloatArray = npt.NDArray[np.float32]

PROBABILITIES: Final[OutputName] = "probabilities"
# It shows the patient as the inputs do, a face included.
BACKDROP: Final[OutputName] = "backdrop"

_NIFTI: Final = "application/gzip"
_DICOM: Final = "application/dicom"
# Fewer different values make files that compress to a third; a probability is not known to a thousandth.
_DECIMALS: Final = 3


@dataclass(frozen=True, slots=True, eq=False)
class Segmented:
    """A segmented volume: ``labels`` on the grid of ``geometry``, ``probabilities`` (channels, ...) in ``space``.

    ``backdrop`` is the sequence, on the grid of the labels, that the pictures show. The labels are those that are
    handed over, and ``belief`` says which regions are shown of it.
    """

    labels: LabelArray
    probabilities: FloatArray
    space: WorkingSpace
    geometry: NiftiGeometry
    backdrop: Volume
    belief: Belief


def save_results(
    files: JobFiles,
    segmented: Segmented,
    report: Mapping[str, Any],
    outputs: tuple[OutputName, ...],
    origin: Origin | None = None,
) -> list[StoredFile]:
    """Store every result; with an ``origin`` as DICOM objects too, which are made before anything is stored.

    Raises ``ResultCorrupt``, ``StorageFull``, ``StorageUnavailable``.
    """
    pictures = dict(sorted(render_planes(segmented.backdrop, segmented.labels, segmented.belief).items()))
    objects = make_objects(segmented.labels, segmented.belief, report, pictures, origin) if origin else {}
    results = [
        files.save(
            "segmentation.nii.gz",
            _NIFTI,
            partial(write_nifti, voxels=segmented.labels, geometry=segmented.geometry),
        ),
        files.save("report.json", "application/json", partial(_write_json, content=_whole(report, segmented.belief))),
    ]
    for name, picture in pictures.items():
        results.append(files.save(f"{name}.png", "image/png", partial(_write_bytes, content=picture)))
    if BACKDROP in outputs:
        grey = to_grey(segmented.backdrop)
        write = partial(write_nifti, voxels=grey, geometry=segmented.geometry, labels=False, window=(0, 255))
        results.append(files.save("backdrop.nii.gz", _NIFTI, write))
    if PROBABILITIES in outputs:
        for region, channel in _restored(segmented):
            write = partial(write_nifti, voxels=channel, geometry=segmented.geometry)
            results.append(files.save(f"probability_{region}.nii.gz", _NIFTI, write))
    for name, content in sorted(objects.items()):
        results.append(files.save(name, _DICOM, partial(_write_bytes, content=content)))
    return results


def _restored(segmented: Segmented) -> Iterator[tuple[str, FloatArray]]:
    """Probabilities of the regions that are shown, on the input's grid, one in memory at a time."""
    for (name, region), channel in zip(CHANNELS.items(), segmented.probabilities, strict=True):
        if region in segmented.belief.withheld:
            continue
        restored = segmented.space.restore(channel)
        yield name, np.clip(restored.round(_DECIMALS, out=restored), 0.0, 1.0, out=restored)


def _write_bytes(file: BinaryIO, content: bytes) -> None:
    file.write(content)


def _whole(report: Mapping[str, Any], belief: Belief) -> Mapping[str, Any]:
    labels = {str(label): name for label, name in belief.label_names.items()}
    return {"schema_version": 1, "labels": labels, **report, "disclaimer": DISCLAIMER}


def _write_json(file: BinaryIO, content: Mapping[str, Any]) -> None:
    file.write(json.dumps(content, indent=2).encode() + b"\n")
