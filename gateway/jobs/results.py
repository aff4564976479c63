"""One result as a download: whole or a range of it, with digests, streamed from the store."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from core.blobs.store import BlobStore
from core.contracts.jobs import StoredFile
from core.errors import RangeNotSatisfiable

# RFC 9110, 14.1.2. Lists of ranges are not served: such a header is ignored, which the standard allows. One range is
# short; the pattern would try every way to share out a long run of blanks.
_RANGE: Final = re.compile(r"bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})", re.IGNORECASE)
_LONGEST_RANGE: Final = 128


@dataclass(frozen=True, slots=True)
class ByteRange:
    """``length`` bytes from offset ``start``."""

    start: int
    length: int


def byte_range(header: str | None, size: int) -> ByteRange | None:
    """What of a file of ``size`` bytes is asked for; None for all of it.

    Raises ``RangeNotSatisfiable`` where the range holds none of its bytes. What is no range of bytes is ignored.
    """
    found = _RANGE.fullmatch(header.strip()) if header and len(header) <= _LONGEST_RANGE else None
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        length = min(int(found[2]), size)
        wanted = ByteRange(size - length, length)
    else:
        start = int(found[1])
        last = int(found[2]) if found[2] else size - 1
        if found[2] and last < start:
            return None
        wanted = ByteRange(start, min(last, size - 1) - start + 1)
    if wanted.length <= 0:
        raise RangeNotSatisfiable(
            f"The file has {size} bytes; the range holds none of them.", headers={"Content-Range": f"bytes */{size}"}
        )
    return wanted


async def download(request: Request, store: BlobStore, file: StoredFile) -> Response:
    """The answer to a GET or HEAD of ``file``.

    Raises ``RangeNotSatisfiable``, ``NotFound`` and ``StorageUnavailable``. Should the stored bytes turn out not to be
    those that were written, those of a range included, the answer ends before its last bytes; one of up to a megabyte
    is an internal error.
    """
    headers = _headers(file)
    if _matches(request.headers.getlist("if-none-match"), headers["ETag"]):
        kept = ("ETag", "Repr-Digest", "Accept-Ranges")
        return Response(status_code=304, headers={name: headers[name] for name in kept})
    wanted = byte_range(request.headers.get("range"), file.size) if _range_counts(request, headers["ETag"]) else None
    status = 200
    if wanted is not None:
        status = 206
        last = wanted.start + wanted.length - 1
        headers["Content-Range"] = f"bytes {wanted.start}-{last}/{file.size}"
    headers["Content-Length"] = str(file.size if wanted is None else wanted.length)
    if request.method == "HEAD":
        await store.info(file.blob)
        return Response(status_code=200, headers=headers)
    chunks = (
        store.read(file.blob, file.sha256)
        if wanted is None
        else store.read_range(file.blob, file.sha256, wanted.start, wanted.length)
    )
    return StreamingResponse(await begun(chunks), status_code=status, headers=headers)


async def begun(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """``chunks`` with the first of them read: what fails at once still becomes a problem."""
    first = await anext(chunks, b"")

    async def all_of_them() -> AsyncIterator[bytes]:
        yield first
        async for chunk in chunks:
            yield chunk

    return all_of_them()


def _headers(file: StoredFile) -> dict[str, str]:
    digest = base64.b64encode(bytes.fromhex(file.sha256)).decode()
    return {
        "Content-Type": file.media_type,
        "Content-Disposition": f'inline; filename="{file.name}"',
        "Accept-Ranges": "bytes",
        "ETag": f'"{file.sha256}"',
        # RFC 9530: of the whole file, also where a part of it is sent.
        "Repr-Digest": f"sha-256=:{digest}:",
    }


def _matches(values: list[str], etag: str) -> bool:
    """Whether an ``If-None-Match`` names ``etag``; compared weakly, as RFC 9110, 13.1.2 says."""
    named = {value.strip().removeprefix("W/") for line in values for value in line.split(",")}
    return etag in named or "*" in named


def _range_counts(request: Request, etag: str) -> bool:
    """A range is meant for GET alone, and with ``If-Range`` only while the file is still the same."""
    headers: Headers = request.headers
    return request.method == "GET" and headers.get("if-range", etag) == etag
