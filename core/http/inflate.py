"""Compressed request bodies, undone within a bound."""

from __future__ import annotations

import zlib

from core.errors import DecompressionBomb, InvalidRequest, UnsupportedMediaType

# zlib's window bits: 16 + 15 expects a gzip header, 15 the zlib header that HTTP calls "deflate".
_WINDOW_BITS = {"gzip": 31, "deflate": 15}


def inflate(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Undo ``Content-Encoding`` gzip or deflate, never holding more than ``max_bytes``.

    Raises DecompressionBomb, InvalidRequest for broken data, UnsupportedMediaType for another encoding.
    """
    if encoding in ("", "identity"):
        return body
    if encoding not in _WINDOW_BITS:
        raise UnsupportedMediaType(
            "This Content-Encoding is not read; gzip, deflate and identity are.",
            headers={"Accept-Encoding": "gzip, deflate, identity"},
        )
    inflater = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        data = inflater.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise InvalidRequest(f"The body is not valid {encoding}.") from error
    if len(data) > max_bytes:
        raise DecompressionBomb(f"The body expands beyond {max_bytes} bytes.")
    if not inflater.eof or inflater.unused_data:
        raise InvalidRequest(f"The {encoding} body is truncated or followed by other data.")
    return data
