"""The one front door from an uploaded file to a slice."""

from __future__ import annotations

from core.imaging import sniff
from core.imaging.dicom.decoder import decode_dicom
from core.imaging.limits import ImageLimits
from core.imaging.raster.decoder import decode_raster
from core.imaging.slices import Slice

DEFAULT_LIMITS = ImageLimits()


def decode(data: bytes, declared: str | None = None, limits: ImageLimits = DEFAULT_LIMITS) -> Slice:
    """The slice in an uploaded file.

    ``declared`` is the media type that came with the bytes; None or ``application/octet-stream`` leave the bytes to
    speak for themselves. Any other type must be what the bytes are.

    Raises only ``core.errors.RequestError``, whatever the bytes are; the detail never quotes them.
    """
    limits.check_bytes(len(data))
    media_type = sniff.resolve(data, declared)
    if media_type == sniff.DICOM:
        return decode_dicom(data, limits)
    return decode_raster(data, limits)
