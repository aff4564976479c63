"""One frame of PixelData as stored values: by pydicom, Pillow, our own RLE, and GDCM and OpenJPEG at arm's length."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydicom import uid
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder

from core.errors import FalxError, InvalidDicom, UnsupportedTransferSyntax
from core.imaging.dicom import rle
from core.imaging.dicom.file import READABLE
from core.imaging.dicom.header import Layout
from core.imaging.dicom.isolated import CODECS
from core.imaging.raster.containers import BrokenContainer, jpeg

_LOSSY_JPEG: Final = frozenset({uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit})
_JPEG_2000: Final = frozenset({uid.JPEG2000Lossless, uid.JPEG2000})
# libjpeg decodes lossy streams of 8 bits.
_LOSSY_BITS: Final = 8
_CODESTREAM: Final = b"\xff\x4f\xff\x51"


def decode_frame(data_set: Any, layout: Layout, index: int) -> npt.NDArray[Any]:
    """Stored values (rows, columns) of frame ``index``, whole numbers as the file keeps them.

    Raises ``InvalidDicom`` where PixelData is missing, too short, of another size or cannot be decoded,
    ``UnsupportedTransferSyntax`` for a variant of a syntax that no decoder here knows.
    """
    if "PixelData" not in data_set or not data_set["PixelData"].value:
        raise InvalidDicom("PixelData is missing: the file holds no image, or ends before it.")
    syntax = data_set.file_meta.TransferSyntaxUID
    try:
        frame = _decode(data_set, syntax, layout, index)
    except FalxError:
        raise
    except BrokenContainer as error:
        raise InvalidDicom(f"PixelData is not {syntax.name}. {error}") from error
    except Exception as error:
        raise InvalidDicom(f"PixelData cannot be decoded as {syntax.name}: it is truncated or broken.") from error
    if frame.shape != (layout.rows, layout.columns):
        raise InvalidDicom("PixelData does not have the size that Rows and Columns declare.")
    return frame


def _decode(data_set: Any, syntax: uid.UID, layout: Layout, index: int) -> npt.NDArray[Any]:
    if not syntax.is_encapsulated:
        return _with_pydicom(data_set, syntax, index, "")
    frame = _encoded(data_set, layout, index)
    if syntax == uid.RLELossless:
        return _arranged(rle.decode(frame, layout.rows * layout.columns, layout.allocated // 8), layout)
    if syntax in _JPEG_2000:
        _check_size(syntax, layout, *_j2k_size(frame))
        return _with_openjpeg(frame, syntax, layout)
    header = jpeg.frame_header(frame)
    _check_size(syntax, layout, header.height, header.width)
    if header.components != 1:
        raise InvalidDicom(f"PixelData holds {header.components} colour components, SamplesPerPixel declares 1.")
    if syntax not in _LOSSY_JPEG:
        return _with_gdcm(frame, syntax, layout, header.precision)
    if header.precision != _LOSSY_BITS:
        raise UnsupportedTransferSyntax(
            f"The transfer syntax is {syntax.name} with {header.precision} bits. Readable are: {READABLE}."
        )
    # Bounds its segments and scans, and refuses what makes a decoder go over the pixels again and again.
    jpeg.read(frame)
    return _with_pydicom(data_set, syntax, index, "pillow")


def _encoded(data_set: Any, layout: Layout, index: int) -> bytes:
    offsets = None
    if "ExtendedOffsetTable" in data_set and "ExtendedOffsetTableLengths" in data_set:
        offsets = (data_set.ExtendedOffsetTable, data_set.ExtendedOffsetTableLengths)
    return bytes(get_frame(data_set.PixelData, index, number_of_frames=layout.frames, extended_offsets=offsets))


def _check_size(syntax: uid.UID, layout: Layout, height: int, width: int) -> None:
    """Hold the size inside a compressed frame against the data set's before any decoder allocates for it."""
    if (height, width) != (layout.rows, layout.columns):
        raise InvalidDicom(
            f"PixelData ({syntax.name}) holds {width}x{height} pixels,"
            f" Columns and Rows declare {layout.columns}x{layout.rows}."
        )


def _j2k_size(frame: bytes) -> tuple[int, int]:
    """(height, width) in the SIZ segment of a codestream; bare, or inside the boxes of a JP2 file."""
    at = frame.find(_CODESTREAM, 0, 4096)
    siz = frame[at + 4 : at + 42]
    if at < 0 or len(siz) < 38:
        raise BrokenContainer("There is no complete codestream header.")
    x_end, y_end, x_start, y_start = (int.from_bytes(siz[i : i + 4], "big") for i in (4, 8, 12, 16))
    return y_end - y_start, x_end - x_start


def _with_pydicom(data_set: Any, syntax: uid.UID, index: int, plugin: str) -> npt.NDArray[Any]:
    """Through pydicom, with one named plugin, so that an answer never depends on what else is installed."""
    decoded, _ = get_decoder(syntax).as_array(data_set, index=index, raw=True, decoding_plugin=plugin)
    return np.asarray(decoded)


def _with_openjpeg(frame: bytes, syntax: uid.UID, layout: Layout) -> npt.NDArray[Any]:
    """Through OpenJPEG, as many bytes a pixel as come back."""
    bits = (layout.allocated, layout.stored)
    decoded = CODECS.decode(str(syntax), (layout.rows, layout.columns), bits, layout.signed, frame)
    width = len(decoded) // (layout.rows * layout.columns)
    values = np.frombuffer(decoded, np.dtype(f"<{'i' if layout.signed else 'u'}{width}"))
    return values.reshape(layout.rows, layout.columns)


def _with_gdcm(frame: bytes, syntax: uid.UID, layout: Layout, precision: int) -> npt.NDArray[Any]:
    """Through GDCM, which returns as many bytes per pixel as the stream's own precision needs."""
    width = 1 if precision <= 8 else 2
    bits = (8 * width, precision)
    decoded = CODECS.decode(str(syntax), (layout.rows, layout.columns), bits, layout.signed, frame)
    return _arranged(np.frombuffer(decoded, np.dtype(f"<u{width}")), layout)


def _arranged(values: npt.NDArray[Any], layout: Layout) -> npt.NDArray[Any]:
    """Unsigned values (pixels,) as (rows, columns), signed where the data set says so.

    Bits above BitsStored may hold anything: they are pushed out, and the sign is pushed back in.
    """
    whole = values.astype(f"{'i' if layout.signed else 'u'}{layout.allocated // 8}")
    unused = whole.dtype.type(layout.allocated - layout.stored)
    cleaned: npt.NDArray[Any] = (whole << unused) >> unused
    return cleaned.reshape(layout.rows, layout.columns)
