"""MR in DICOM to a grey slice: rescaled, windowed, white on black."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from core.errors import FalxError, InvalidDicom
from core.imaging import polyglot, sniff
from core.imaging.dicom import header as dicom_header
from core.imaging.dicom.file import read_data_set
from core.imaging.dicom.header import Header, Layout
from core.imaging.dicom.pixels import decode_frame
from core.imaging.dicom.selection.acquisition import read_acquisition
from core.imaging.dicom.selection.table import series_table
from core.imaging.dicom.sequence import guess
from core.imaging.dicom.voi import Window
from core.imaging.limits import ImageLimits
from core.imaging.quiet import hush_decoders
from core.imaging.ramp import extremes, full_range
from core.imaging.slices import FloatArray, Slice

_NOT_PLAIN: Final = (
    "The file holds a computed image or the like, {} (ImageType): the models know plain T1, T2 and FLAIR."
)
_BROKEN: Final = "The DICOM file is broken."


def decode_dicom(data: bytes, limits: ImageLimits) -> Slice:
    """The slice of a single-frame MR file, or the middle frame (index n // 2) of a multi-frame one.

    Raises ``InvalidDicom``, ``NotMr``, ``UnsupportedTransferSyntax``, ``UnusableImage``, ``DecompressionBomb`` or
    ``InputTooLarge``; no detail quotes an element that may hold patient data.
    """
    limits.check_bytes(len(data))
    hush_decoders()
    try:
        return _decode(data, limits)
    except FalxError:
        raise
    except Exception as error:
        raise InvalidDicom(_BROKEN) from error


def _decode(data: bytes, limits: ImageLimits) -> Slice:
    polyglot.check_whole(data)
    data_set = read_data_set(data, limits)
    header = Header(data_set)
    modality = dicom_header.check_modality(header)
    layout = dicom_header.read_layout(header, limits)
    index = layout.frames // 2
    header = header.at(index)
    stored = decode_frame(data_set, layout, index)
    pixels, notes = _shown(stored, header, layout)
    if layout.frames > 1:
        notes = (f"The file has {layout.frames} frames; frame {index + 1}, the middle one, is used.", *notes)
    computed = _computed(header)
    if computed is not None:
        notes = (_NOT_PLAIN.format(computed), *notes)
    return Slice(
        pixels=np.ascontiguousarray(pixels),
        media_type=sniff.DICOM,
        spacing_mm=dicom_header.read_spacing(header),
        sequence=guess(read_acquisition(header)),
        modality=modality,
        computed=computed,
        notes=notes,
    )


def _shown(stored: npt.NDArray[Any], header: Header, layout: Layout) -> tuple[FloatArray, tuple[str, ...]]:
    """Stored values (h, w) as display values in [0, 1], and what there is to say of them."""
    slope, intercept = dicom_header.read_rescale(header)
    values: FloatArray = np.multiply(stored, np.float32(slope), dtype=np.float32)
    values += np.float32(intercept)
    padding = header.number("PixelPaddingValue")
    counted = None if padding is None else stored != padding
    window, notes = _window(header)
    if window is not None and _hides_all(window, values, counted):
        window, notes = None, ("The window of the file lies outside its values; the full range is shown.",)
    shown = full_range(values, counted) if window is None else window.apply(values)
    if layout.inverted:
        np.subtract(1.0, shown, out=shown)
    if counted is not None:
        shown[~counted] = 0.0
    return shown, notes


def _window(header: Header) -> tuple[Window | None, tuple[str, ...]]:
    """The window to show the frame through; None for the full range, with a note where the file asks for more."""
    window = dicom_header.read_window(header)
    if window is None:
        if header.value("VOILUTSequence"):
            return None, ("The VOI lookup table of the file is not applied; the full range is shown.",)
        return None, ()
    if not window.valid:
        return None, ("The window of the file is not valid; the full range is shown.",)
    return window, ()


def _hides_all(window: Window, values: FloatArray, counted: npt.NDArray[np.bool_] | None) -> bool:
    """Whether the window shows pixels that differ as one black or white plane."""
    low, high = extremes(values, counted)
    black, white = window.bounds
    return low < high and (high <= black or low >= white)


def _computed(header: Header) -> str | None:
    """The word of ImageType that says that the pixels are computed values, which look like an MR image and are none."""
    named = {text.upper().replace("_", " ") for text in header.texts("ImageType")}
    return min(named & series_table().computed, default=None)
