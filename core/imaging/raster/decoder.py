"""PNG, JPEG, TIFF, WebP and BMP to a grey slice: grey JPEGs through OpenCV, all others through Pillow."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from PIL import Image

from core.errors import FalxError, InvalidImage
from core.imaging import polyglot, sniff
from core.imaging.limits import ImageLimits
from core.imaging.patience import WaitedFor
from core.imaging.quiet import hush_decoders
from core.imaging.raster.containers import BrokenContainer, Container, read_container
from core.imaging.raster.grey import Grey, from_bytes, stretched, turned, widened
from core.imaging.slices import Slice

# Sizes are judged by ImageLimits, on the header, before Pillow sees the file. Pillow's own check would only warn,
# and would refuse what a site with higher limits allows.
Image.MAX_IMAGE_PIXELS = None

_FORMATS: Final = {
    sniff.PNG: "PNG",
    sniff.JPEG: "JPEG",
    sniff.TIFF: "TIFF",
    sniff.WEBP: "WEBP",
    sniff.BMP: "BMP",
}


def decode_raster(data: bytes, limits: ImageLimits) -> Slice:
    """The first frame or page of a raster file as a grey slice, upright.

    Raises ``InvalidImage`` where the file is broken or a polyglot, ``UnusableImage`` where it is sound but no slice,
    ``DecompressionBomb`` and ``InputTooLarge`` beyond the limits, ``DeadlineExceeded`` once nobody waits; nothing else,
    whatever the bytes are.
    """
    limits.check_bytes(len(data))
    media_type = sniff.sniff(data)
    if media_type not in _FORMATS:
        raise InvalidImage(f"The content is {sniff.describe(data)}, not a raster image.")
    name = sniff.NAMES[media_type]
    hush_decoders()
    try:
        return _decode(data, media_type, limits)
    except FalxError:
        raise
    except BrokenContainer as error:
        raise InvalidImage(str(error)) from error
    except MemoryError as error:
        raise InvalidImage(f"The {name} image needs more memory than there is.") from error
    except Exception as error:
        raise InvalidImage(f"The {name} image is truncated or broken.") from error


def _decode(data: bytes, media_type: str, limits: ImageLimits) -> Slice:
    container = read_container(data, media_type)
    limits.check_size(container.height, container.width)
    limits.check_frames(container.frames)
    polyglot.check_whole(data)
    notes = polyglot.check_tail(data[container.end :]) if container.end is not None else ()
    if container.frames > 1:
        what = "pages" if media_type == sniff.TIFF else "frames"
        notes = (f"The file has {container.frames} {what}; the first is used.", *notes)
    grey = _load_grey_jpeg(container) if container.grey_jpeg else _load_grey(container, _FORMATS[media_type])
    return Slice(
        pixels=turned(grey.pixels, container.orientation),
        media_type=media_type,
        colourfulness=grey.colourfulness,
        notes=(*notes, *grey.notes),
    )


def _load_grey_jpeg(container: Container) -> Grey:
    """A grey JPEG as Pillow decodes it, value for value, but without holding up Python's other threads."""
    pixels = cv2.imdecode(np.frombuffer(container.essence, np.uint8), cv2.IMREAD_GRAYSCALE)
    if pixels is None or pixels.shape != (container.height, container.width):
        raise BrokenContainer("The JPEG image is truncated or broken.")
    return Grey(from_bytes(np.asarray(pixels, np.uint8)))


def _load_grey(container: Container, plugin: str) -> Grey:
    image = _load(container, plugin)
    if container.dtype is None:
        return widened(image, container.white_is_zero)
    return stretched(image, np.dtype(container.dtype), container.swapped, container.white_is_zero)


def _load(container: Container, plugin: str) -> Image.Image:
    """The first frame, decoded. Only the one plugin may run, and only on what the container calls essential."""
    image = Image.open(WaitedFor(container.essence), formats=[plugin])
    if image.size != (container.width, container.height):
        raise BrokenContainer("The file declares two different sizes.")
    image.load()
    return image
