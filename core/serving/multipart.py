"""A streaming reader of ``multipart/form-data`` (RFC 7578) that refuses as soon as it can tell."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from core.errors import FieldError, InputTooLarge, InvalidRequest

# Binary is what RFC 7578 sends; the other two change no byte either.
_PLAIN_ENCODINGS = (b"", b"binary", b"7bit", b"8bit")


@dataclass(slots=True)
class Part:
    """One named part; ``content_type`` as the client wrote it, or None."""

    name: str
    content_type: str | None
    data: bytearray = field(default_factory=bytearray)


def boundary_of(content_type: str) -> bytes:
    """The boundary parameter of ``content_type``; raises ``InvalidRequest`` where it is missing."""
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise InvalidRequest(
            "The Content-Type multipart/form-data lacks its boundary parameter. Let your HTTP library set this header."
        )
    return boundary


class MultipartReader:
    """Fed with the body chunk by chunk; ``close`` gives the parts by name.

    A fault raises ``InvalidRequest``, a part above ``max_part_bytes`` raises ``InputTooLarge``, both as soon as they
    are seen; the reader must not be fed again after that.
    """

    def __init__(self, boundary: bytes, names: Collection[str], max_part_bytes: int) -> None:
        self._names = names
        self._max_part_bytes = max_part_bytes
        self._parts: dict[str, Part] = {}
        self._part: Part | None = None
        self._headers: dict[bytes, bytes] = {}
        self._header_name = b""
        self._header_value = b""
        self._ended = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._on_part_begin,
                    "on_header_field": self._on_header_field,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": self._on_part_data,
                    "on_part_end": self._on_part_end,
                    "on_end": self._on_end,
                },
            )
        except FormParserError as error:
            raise _malformed(error) from error

    def feed(self, chunk: bytes) -> None:
        """Read on."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _malformed(error) from error

    def close(self) -> dict[str, Part]:
        """The parts by name, at the end of the body; raises ``InvalidRequest`` if the closing boundary is missing."""
        if not self._ended:
            raise InvalidRequest(
                "The multipart body ends before its closing boundary: it was cut off, or its boundary is not the one "
                "named in Content-Type."
            )
        return self._parts

    def _on_part_begin(self) -> None:
        self._headers = {}
        self._part = None

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value.strip()
        self._header_name = self._header_value = b""

    def _on_headers_finished(self) -> None:
        name = self._part_name()
        pointer = f"part/{name}"
        if name not in self._names:
            raise _fault(f"There is no part of this name here; known parts: {', '.join(self._names)}.", "part")
        if name in self._parts:
            raise _fault(f"The part {name} occurs twice.", pointer)
        if self._headers.get(b"content-transfer-encoding", b"").lower() not in _PLAIN_ENCODINGS:
            raise _fault(f"The part {name} has a Content-Transfer-Encoding; send its bytes as they are.", pointer)
        content_type = self._headers.get(b"content-type", b"").decode("latin-1")
        self._part = self._parts[name] = Part(name, content_type or None)

    def _part_name(self) -> str:
        disposition, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name", b"")
        if disposition != b"form-data" or not name:
            raise _fault('A part lacks its header Content-Disposition: form-data; name="...".', "part")
        return name.decode("utf-8", errors="replace")

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        part = self._part
        if part is None:
            return
        if len(part.data) + end - start > self._max_part_bytes:
            raise InputTooLarge(
                f"The part {part.name} is larger than {self._max_part_bytes} bytes.",
                errors=[FieldError(f"part/{part.name}", f"at most {self._max_part_bytes} bytes")],
            )
        part.data += memoryview(data)[start:end]

    def _on_part_end(self) -> None:
        if self._part is not None and not self._part.data:
            raise _fault(f"The part {self._part.name} is empty.", f"part/{self._part.name}")

    def _on_end(self) -> None:
        self._ended = True


def _fault(detail: str, pointer: str) -> InvalidRequest:
    return InvalidRequest(detail, errors=[FieldError(pointer, detail)])


def _malformed(error: FormParserError) -> InvalidRequest:
    # The parser's own words hold offsets and single characters only, and name the fault.
    return InvalidRequest(f"The multipart body is malformed: {error}.")
