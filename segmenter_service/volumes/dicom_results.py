"""A job's results as DICOM objects on the series that its labels lie on: what the job knows, in their words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from core.contracts.report import RegionMeasurement
from core.imaging.volume import LabelArray
from segmenter_service import VERSION
from segmenter_service.volumes.belief import Belief

if TYPE_CHECKING:
    from core.imaging.dicom.results.reference import Reference


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Origin:
    """Where results as DICOM belong: the series that the labels lie on, all series that were used, the job's time.

    ``labelmap`` and ``presentation`` are the worker's settings.
    """

    reference: Reference
    sources: tuple[Reference, ...]
    created: datetime
    labelmap: bool
    presentation: bool


def make_objects(
    labels: LabelArray, belief: Belief, report: Mapping[str, Any], pictures: Mapping[str, bytes], origin: Origin
) -> Mapping[str, bytes]:
    """Files by name: ``labels`` (i, j, k), the numbers of the ``report``, ``pictures`` (PNG, of one height) in a row.

    Raises ``ResultCorrupt``.
    """
    # pydicom and highdicom take as long to import as the rest of a job's process, and most jobs need neither.
    from core.imaging.dicom.results.findings import Findings
    from core.imaging.dicom.results.stamp import Device
    from core.imaging.dicom.results.write import Drawn, Forms, write_results

    regions, model = report["regions"], report["provenance"]["model"]
    measured = {name: RegionMeasurement.model_validate(found) for name, found in regions.items() if found is not None}
    findings = Findings(measured, belief.withheld, belief.experimental, belief.label_regions, tuple(report["warnings"]))
    panels = [_decoded(png) for png in pictures.values()]
    forms = Forms(origin.labelmap, origin.presentation)
    drawn = Drawn(labels, findings, np.ascontiguousarray(np.hstack(panels)), forms)
    device = Device(VERSION, model["name"], model["version"], model["sha256"])
    return write_results(drawn, origin.reference, origin.sources, device, origin.created)


def _decoded(png: bytes) -> npt.NDArray[np.uint8]:
    """A picture (h, w, 3) in RGB."""
    return np.asarray(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR_RGB), np.uint8)
