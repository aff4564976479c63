"""Whatever is done to a file, decoding answers with a slice or a refusal, and with nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom import uid

from core.errors import RequestError
from core.imaging.decode import decode
from core.imaging.slices import Slice
from tests.fixtures import images
from tests.fixtures.images import as_image, encode, make_dicom, make_head_slice

HEAD = make_head_slice(40, 48, seed=3)
WIDE = HEAD.astype(np.uint16) * 16
EXIF = Image.Exif()
EXIF[0x0112] = 6

FILES = {
    "png": images.to_png(HEAD),
    "png-16": images.to_png(WIDE),
    "png-palette": encode(as_image(HEAD).convert("RGB").quantize(16), "PNG", transparency=0),
    "png-animated": encode(as_image(HEAD), "PNG", save_all=True, append_images=[as_image(HEAD[::-1])]),
    "jpeg": encode(as_image(HEAD), "JPEG", exif=EXIF),
    "jpeg-progressive": encode(as_image(HEAD).convert("RGB"), "JPEG", progressive=True),
    "tiff": images.to_tiff(WIDE),
    "tiff-lzw": images.to_tiff(HEAD, compression="tiff_lzw"),
    "tiff-jpeg": images.to_tiff(HEAD, compression="jpeg"),
    "webp": images.to_webp(HEAD, exif=EXIF),
    "webp-lossy": images.to_webp(HEAD, lossless=False),
    "bmp": images.to_bmp(HEAD),
    "dicom": make_dicom(WIDE, bits_stored=12, elements={"WindowCenter": "600", "WindowWidth": "800"}),
    "dicom-implicit": make_dicom(WIDE, transfer_syntax=uid.ImplicitVRLittleEndian),
    "dicom-deflated": make_dicom(WIDE, transfer_syntax=uid.DeflatedExplicitVRLittleEndian),
    "dicom-rle": make_dicom(WIDE, transfer_syntax=uid.RLELossless),
    "dicom-jpeg": make_dicom(HEAD, transfer_syntax=uid.JPEGBaseline8Bit),
    "dicom-jpeg-lossless": make_dicom(WIDE, transfer_syntax=uid.JPEGLosslessSV1),
    "dicom-jpeg-ls": make_dicom(WIDE, transfer_syntax=uid.JPEGLSLossless),
    "dicom-jpeg-2000": make_dicom(WIDE, transfer_syntax=uid.JPEG2000Lossless),
}

PATCHES = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 6), st.binary(min_size=0, max_size=6)),
    min_size=1,
    max_size=6,
)


def patched(data: bytes, patches: list[tuple[float, int, bytes]]) -> bytes:
    """``data`` with some stretches cut out, overwritten or lengthened; headers, at the front, are hit most often."""
    for place, removed, inserted in patches:
        at = int(place**2 * len(data))
        data = data[:at] + inserted + data[at + removed :]
    return data


def answer(data: bytes) -> Slice | RequestError:
    try:
        return decode(data)
    except RequestError as refusal:
        return refusal


def answered(data: bytes) -> None:
    outcome = answer(data)
    if isinstance(outcome, RequestError):
        assert 400 <= outcome.status < 500
        assert outcome.detail.endswith(".")
        return
    pixels = outcome.pixels
    assert pixels.dtype == np.float32
    assert pixels.ndim == 2
    assert pixels.flags.c_contiguous
    assert 0 <= pixels.min() <= pixels.max() <= 1


SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("name", sorted(FILES))
@SETTINGS
@given(patches=PATCHES)
def test_mutations(name: str, patches: list[tuple[float, int, bytes]]) -> None:
    answered(patched(FILES[name], patches))


@pytest.mark.parametrize("name", sorted(FILES))
@settings(SETTINGS, max_examples=25)
@given(kept=st.floats(0, 1, exclude_max=True))
def test_truncations(name: str, kept: float) -> None:
    data = FILES[name]
    cut = data[: int(kept * len(data))]
    with pytest.raises(RequestError):
        # The DICOM files end with padding or delimiters that no reader needs.
        decode(cut if len(cut) < len(data) - 16 else data[:-16])


@given(data=st.binary(max_size=2_000))
@SETTINGS
def test_noise(data: bytes) -> None:
    with pytest.raises(RequestError):
        decode(data)


@pytest.mark.parametrize("name", sorted(FILES))
@settings(SETTINGS, max_examples=20)
@given(noise=st.binary(min_size=1, max_size=500))
def test_a_true_beginning_and_noise(name: str, noise: bytes) -> None:
    data = FILES[name]
    answered(data[: len(data) // 2] + noise + data[len(data) // 2 :])
