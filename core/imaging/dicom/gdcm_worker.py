"""A child process that decodes with GDCM and does nothing else.

GDCM ends its whole process on some broken streams, so it must not run where other requests do. This file is run as a
script; it imports nothing of Falx. It reads requests from stdin and answers on stdout until stdin ends, which also
happens when the parent is killed.

Request: ``HEADER`` (transfer syntax UID, rows, columns, bits allocated, bits stored, signed, length) and the encoded
frame of one sample per pixel. Answer: ``LENGTH`` and so many bytes of decoded frame; length 0: it cannot be decoded.
"""

from __future__ import annotations

import contextlib
import resource
import struct
import sys
from typing import BinaryIO, Final

HEADER: Final = struct.Struct("<64sHHBB?I")
LENGTH: Final = struct.Struct("<I")
# A frame of the largest allowed size takes 80 MB decoded; this leaves GDCM room for its own copies.
_MEMORY: Final = 2 * 1024**3


def _decode(header: tuple[bytes, int, int, int, int, bool, int], frame: bytes) -> bytes:
    import gdcm

    syntax, rows, columns, allocated, stored, signed, _ = header
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
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax.rstrip(b"\0").decode())))
    image.SetPixelFormat(gdcm.PixelFormat(1, allocated, stored, stored - 1, int(signed)))
    decoded: str = image.GetBuffer()
    return decoded.encode("utf-8", "surrogateescape")


def _serve(source: BinaryIO, sink: BinaryIO) -> None:
    while len(packed := source.read(HEADER.size)) == HEADER.size:
        header = HEADER.unpack(packed)
        answer = b""
        # Whatever GDCM raises, the answer is the same: the frame cannot be decoded.
        with contextlib.suppress(Exception):
            answer = _decode(header, source.read(header[-1]))
        sink.write(LENGTH.pack(len(answer)) + answer)
        sink.flush()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    _serve(sys.stdin.buffer, sys.stdout.buffer)
