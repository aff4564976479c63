"""The segmenter's own steps around the network: prepare one request's images, finish one answer.

The step between, running a batch, is the same for every network and lives in ``core.serving.model_server``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from core.contracts.common import InputCheckResult, ModelIdentity, TimingMs
from core.contracts.manifest import SegmentationPreprocessing
from core.contracts.operations.bodies import IMAGE_PART
from core.contracts.segmentation import Segmentation
from core.contracts.sequences import BACKDROP_ORDER
from core.imaging.decode import UploadedImage, decode_part
from core.imaging.limits import ImageLimits
from core.imaging.preparation.copies import find_copies
from core.imaging.preparation.input_check import check_input, check_slice
from core.imaging.preparation.transforms import ANY_SEQUENCE, Framed, Placement, prepare_segmentation
from core.imaging.slices import Slice
from segmenter_service.slices.masks import (
    count_pixels,
    encode_rle,
    find_bounding_box,
    find_candidate,
    measure_area_mm2,
    threshold_mask,
    trace_contours,
)

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

# The sequence that overlays are drawn on when several are given.
_BACKDROP_ORDER = (*BACKDROP_ORDER, ANY_SEQUENCE)
# Voxel sizes written by different tools differ in the last digits.
_SPACING_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """One request's slices by sequence, their ``tensor`` (4, S, S), and how it sits in the original pixels."""

    slices: Mapping[str, Slice]
    tensor: FloatArray
    placement: Placement
    # Of the least familiar slice.
    input_check: InputCheckResult
    # Sequences left out because they repeat another, with that one's name.
    copies: Mapping[str, str] = field(default_factory=dict)

    @property
    def backdrop(self) -> FloatArray:
        """The slice (h, w) in [0, 1] to draw on."""
        return next(self.slices[name].pixels for name in _BACKDROP_ORDER if name in self.slices)

    @property
    def spacing_mm(self) -> tuple[float, float] | None:
        """(row, column) spacing where the files agree on one."""
        known = [image.spacing_mm for image in self.slices.values() if image.spacing_mm is not None]
        agree = all(np.allclose(spacing, known[0], rtol=_SPACING_TOLERANCE, atol=0.0) for spacing in known)
        return known[0] if known and agree else None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What decoding left out and what does not fit together, with the sequence's name where there are several."""
        named = len(self.slices) > 1
        notes = [f"{name}: {note}" if named else note for name, image in self.slices.items() for note in image.notes]
        notes += [
            f"{name}: the file's header says {image.sequence}"
            for name, image in self.slices.items()
            if name != ANY_SEQUENCE and image.sequence not in (None, name)
        ]
        notes += [f"{name}: the same image as {kept}, so it was left out" for name, kept in self.copies.items()]
        if self.spacing_mm is None and any(image.spacing_mm for image in self.slices.values()):
            notes.append("the pixel spacings of the sequences differ, so no area is given")
        return tuple(notes)


@dataclass(frozen=True, slots=True, eq=False)
class Outlined:
    """A mask (h, w) in the uploaded image's own pixels, cut out of the ``probability`` (h, w) of each of them."""

    mask: BoolArray
    probability: FloatArray

    @property
    def max_probability(self) -> float:
        """The highest anywhere in the image."""
        return float(np.clip(self.probability.max(), 0.0, 1.0))


def prepare(uploads: Mapping[str, UploadedImage], limits: ImageLimits, spec: SegmentationPreprocessing) -> Prepared:
    """Decodes one request's images; runs in a decode thread. Raises ``RequestError`` for what cannot be used."""
    slices = {
        ANY_SEQUENCE if name == IMAGE_PART else name: decode_part(name, upload, limits)
        for name, upload in uploads.items()
    }
    pixels = {name: image.pixels for name, image in slices.items()}
    framed = {name: Framed.of(image.pixels) for name, image in slices.items()}
    tensor, placement = prepare_segmentation(pixels, spec, framed=framed)
    copies = find_copies(pixels, spec.sequences, spec.copy_correlation)
    return Prepared(slices, tensor, placement, _check(slices, framed), copies)


def _check(slices: Mapping[str, Slice], framed: Mapping[str, Framed]) -> InputCheckResult:
    """The check of the least familiar slice; its reasons name the sequence where there are several."""
    checked = {name: check_input(check_slice(image, framed[name]), None, 0.0, 0.0) for name, image in slices.items()}
    name, check = min(checked.items(), key=lambda item: item[1].score)
    if len(checked) == 1:
        return check
    return check.model_copy(update={"reasons": tuple(f"{name}: {reason}" for reason in check.reasons)})


def outline(prepared: Prepared, probability: FloatArray, threshold: float) -> Outlined:
    """Lays a probability map (S, S) back over the original pixels, and only then cuts it at ``threshold``."""
    restored = prepared.placement.restore(probability)
    return Outlined(threshold_mask(restored, threshold), restored)


def finish(
    prepared: Prepared,
    outlined: Outlined,
    threshold: float,
    *,
    identity: ModelIdentity,
    timing: TimingMs,
    request_id: str,
) -> Segmentation:
    """The answer for one request. Traces and encodes the whole mask: run it in a thread."""
    mask = outlined.mask
    tumor_pixels = count_pixels(mask)
    return Segmentation(
        size=prepared.placement.shape,
        tumor_pixels=tumor_pixels,
        area_mm2=measure_area_mm2(tumor_pixels, prepared.spacing_mm),
        mask=encode_rle(mask),
        contours=trace_contours(mask),
        bounding_box=find_bounding_box(mask),
        max_probability=outlined.max_probability,
        threshold=threshold,
        candidate=None if tumor_pixels else find_candidate(outlined.probability, prepared.spacing_mm),
        sequences=tuple(prepared.slices),
        input_check=prepared.input_check,
        model=identity,
        timing_ms=timing,
        warnings=prepared.warnings,
        request_id=request_id,
    )
