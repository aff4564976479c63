"""A file may be cut into only so many pieces: each bound, by counts just above it, with pieces that do no harm."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from pydicom import uid

from core.errors import DecompressionBomb, InputTooLarge, InvalidDicom, InvalidImage, RequestError, UnusableImage
from core.imaging.decode import decode
from core.imaging.dicom import rle
from core.imaging.dicom.isolated import CodecPool
from core.imaging.polyglot import check_tail
from core.imaging.raster.containers import jpeg, tiff
from core.imaging.raster.containers.base import MAX_PIECES
from drills.inputs.raster import CASES, chunk
from tests.fixtures.images import as_image, encode, encode_frame, make_dicom, make_head_slice, make_jpeg, make_png
from tests.fixtures.tiffs import make_tiff

HEAD = make_head_slice(40, 48, seed=3)
PNG = make_png(40, 48)
JPEG = make_jpeg(40, 48)
WEBP = encode(as_image(HEAD), "WEBP", lossless=True, exif=b"Exif\0\0II*\0\x08\0\0\0\0\0")
PROGRESSIVE = encode(as_image(HEAD), "JPEG", progressive=True)
TIFF_JPEG = encode(as_image(HEAD), "TIFF", compression="jpeg")


def more_chunks(count: int, kind: bytes = b"tEXt") -> bytes:
    at = PNG.index(b"IDAT") - 4
    return PNG[:at] + chunk(kind, b"") * count + PNG[at:]


def more_segments(count: int) -> bytes:
    return JPEG[:2] + b"\xff\xfe\0\2" * count + JPEG[2:]


def more_fill(count: int) -> bytes:
    return JPEG[:2] + b"\xff" * count + JPEG[2:]


def more_scans(count: int) -> bytes:
    """The last scan of a progressive JPEG ``count`` times more."""
    start = PROGRESSIVE.rindex(b"\xff\xc4", 0, PROGRESSIVE.rindex(b"\xff\xda"))
    return PROGRESSIVE[:-2] + PROGRESSIVE[start:-2] * count + PROGRESSIVE[-2:]


def more_webp_chunks(count: int) -> bytes:
    data = WEBP + (b"ABCD" + bytes(4)) * count
    return data[:4] + struct.pack("<I", len(data) - 8) + data[8:]


def run_length_bmp(width: int, height: int, more: int = 0) -> bytes:
    pixels = (b"\xff\x05" * (width // 255) + bytes([width % 255, 5, 0, 0])) * height + b"\0\1" + bytes(more)
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(pixels), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 1078 + len(pixels), 0, 0, 1078) + header + bytes(1024) + pixels


def with_values(tag: int, count: int) -> bytes:
    """A TIFF whose ``tag`` has ``count`` values, all of them zero, at the end of the file."""
    data = bytearray(make_tiff(HEAD))
    entry = data.index(struct.pack("<HH", tag, 4))
    struct.pack_into("<II", data, entry + 4, count, len(data))
    return bytes(data) + bytes(4 * count)


def tiled(width: int, height: int, tile: int) -> bytes:
    """A TIFF of one tile, which is all zeros."""
    body = zlib.compress(bytes(tile * tile))
    tags = [(256, width), (257, height), (258, 8), (259, 8), (262, 1), (277, 1), (322, tile), (323, tile), (324, 8)]
    tags.append((325, len(body)))
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    at = 8 + len(body) + len(body) % 2
    head = b"II*\0" + struct.pack("<I", at)
    return head + body + bytes(len(body) % 2) + struct.pack("<H", len(tags)) + entries + bytes(4)


def more_meta(count: int) -> bytes:
    data = make_dicom(HEAD)
    return data[:132] + b"\x02\0\x99\0LO\0\0" * count + data[132:]


def lookup_table(size: int) -> bytes:
    """A DICOM file with a VOILUTSequence of ``size`` bytes, most of them one text."""
    text = struct.pack("<HH", 0x0028, 0x3003) + b"UT\0\0" + struct.pack("<I", size - 20) + b" " * (size - 20)
    item = b"\xfe\xff\x00\xe0" + struct.pack("<I", len(text)) + text
    element = b"\x28\x00\x10\x30SQ\0\0" + struct.pack("<I", len(item)) + item
    data = make_dicom(HEAD)
    at = data.index(b"\xe0\x7f\x10\x00")
    return data[:at] + element + data[at:]


SOUND = {
    "png-chunks": lambda: more_chunks(MAX_PIECES - 10),
    "png-empty-idat": lambda: more_chunks(MAX_PIECES - 10, b"IDAT"),
    "jpeg-segments": lambda: more_segments(MAX_PIECES - 20),
    "jpeg-fill": lambda: more_fill(1_023),
    "jpeg-scans": lambda: more_scans(90),
    "webp-chunks": lambda: more_webp_chunks(MAX_PIECES - 10),
    "bmp-runs": lambda: run_length_bmp(2_000, 2_000),
    "tiff-tile-of-usual-size": lambda: tiled(40, 48, 1_024),
    "dicom-meta": lambda: more_meta(1_000),
    "dicom-sequences": lambda: lookup_table(4 * 1024 * 1024),
}
BEYOND: dict[str, tuple[Callable[[], bytes], type[RequestError], str]] = {
    "png-chunks": (lambda: more_chunks(MAX_PIECES), InputTooLarge, "too many chunks: the limit is 65536"),
    "png-empty-idat": (lambda: more_chunks(MAX_PIECES, b"IDAT"), InputTooLarge, "too many chunks"),
    "jpeg-segments": (lambda: more_segments(MAX_PIECES + 1), InputTooLarge, "too many segments"),
    "jpeg-fill": (lambda: more_fill(1_024), InvalidImage, "more than 1024 fill bytes"),
    "jpeg-scans": (lambda: more_scans(101), DecompressionBomb, "more than 100 scans"),
    "webp-chunks": (lambda: more_webp_chunks(MAX_PIECES), InputTooLarge, "too many chunks"),
    "bmp-run-pixels": (lambda: run_length_bmp(2_000, 2_001), DecompressionBomb, "4002000"),
    "bmp-run-bytes": (lambda: run_length_bmp(64, 64, 4 * 1024 * 1024), InputTooLarge, "4194304 bytes"),
    "tiff-strips": (lambda: with_values(273, MAX_PIECES + 1), InputTooLarge, "too many values in tag 273"),
    "tiff-tile": (lambda: tiled(40, 48, 1_040), DecompressionBomb, "1081600 pixels, the image 1920"),
    "dicom-meta": (lambda: more_meta(1_025), InputTooLarge, "more than 1024 elements"),
    "dicom-sequences": (lambda: lookup_table(4 * 1024 * 1024 + 2), InputTooLarge, "more than 4194304 bytes"),
}


@pytest.mark.parametrize("name", SOUND)
def test_what_is_within_a_bound_is_read(name: str) -> None:
    assert min(decode(SOUND[name]()).shape) >= 40


@pytest.mark.parametrize("name", BEYOND)
def test_what_is_beyond_a_bound_is_refused_before_a_pixel_is_decoded(name: str) -> None:
    data, error, words = BEYOND[name]
    with pytest.raises(error, match=words):
        decode(data())


def test_scans_count_by_their_samples() -> None:
    work = jpeg._Work(24_000_000)
    scan = jpeg.Segment(0xDA, 0, 8)
    for _ in range(29):
        work.add(scan, b"\xff\xda\0\6\1\0\0\0")
    with pytest.raises(DecompressionBomb, match="more than 700000000 samples"):
        work.add(scan, b"\xff\xda\0\6\1\0\0\0")


def test_a_jpeg_of_a_process_that_few_read_is_refused() -> None:
    for marker in (0xC3, 0xC5, 0xC9, 0xCA):
        with pytest.raises(UnusableImage, match="arithmetic"):
            decode(JPEG.replace(b"\xff\xc0", bytes([0xFF, marker]), 1))


def test_strips_that_overlap_are_refused() -> None:
    """A file may name one stretch of its bytes many times over, each of which would be read."""
    data = bytearray(encode(as_image(make_head_slice(64, 64)), "TIFF", compression="tiff_deflate", strip_size=64))
    container = tiff.read(bytes(data))
    assert container.height == 64
    shape = tiff._Shape("<", big=False)
    entries = {entry.tag: entry for entry in tiff._directory(bytes(data), shape, int.from_bytes(data[4:8], "little"))}
    sizes = entries[279]
    struct.pack_into(f"<{sizes.count}I", data, sizes.start, *[len(data) // 2] * sizes.count)
    starts = entries[273]
    struct.pack_into(f"<{starts.count}I", data, starts.start, *[8] * starts.count)
    with pytest.raises(InvalidImage, match="overlap"):
        decode(bytes(data))


def test_a_strip_of_many_scans_is_refused() -> None:
    assert decode(TIFF_JPEG).shape == (40, 48)
    with pytest.raises(DecompressionBomb, match="many scans"):
        tiff._check_scans(b"\xff\xda" * 5, [(0, 10)])
    tiff._check_scans(b"\xff\xda" * 4, [(0, 8)])


def test_jpeg_in_dicom_has_the_same_bounds() -> None:
    with pytest.raises(DecompressionBomb, match="more than 100 scans"):
        decode(make_dicom(HEAD, transfer_syntax=uid.JPEGBaseline8Bit, pixel_data=more_scans(101)))


def test_rle_in_many_pieces_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rle, "_MAX_CONTROLS", 100)
    frame = struct.pack("<16I", 1, 64, *[0] * 14) + b"\0\5" * 101
    assert rle.decode(frame[:-2] + b"\0", 100, 1).tolist() == [5] * 100
    with pytest.raises(InputTooLarge, match="pieces of RLE"):
        rle.decode(frame + b"\0", 101, 1)


def test_a_frame_that_takes_too_long_ends_its_decoder_and_no_other_frame() -> None:
    """More than a second's worth of noise, where one second is allowed."""
    noise = np.random.default_rng(0).integers(0, 256, (3_000, 3_000), dtype=np.uint8)
    slow, quick = (encode_frame(pixels, uid.JPEG2000Lossless, 8) for pixels in (noise, HEAD))
    pool = CodecPool(cpu_s=1)
    try:
        with pytest.raises(InputTooLarge, match="seconds to decode"):
            pool.decode(str(uid.JPEG2000Lossless), noise.shape, (8, 8), False, slow)
        assert pool.decode(str(uid.JPEG2000Lossless), HEAD.shape, (8, 8), False, quick) == HEAD.tobytes()
    finally:
        pool.close()


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_jpeg_2000_keeps_every_value(bits: int) -> None:
    pixels = (HEAD.astype(np.uint16) << (bits - 8)).astype(np.uint8 if bits == 8 else np.uint16)
    data = make_dicom(pixels, transfer_syntax=uid.JPEG2000Lossless, bits_stored=bits)
    plain = make_dicom(pixels, bits_stored=bits)
    assert np.array_equal(decode(data).pixels, decode(plain).pixels)


def test_a_broken_jpeg_2000_is_refused() -> None:
    frame = encode_frame(HEAD, uid.JPEG2000Lossless, 8)
    with pytest.raises(InvalidDicom, match="JPEG 2000"):
        decode(make_dicom(HEAD, transfer_syntax=uid.JPEG2000Lossless, pixel_data=frame[: len(frame) // 2]))


def test_the_first_file_behind_an_image_is_named() -> None:
    with pytest.raises(InvalidImage, match="a PDF document"):
        check_tail(b"xx%PDF-1.4 then <SCRIPT> and PK\x03\x04")
    with pytest.raises(InvalidImage, match="markup"):
        check_tail(b"xx<ScRiPt>%PDF-")


def test_the_costliest_files_are_read() -> None:
    """The drill measures them at full size; that they are what they should be shows at a small one."""
    for name, make in CASES.items():
        assert decode(make(256)).shape[0] >= 64, name
    assert Image.MAX_IMAGE_PIXELS is None
