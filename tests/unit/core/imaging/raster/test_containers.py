"""The outside of raster files: what is read from headers alone, and what never reaches a decoder."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

from core.errors import DecompressionBomb, InvalidImage, UnusableImage
from core.imaging.decode import decode
from core.imaging.raster.containers import BrokenContainer, read_container
from tests.fixtures import broken, images
from tests.fixtures.images import as_image, encode, make_head_slice

HEAD = make_head_slice(48, 80, seed=9)
FILES = {
    "image/png": images.to_png(HEAD),
    "image/jpeg": images.to_jpeg(HEAD),
    "image/tiff": images.to_tiff(HEAD),
    "image/webp": images.to_webp(HEAD),
    "image/bmp": images.to_bmp(HEAD),
}


@pytest.mark.parametrize("media_type", sorted(FILES))
def test_size_and_end(media_type: str) -> None:
    data = FILES[media_type]
    container = read_container(data + b"tail", media_type)
    assert (container.height, container.width, container.frames, container.orientation) == (48, 80, 1, 1)
    assert container.end == (None if media_type == "image/tiff" else len(data))
    assert not container.essence.endswith(b"tail") or media_type == "image/tiff"


def test_both_kinds_of_webp_tell_their_size() -> None:
    for options in ({"lossless": True}, {"lossless": False}, {"lossless": True, "exif": Image.Exif()}):
        container = read_container(images.to_webp(HEAD, **options), "image/webp")
        assert (container.height, container.width) == (48, 80)


def test_rows_from_top_to_bottom_and_old_headers_of_bmp() -> None:
    flipped = bytearray(FILES["image/bmp"])
    struct.pack_into("<i", flipped, 22, -48)
    assert np.array_equal(decode(bytes(flipped)).pixels[::-1], decode(FILES["image/bmp"]).pixels)
    rows = HEAD[::-1]
    palette = b"".join(bytes([n, n, n]) for n in range(256))
    head = struct.pack("<2sIHHI", b"BM", 26 + 768 + HEAD.size, 0, 0, 26 + 768) + struct.pack("<IHHHH", 12, 80, 48, 1, 8)
    assert np.array_equal(decode(head + palette + rows.tobytes()).pixels, decode(FILES["image/png"]).pixels)


def test_metadata_never_reaches_the_decoder() -> None:
    exif = Image.Exif()
    exif[0x010E] = "SECRET"
    comment = b"\xff\xfe\x00\x08SECRET"
    jpeg = encode(as_image(HEAD), "JPEG", exif=exif)
    files = {
        "image/png": broken.png_with(broken.png_chunk(b"tEXt", b"Comment\0SECRET"), FILES["image/png"]),
        "image/jpeg": jpeg[:2] + comment + jpeg[2:],
    }
    for media_type, data in files.items():
        assert b"SECRET" in data
        assert b"SECRET" not in read_container(data, media_type).essence
        assert decode(data).shape == (48, 80)


def test_the_description_of_a_tiff_is_not_in_its_one_directory() -> None:
    exif = Image.Exif()
    exif[0x010E] = "SECRET"
    essence = read_container(encode(as_image(HEAD), "TIFF", exif=exif), "image/tiff").essence
    with Image.open(io.BytesIO(essence)) as image:
        assert 0x010E not in image.getexif()
        assert getattr(image, "n_frames", 1) == 1


def big_tiff(pixels: images.ByteArray) -> bytes:
    height, width = pixels.shape
    tags = [
        (256, width),
        (257, height),
        (258, 8),
        (259, 1),
        (262, 1),
        (273, 16),
        (277, 1),
        (278, height),
        (279, pixels.size),
    ]
    entries = b"".join(struct.pack("<HHQQ", tag, 4, 1, value) for tag, value in tags)
    directory = struct.pack("<Q", len(tags)) + entries + struct.pack("<Q", 0)
    return b"II+\0" + struct.pack("<HHQ", 8, 0, 16 + pixels.size) + pixels.tobytes() + directory


def test_big_tiff_is_read() -> None:
    assert np.array_equal(decode(big_tiff(HEAD)).pixels, decode(FILES["image/png"]).pixels)


def test_a_chain_of_directories_that_bites_its_tail_ends() -> None:
    data = bytearray(FILES["image/tiff"])
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    struct.pack_into("<I", data, start + 2 + 12 * count, start)
    assert decode(bytes(data)).notes == ()


def test_tags_that_lie_are_refused() -> None:
    for tag in (273, 279):
        with pytest.raises(InvalidImage, match="outside the file"):
            decode(broken.tiff_with(tag, 0x7FFFFFFF))
    for tag in (256, 257):
        with pytest.raises(InvalidImage, match="no size"):
            decode(broken.tiff_with(tag, 0))
    with pytest.raises(UnusableImage, match="method 6"):
        decode(broken.tiff_with(259, 6))


def test_a_tiff_with_too_many_tags_is_refused() -> None:
    with pytest.raises(BrokenContainer, match="1024 tags"):
        read_container(b"II*\0\x08\0\0\0\xff\xff" + bytes(100), "image/tiff")


def test_a_jpeg_of_many_scans_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(DecompressionBomb, match="100 scans"):
        read_container(broken.scan_bomb(), "image/jpeg")


def test_pictures_behind_a_jpeg_are_noted() -> None:
    decoded = decode(FILES["image/jpeg"] + FILES["image/jpeg"])
    assert np.array_equal(decoded.pixels, decode(FILES["image/jpeg"]).pixels)
    assert len(decoded.notes) == 1


@pytest.mark.parametrize("media_type", ["image/png", "image/jpeg", "image/webp"])
def test_every_truncation_is_noticed_from_outside(media_type: str) -> None:
    data = FILES[media_type]
    for kept in range(8, len(data), max(1, len(data) // 200)):
        with pytest.raises(BrokenContainer):
            read_container(data[:kept], media_type)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits", "zstd"])
def test_every_lossless_compression_of_tiff_that_is_documented(compression: str) -> None:
    for pixels in (HEAD, HEAD.astype(np.uint16) * 257):
        data = images.to_tiff(pixels, compression=compression)
        assert np.array_equal(decode(data).pixels, decode(images.to_tiff(pixels)).pixels)


def test_run_length_bmp_is_read() -> None:
    palette = b"".join(bytes([n, n, n, 0]) for n in range(256))
    rows = b"".join(bytes([40, 10 * n, 0, 0]) for n in range(20)) + b"\0\1"
    at = 14 + 40 + len(palette)
    info = struct.pack("<IiiHHIIiiII", 40, 40, 20, 1, 8, 1, len(rows), 0, 0, 256, 0)
    data = struct.pack("<2sIHHI", b"BM", at + len(rows), 0, 0, at) + info + palette + rows
    expected = np.repeat(10 * np.arange(20, dtype=np.float32)[::-1, None] / 255, 40, axis=1)
    assert decode(data).pixels == pytest.approx(expected, abs=1e-6)


def test_a_colour_space_without_a_grey_axis_is_refused_by_name() -> None:
    with pytest.raises(InvalidImage, match="LAB"):
        decode(encode(Image.new("LAB", (32, 32)), "TIFF"))
