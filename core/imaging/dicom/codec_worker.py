"""A child process that decodes with GDCM and OpenJPEG and does nothing else.

GDCM ends its whole process on some broken streams, and what a stream of either costs cannot be told from its header. So
neither runs where other requests do, and each frame gets so much time of a CPU and so much memory: the kernel ends the
process that needs more. This file is run as a script; it imports nothing of Falx. It reads requests from stdin and
answers on stdout until stdin ends, which also happens when the parent is killed. Its argument is the time of a CPU that
one frame may take, in seconds; the kernel counts whole ones, so that some get up to a second less.

Request: ``HEADER`` (transfer syntax UID, rows, columns, bits allocated, bits stored, signed, length) and the encoded
frame of one sample per pixel. Answer: ``LENGTH`` and so many bytes of decoded frame; length 0: it cannot be decoded.
"""

from __future__ import annotations

import contextlib
import resource
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Final

HEADER: Final = struct.Struct("<64sHHBB?I")
LENGTH: Final = struct.Struct("<I")
JPEG_2000: Final = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
_MEMORY: Final = 400 * 1024**2

Header = tuple[bytes, int, int, int, int, bool, int]


def _with_gdcm(syntax: str, header: Header, frame: bytes) -> bytes:
    import gdcm

    _, rows, columns, allocated, stored, signed, _ = header
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(frame)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((columns, rows, 1))
    image.SetDataElement(element)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
    image.SetPixelFormat(gdcm.PixelFormat(1, allocated, stored, stored - 1, int(signed)))
    decoded: str = image.GetBuffer()
    return decoded.encode("utf-8", "surrogateescape")


def _with_pillow(syntax: str, header: Header, frame: bytes) -> bytes:
    """Through pydicom, which knows what Pillow makes of signs and of bits that are not used."""
    from pydicom.encaps import encapsulate
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    _, rows, columns, allocated, stored, signed, _ = header
    options: dict[str, Any] = {
        "rows": rows,
        "columns": columns,
        "number_of_frames": 1,
        "samples_per_pixel": 1,
        "bits_allocated": allocated,
        "bits_stored": stored,
        "pixel_representation": int(signed),
        "photometric_interpretation": "MONOCHROME2",
        "pixel_keyword": "PixelData",
    }
    frames = encapsulate([frame], has_bot=False)
    decoded, _ = get_decoder(UID(syntax)).as_array(frames, raw=True, decoding_plugin="pillow", **options)
    return decoded.tobytes()


def _load(decode: Callable[[str, Header, bytes], bytes]) -> None:
    """Load the libraries of a decoder before anything is counted; that there is no such frame is of no interest."""
    with contextlib.suppress(Exception):
        decode(JPEG_2000[0], (b"", 1, 1, 8, 8, False, 0), b"")


def _bound(cpu_s: int) -> None:
    """Let the kernel end this process should the next frame take too long, and refuse it too much memory."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + cpu_s, most))
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + _MEMORY, most))


def _serve(source: BinaryIO, sink: BinaryIO, cpu_s: int) -> None:
    loaded = set()
    while len(packed := source.read(HEADER.size)) == HEADER.size:
        header: Header = HEADER.unpack(packed)
        frame = source.read(header[-1])
        syntax = header[0].rstrip(b"\0").decode()
        decode = _with_pillow if syntax in JPEG_2000 else _with_gdcm
        if decode not in loaded:
            _load(decode)
            loaded.add(decode)
        answer = b""
        # Whatever is raised, the answer is the same: the frame cannot be decoded.
        with contextlib.suppress(Exception):
            _bound(cpu_s)
            answer = decode(syntax, header, frame)
        sink.write(LENGTH.pack(len(answer)) + answer)
        sink.flush()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _serve(sys.stdin.buffer, sys.stdout.buffer, int(sys.argv[1]))
