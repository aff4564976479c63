"""The outside of raster files: size, frames, orientation and end, read without decoding a pixel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from core.imaging import sniff
from core.imaging.raster.containers import bmp, jpeg, png, tiff, webp
from core.imaging.raster.containers.base import BrokenContainer, Container

_READERS: Final[dict[str, Callable[[bytes], Container]]] = {
    sniff.PNG: png.read,
    sniff.JPEG: jpeg.read,
    sniff.TIFF: tiff.read,
    sniff.WEBP: webp.read,
    sniff.BMP: bmp.read,
}


def read_container(data: bytes, media_type: str) -> Container:
    """Read the outside of a raster file whose bytes begin like ``media_type``.

    Raises ``BrokenContainer`` where the file ends early or contradicts itself, ``RequestError`` where it holds
    something that is refused.
    """
    return _READERS[media_type](data)


__all__ = ["BrokenContainer", "Container", "read_container"]
