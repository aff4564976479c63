"""Raster files, pixel by pixel against the array they were made from."""

from __future__ import annotations

import io
import struct
import threading
import warnings
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from core.errors import DecompressionBomb, InputTooLarge, InvalidImage, UnusableImage
from core.imaging.decode import decode
from core.imaging.limits import ImageLimits
from core.imaging.raster.decoder import decode_raster
from tests.fixtures import broken, images
from tests.fixtures.images import as_image, encode, make_head_slice, to_png

HEAD = make_head_slice(120, 150, seed=4)
EXPECTED = HEAD.astype(np.float32) / 255
# Of 8-bit luma rounded once, in [0, 1].
ROUNDING = 0.6 / 255


def pixels_of(data: bytes) -> np.ndarray[Any, np.dtype[np.float32]]:
    return decode(data).pixels


@pytest.mark.parametrize("save", [images.to_png, images.to_tiff, images.to_webp, images.to_bmp])
def test_lossless_formats_keep_every_grey_value(save: Any) -> None:
    assert np.abs(pixels_of(save(HEAD)) - EXPECTED).max() < 1e-6


_MODES = {
    "PNG": ("RGB", "RGBA", "P", "LA"),
    "TIFF": ("RGB", "RGBA", "CMYK", "P", "LA"),
    "WEBP": ("RGB", "RGBA", "CMYK", "P", "LA"),
    "BMP": ("RGB", "RGBA", "P"),
}


@pytest.mark.parametrize(("plugin", "mode"), [(plugin, mode) for plugin, modes in _MODES.items() for mode in modes])
def test_grey_saved_in_colour_stays_grey(plugin: str, mode: str) -> None:
    image = as_image(HEAD).convert("P" if mode == "P" else "RGB").convert(mode)
    decoded = decode(encode(image, plugin, **({"lossless": True} if plugin == "WEBP" else {})))
    assert np.abs(decoded.pixels - EXPECTED).max() < 2 * ROUNDING
    assert decoded.colourfulness < 0.01


def test_jpeg_is_close_to_its_original() -> None:
    for mode in ("L", "RGB", "CMYK"):
        data = encode(as_image(HEAD).convert("RGB").convert(mode), "JPEG", quality=95)
        assert np.abs(pixels_of(data) - EXPECTED).mean() < 0.01


def as_pillow_decodes(data: bytes) -> np.ndarray[Any, np.dtype[np.float32]]:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image, np.float32) / np.float32(255)


@pytest.mark.parametrize("shape", [(120, 150), (17, 33), (256, 256)])
@pytest.mark.parametrize(
    "options",
    [
        {"quality": 40},
        {"quality": 100},
        {"progressive": True},
        {"optimize": True},
        {"restart_marker_rows": 1},
        {"progressive": True, "restart_marker_blocks": 3},
    ],
    ids=str,
)
def test_a_grey_jpeg_has_the_values_that_pillow_decodes(shape: tuple[int, int], options: dict[str, Any]) -> None:
    data = encode(as_image(make_head_slice(*shape, seed=5)), "JPEG", **options)
    assert np.array_equal(pixels_of(data), as_pillow_decodes(data))


def damaged(whole: bytes, seed: int) -> bytes:
    """Three bytes of its scans changed; no marker comes of it, nor is one harmed."""
    draw = np.random.default_rng(seed)
    data = bytearray(whole)
    for place in draw.integers(whole.index(b"\xff\xda") + 12, len(whole) - 2, 3):
        if 0xFF not in data[place - 1 : place + 2]:
            data[place] = int(draw.integers(0, 0xFF))
    return bytes(data)


def test_a_damaged_grey_jpeg_is_read_or_refused_as_pillow_does(capfd: pytest.CaptureFixture[str]) -> None:
    read = refused = 0
    for seed in range(40):
        data = damaged(encode(as_image(HEAD), "JPEG", quality=80, progressive=seed % 2 == 0), seed)
        try:
            expected = as_pillow_decodes(data)
        except OSError:
            refused += 1
            with pytest.raises(InvalidImage):
                decode(data)
        else:
            read += 1
            assert np.array_equal(pixels_of(data), expected)
    assert read >= 30
    assert refused >= 1
    # What the decoder remarks is of places in the file, never of what it holds.
    assert all(line.startswith("Corrupt JPEG data: ") for line in capfd.readouterr().err.splitlines())


def test_colour_becomes_luma_and_is_measured() -> None:
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 200
    decoded = decode(to_png(red))
    assert decoded.pixels == pytest.approx(0.299 * 200 / 255, abs=ROUNDING)
    assert decoded.colourfulness == pytest.approx(200 / 255, abs=1e-6)
    assert decode(to_png(HEAD)).colourfulness == 0


def test_transparency_is_laid_over_black() -> None:
    rgba = np.full((32, 32, 4), 255, np.uint8)
    rgba[:16, :, 3] = 0
    rgba[16:, :, 3] = 128
    for data in (to_png(rgba), images.to_tiff(rgba), images.to_webp(rgba, exact=True)):
        decoded = pixels_of(data)
        assert decoded[:16].max() == 0
        assert decoded[16:] == pytest.approx(128 / 255, abs=ROUNDING)


def test_a_transparent_palette_entry_is_black() -> None:
    image = as_image(np.repeat(np.array([[0, 1]], np.uint8), 32, axis=0).repeat(16, axis=1)).convert("P")
    image.putpalette([200, 200, 200, 100, 100, 100])
    decoded = pixels_of(encode(image, "PNG", transparency=0))
    assert decoded[:, :16].max() == 0
    assert decoded[:, 16:] == pytest.approx(100 / 255, abs=ROUNDING)


def test_one_bit_is_black_and_white() -> None:
    bits = HEAD > 90
    for plugin in ("PNG", "TIFF", "BMP"):
        assert np.array_equal(pixels_of(encode(Image.fromarray(bits), plugin)), bits.astype(np.float32))


RAMP = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16


def test_sixteen_bits_are_not_clipped_to_eight() -> None:
    for data in (to_png(RAMP), images.to_tiff(RAMP), images.to_tiff(RAMP, compression="tiff_lzw")):
        decoded = pixels_of(data)
        assert len(np.unique(decoded)) == 4096
        assert decoded == pytest.approx(RAMP / np.float32(65_535), abs=1e-6)


def test_twelve_bits_in_sixteen_fill_the_range() -> None:
    assert pixels_of(to_png(RAMP // 16)) == pytest.approx(RAMP / np.float32(16 * 4_095), abs=1e-6)


def test_both_byte_orders_of_tiff_agree() -> None:
    big = Image.frombytes("I;16B", (64, 64), RAMP.astype(">u2").tobytes())
    assert np.array_equal(pixels_of(encode(big, "TIFF")), pixels_of(images.to_tiff(RAMP)))


def test_white_as_zero_is_turned_around() -> None:
    for pixels in (HEAD, RAMP):
        plain = images.to_tiff(pixels)
        inverted = plain.replace(struct.pack("<HHII", 262, 3, 1, 1), struct.pack("<HHII", 262, 3, 1, 0))
        assert inverted != plain
        assert pixels_of(inverted) == pytest.approx(1 - pixels_of(plain), abs=1e-6)


def test_floats_in_range_are_kept_and_others_stretched() -> None:
    assert np.array_equal(pixels_of(images.to_tiff(EXPECTED)), EXPECTED)
    stretched = pixels_of(images.to_tiff(EXPECTED * 900 - 300))
    low, high = EXPECTED.min(), EXPECTED.max()
    assert stretched == pytest.approx((EXPECTED - low) / (high - low), abs=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_floats_that_are_no_grey_values_are_refused(value: float) -> None:
    spoilt = EXPECTED.copy()
    spoilt[3, 5] = value
    with pytest.raises(UnusableImage, match="numbers"):
        decode(images.to_tiff(spoilt))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("plugin", ["PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied(plugin: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = as_image(HEAD)
    data = encode(stored, plugin, exif=exif, **({"lossless": True} if plugin == "WEBP" else {}))
    stored.getexif()[0x0112] = orientation
    upright = np.asarray(ImageOps.exif_transpose(stored), np.float32) / 255
    decoded = pixels_of(data)
    assert decoded.shape == upright.shape
    assert np.abs(decoded - upright).max() < 1e-6
    assert decoded.flags.c_contiguous


def test_an_image_stored_lying_comes_out_as_the_upright_original() -> None:
    lying = np.rot90(HEAD)  # a camera turned to the right; orientation 6 turns it back
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(as_image(lying), "JPEG", quality=95, exif=exif)
    assert np.abs(pixels_of(data) - EXPECTED).mean() < 0.01


def test_a_broken_exif_block_is_ignored() -> None:
    for block in (b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"):
        data = broken.png_with(broken.png_chunk(b"eXIf", block), to_png(HEAD))
        assert np.array_equal(pixels_of(data), EXPECTED)


@pytest.mark.parametrize("plugin", ["PNG", "WEBP", "TIFF"])
def test_the_first_of_several_frames_is_used_and_said(plugin: str) -> None:
    others = [as_image(make_head_slice(120, 150, seed=n)) for n in (5, 6)]
    options: dict[str, Any] = {"lossless": True} if plugin == "WEBP" else {}
    decoded = decode(encode(as_image(HEAD), plugin, save_all=True, append_images=others, **options))
    assert np.abs(decoded.pixels - EXPECTED).max() < 1e-6
    what = "pages" if plugin == "TIFF" else "frames"
    assert decoded.notes == (f"The file has 3 {what}; the first is used.",)


def test_text_and_profile_bombs_are_never_inflated() -> None:
    for data in (broken.png_text_bomb(), broken.png_profile_bomb()):
        assert np.array_equal(pixels_of(data), pixels_of(images.make_png()))


def test_bytes_behind_the_end_are_noted_or_refused() -> None:
    for save in (images.to_png, images.to_jpeg, images.to_webp, images.to_bmp):
        data = save(HEAD)
        assert decode(data + bytes(64)).notes == ()
        assert decode(data + b"\x01" * 64).notes == ("64 bytes behind the end of the image were ignored.",)
        for hidden in (broken.zip_archive(), broken.PDF, broken.HTML, broken.SVG, broken.ELF):
            with pytest.raises(InvalidImage, match="Polyglot"):
                decode(data + hidden)


def test_limits_are_applied_to_the_header() -> None:
    small = ImageLimits(max_bytes=1_000_000, max_pixels=10_000, max_side=140, min_side=130, max_frames=2)
    with pytest.raises(DecompressionBomb, match="longest side"):
        decode_raster(to_png(HEAD), small)
    with pytest.raises(DecompressionBomb, match="16900 pixels"):
        decode_raster(to_png(make_head_slice(130, 130)), small)
    with pytest.raises(UnusableImage, match="at least 130"):
        decode_raster(to_png(HEAD[:40, :50]), small)
    with pytest.raises(InputTooLarge, match="1000001"):
        decode_raster(bytes(1_000_001), small)
    many = encode(as_image(HEAD[:40, :40]), "PNG", save_all=True, append_images=[as_image(HEAD[40:80, :40])] * 4)
    with pytest.raises(DecompressionBomb, match="5 frames"):
        decode_raster(many, ImageLimits(max_frames=2))


def test_the_decoder_cannot_see_another_size_than_the_limits() -> None:
    # A second IHDR would override the first one in some decoders.
    data = to_png(HEAD)
    header = struct.pack(">IIBBBBB", 4_000, 4_000, 8, 0, 0, 0, 0)
    with pytest.raises(InvalidImage, match="two different sizes"):
        decode(broken.png_with(broken.png_chunk(b"IHDR", header), data))


def test_warnings_of_decoders_stay_inside() -> None:
    exif = Image.Exif()
    exif[0x010E] = "text"
    data = encode(as_image(HEAD), "TIFF", exif=exif)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        decode(data)
        decode(broken.png_with(broken.png_chunk(b"acTL", struct.pack(">II", 0, 0)), to_png(HEAD)))
    assert caught == []


def test_threads_decode_side_by_side() -> None:
    data, results = to_png(HEAD), list[bool]()

    def work() -> None:
        for _ in range(20):
            results.append(np.array_equal(pixels_of(data), EXPECTED))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 80
    assert all(results)


def test_dicom_is_no_raster() -> None:
    with pytest.raises(InvalidImage, match="DICOM"):
        decode_raster(images.make_dicom(), ImageLimits())
