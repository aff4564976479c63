"""The one front door from an uploaded file to a slice."""

from __future__ import annotations

from typing import Protocol

from core.contracts.operations.bodies import IMAGE_PART
from core.errors import FieldError, RequestError
from core.imaging import sniff
from core.imaging.dicom.decoder import decode_dicom
from core.imaging.limits import ImageLimits
from core.imaging.patience import check_waited_for
from core.imaging.raster.decoder import decode_raster
from core.imaging.slices import Slice

DEFAULT_LIMITS = ImageLimits()


class UploadedImage(Protocol):
    """Bytes and what the caller says they are."""

    @property
    def data(self) -> bytes:
        """The file as it came."""

    @property
    def media_type(self) -> str | None:
        """As declared; None leaves the bytes to speak for themselves."""


def decode(data: bytes, declared: str | None = None, limits: ImageLimits = DEFAULT_LIMITS) -> Slice:
    """The slice in an uploaded file.

    ``declared`` is the media type that came with the bytes; None or ``application/octet-stream`` leave the bytes to
    speak for themselves. Any other type must be what the bytes are.

    Raises only ``core.errors.RequestError``, whatever the bytes are, and ``DeadlineExceeded`` once nobody waits for the
    slice (``core.imaging.patience``); the detail never quotes them.
    """
    check_waited_for()
    limits.check_bytes(len(data))
    media_type = sniff.resolve(data, declared)
    if media_type == sniff.DICOM:
        return decode_dicom(data, limits)
    return decode_raster(data, limits)


def decode_part(name: str, upload: UploadedImage, limits: ImageLimits) -> Slice:
    """``decode`` for the part called ``name``: a refusal names the part, where it is not the single image."""
    try:
        return decode(upload.data, upload.media_type, limits)
    except RequestError as error:
        # The decoder knows bytes, not parts: with several images the caller must learn which one is at fault.
        if name != IMAGE_PART and not error.errors:
            error.errors = (FieldError(f"part/{name}", error.detail),)
        raise
