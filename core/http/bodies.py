"""Images out of a request's body: multipart, raw bytes, or base64 in JSON. All failures are 4xx that name the fault.

Nothing is decoded here, and nothing above the limits is held: sizes are checked from ``Content-Length`` before the
first byte is read, and again while reading.
"""

from __future__ import annotations

import asyncio
import binascii
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import orjson
from starlette.requests import ClientDisconnect, Request

from core.contracts.operations.bodies import IMAGE_MEDIA_TYPES, MULTIPART
from core.contracts.sequences import SEQUENCES
from core.errors import (
    FieldError,
    InputTooLarge,
    InvalidRequest,
    MissingSequence,
    RequestError,
    UnsupportedMediaType,
)
from core.http.multipart import ENVELOPE_BYTES, MultipartReader, Part, boundary_of
from core.http.problems import ACCEPT_POST
from core.http.requests import ClientGone, Deadline, deadline_exceeded

# Larger base64 is decoded in a thread: it would hold up the event loop, and every other request, for milliseconds.
_INLINE_BASE64_BYTES = 512 * 1024

_ALIASES = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-png": "image/png",
    "image/tif": "image/tiff",
    "image/x-ms-bmp": "image/bmp",
    "image/x-bmp": "image/bmp",
    "application/x-dicom": "application/dicom",
}


class ByteLimits(Protocol):
    """The one limit needed here; ``core.imaging.limits.ImageLimits`` has it."""

    @property
    def max_bytes(self) -> int:
        """Size of one upload, in bytes, as it arrives (decoded from base64)."""


@dataclass(frozen=True, slots=True)
class Upload:
    """One image as it came: ``media_type`` as declared, lower case without parameters, or None where to be sniffed."""

    data: bytes
    media_type: str | None


# A file of several: what came, or what is wrong with it.
File = Upload | RequestError


async def read_images(
    request: Request,
    limits: ByteLimits,
    names: Sequence[str],
    deadline: Deadline | None = None,
    most_files: int = 1,
) -> dict[str, Upload] | list[File]:
    """The images of ``request``: those of one slice by name, or a list of slices.

    ``names[0]`` (``"file"``) is the single image: a part of that name, the whole raw body, or JSON ``{"image": ...}``.
    Further names are sequences: parts, or keys of JSON ``{"images": {...}}``; at least one, never beside the single
    image. Several parts of the first name, up to ``most_files``, are a list of slices, in which a file that is empty,
    too large or of a type that is not read stands as its error. The body must be complete by ``deadline``.

    Raises ``UnsupportedMediaType`` (415, with Accept-Post), ``InputTooLarge`` (413, says the limit), ``InvalidRequest``
    (400, names the part or JSON pointer), ``MissingSequence`` (422, an empty ``images``), ``DeadlineExceeded``, and
    ``ClientGone`` when the client hangs up in mid-body.
    """
    async with _in_time(deadline):
        return await _read(request, limits.max_bytes, names, most_files)


async def read_files(
    request: Request, limits: ByteLimits, name: str, most_files: int, deadline: Deadline
) -> list[File]:
    """The files of ``request`` in parts called ``name``, one or more of them; otherwise as ``read_images``."""
    if _media_type(request.headers.get("content-type", "")) != MULTIPART:
        raise UnsupportedMediaType(f"Several files come as {MULTIPART}.", headers={"Accept-Post": MULTIPART})
    async with _in_time(deadline):
        return _files(await _parts(request, limits.max_bytes, (name,), name, most_files))


@asynccontextmanager
async def _in_time(deadline: Deadline | None) -> AsyncGenerator[None, None]:
    try:
        async with asyncio.timeout(None if deadline is None else deadline.remaining_s):
            yield
    except TimeoutError:
        raise deadline_exceeded() from None
    except ClientDisconnect:
        raise ClientGone from None


async def _read(
    request: Request, max_bytes: int, names: Sequence[str], most_files: int
) -> dict[str, Upload] | list[File]:
    content_type = request.headers.get("content-type", "")
    media_type = _media_type(content_type)
    _check_encoding(request)
    max_images = max(1, len(names) - 1)
    if media_type == MULTIPART:
        repeatable = names[0] if most_files > 1 else None
        parts = await _parts(request, max_bytes, names, repeatable, most_files)
        several = len(parts) > 1 and all(part.name == names[0] for part in parts)
        return _files(parts) if several else _from_parts(parts, names)
    if media_type == "application/json":
        # Base64 carries 3 bytes in 4 characters.
        body = await _whole(request, max_images * (max_bytes // 3 + 1) * 4 + ENVELOPE_BYTES)
        if len(body) <= _INLINE_BASE64_BYTES:
            return _from_json(body, max_bytes, names)
        return await asyncio.to_thread(_from_json, body, max_bytes, names)
    declared = _image_media_type(content_type, "Content-Type")
    return {names[0]: Upload(await _whole(request, max_bytes), declared)}


def _media_type(content_type: str) -> str:
    bare = content_type.partition(";")[0].strip().lower()
    return _ALIASES.get(bare, bare)


def _image_media_type(content_type: str, pointer: str) -> str | None:
    """The declared image type, None for bytes to be sniffed; raises ``UnsupportedMediaType`` for anything else."""
    media_type = _media_type(content_type)
    if media_type in IMAGE_MEDIA_TYPES:
        return media_type
    if media_type == "application/octet-stream":
        return None
    detail = f"{pointer} {media_type[:64]!r} is not read here." if media_type else f"{pointer} is missing."
    raise UnsupportedMediaType(f"{detail} Known: {ACCEPT_POST}.", headers={"Accept-Post": ACCEPT_POST})


def _check_encoding(request: Request) -> None:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", ""):
        # RFC 9110, 15.5.16: the answer says which codings would do.
        raise UnsupportedMediaType(
            "Compressed bodies (Content-Encoding) are not read; images are compressed already.",
            headers={"Accept-Encoding": "identity", "Accept-Post": ACCEPT_POST},
        )


async def _chunks(request: Request, max_bytes: int) -> AsyncGenerator[bytes, None]:
    """The body as it arrives; raises ``InputTooLarge`` at once when it is, or says it is, above ``max_bytes``."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise _too_large(max_bytes)
    received = 0
    async with aclosing(request.stream()) as stream:
        async for chunk in stream:
            received += len(chunk)
            if received > max_bytes:
                raise _too_large(max_bytes)
            if chunk:
                yield chunk
    if not received:
        raise InvalidRequest("The request has no body; send an image.")


async def _whole(request: Request, max_bytes: int) -> bytes:
    async with aclosing(_chunks(request, max_bytes)) as chunks:
        return b"".join([chunk async for chunk in chunks])


def _too_large(max_bytes: int) -> InputTooLarge:
    return InputTooLarge(f"The body is larger than {max_bytes} bytes.")


async def _parts(
    request: Request, max_bytes: int, names: Sequence[str], repeatable: str | None, most_files: int
) -> list[Part]:
    _check_encoding(request)
    boundary = boundary_of(request.headers["content-type"])
    reader = MultipartReader(boundary, names, max_bytes, repeatable=repeatable, most=most_files)
    # Together files may be as large as the sequences of one slice.
    most_images = max(len(names) - 1, min(most_files, len(SEQUENCES)), 1)
    async with aclosing(_chunks(request, most_images * max_bytes + ENVELOPE_BYTES)) as chunks:
        async for chunk in chunks:
            reader.feed(chunk)
    parts = reader.close()
    if not parts:
        raise InvalidRequest(f"The multipart body has no part; send at least one of: {', '.join(names)}.")
    return parts


def _files(parts: Sequence[Part]) -> list[File]:
    files: list[File] = []
    for part in parts:
        try:
            files.append(_upload(part))
        except RequestError as error:
            files.append(error)
    return files


def _upload(part: Part) -> Upload:
    if part.fault is not None:
        raise part.fault
    declared = None
    if part.content_type is not None:
        declared = _image_media_type(part.content_type, f"The Content-Type of part {part.name}")
    return Upload(bytes(part.data), declared)


def _from_parts(parts: Sequence[Part], names: Sequence[str]) -> dict[str, Upload]:
    if len(parts) > 1 and any(part.name == names[0] for part in parts):
        raise InvalidRequest(
            f"Send either the part {names[0]} or parts named by sequence ({', '.join(names[1:])}), not both.",
            errors=[FieldError(f"part/{names[0]}", "stands beside a sequence")],
        )
    return {part.name: _upload(part) for part in parts}


def _from_json(body: bytes, max_bytes: int, names: Sequence[str]) -> dict[str, Upload]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        # Its message holds a position and no content.
        raise InvalidRequest(f"The body is not JSON: {error}.") from error
    single, sequences = names[0], names[1:]
    keys = ("image", "images") if sequences else ("image",)
    fields = _object(document, "#", keys)
    if len(fields) != 1:
        raise InvalidRequest(f"The JSON body needs exactly one of these fields: {', '.join(keys)}.")
    if "image" in fields:
        return {single: Upload(_base64(fields["image"], "#/image", max_bytes), None)}
    images = _object(fields["images"], "#/images", sequences)
    if not images:
        raise MissingSequence(
            f"images is empty; give at least one of: {', '.join(sequences)}.",
            errors=[FieldError("#/images", "is empty")],
        )
    return {name: Upload(_base64(value, f"#/images/{name}", max_bytes), None) for name, value in images.items()}


def _object(value: object, pointer: str, known: Sequence[str]) -> dict[str, object]:
    if not isinstance(value, dict):
        raise _fault(f"{pointer} must be a JSON object with: {', '.join(known)}.", pointer)
    if not value.keys() <= set(known):
        # The unknown name is not repeated: it is the caller's data.
        raise _fault(f"{pointer} has an unknown field; known: {', '.join(known)}.", pointer)
    return value


def _base64(value: object, pointer: str, max_bytes: int) -> bytes:
    if not isinstance(value, str):
        raise _fault(f"{pointer} must be a string of base64.", pointer)
    if value.startswith("data:"):
        raise _fault(f"{pointer} is a data URL; send only what follows its comma.", pointer)
    if len(value) > (max_bytes // 3 + 1) * 4:
        raise InputTooLarge(
            f"{pointer} is larger than {max_bytes} bytes.", errors=[FieldError(pointer, f"at most {max_bytes} bytes")]
        )
    try:
        data = binascii.a2b_base64(value, strict_mode=True)
    except ValueError as error:
        raise _fault(
            f"{pointer} is not base64 (RFC 4648, section 4: A-Z a-z 0-9 + / with padding, no line breaks).", pointer
        ) from error
    if not data:
        raise _fault(f"{pointer} is empty.", pointer)
    if len(data) > max_bytes:
        raise InputTooLarge(
            f"{pointer} is larger than {max_bytes} bytes.", errors=[FieldError(pointer, f"at most {max_bytes} bytes")]
        )
    return data


def _fault(detail: str, pointer: str) -> InvalidRequest:
    return InvalidRequest(detail, errors=[FieldError(pointer, detail)])
