"""Parts of a multipart body that are handed on as they come in."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InvalidRequest
from core.http.multipart import StreamedParts
from tests.fixtures.answers import BOUNDARY, in_multipart

NAMES = ("t1", "t2", "job")


async def pieces(data: bytes, step: int) -> AsyncIterator[bytes]:
    for at in range(0, len(data), step):
        yield data[at : at + step]


async def read(data: bytes, step: int) -> dict[str, bytes]:
    return {
        part.name: b"".join([chunk async for chunk in part.chunks])
        async for part in StreamedParts(pieces(data, step), BOUNDARY.encode(), NAMES)
    }


@settings(deadline=None, max_examples=50)
@given(first=st.binary(min_size=1, max_size=300), second=st.binary(min_size=1, max_size=300), step=st.integers(1, 400))
async def test_parts_do_not_depend_on_how_the_network_cuts_them(first: bytes, second: bytes, step: int) -> None:
    parts = {"t1": first, "job": second}
    data, _ = in_multipart(parts)
    assert await read(data, step) == parts


@pytest.mark.parametrize("step", [1, 10, 10_000])
async def test_what_nobody_reads_is_passed_over(step: int) -> None:
    data, _ = in_multipart({"t1": b"a" * 500, "t2": b"b", "job": b"c" * 20}, "image/x-nothing")
    parts = StreamedParts(pieces(data, step), BOUNDARY.encode(), NAMES)
    assert [(part.name, part.content_type) async for part in parts] == [
        ("t1", "image/x-nothing"),
        ("t2", "image/x-nothing"),
        ("job", "image/x-nothing"),
    ]


async def test_the_first_part_is_there_before_the_body_has_ended() -> None:
    data, _ = in_multipart({"t1": b"a" * 1000, "t2": b"b" * 1000})
    taken = 0

    async def counted() -> AsyncIterator[bytes]:
        nonlocal taken
        async for piece in pieces(data, 100):
            taken += len(piece)
            yield piece

    part = await anext(aiter(StreamedParts(counted(), BOUNDARY.encode(), NAMES)))
    async for _ in part.chunks:
        pass
    assert part.name == "t1"
    assert taken < 1400


@pytest.mark.parametrize(
    "parts",
    [{"t3": b"x"}, {"t1": b""}],
)
async def test_a_faulty_part(parts: dict[str, bytes]) -> None:
    with pytest.raises(InvalidRequest):
        await read(in_multipart(parts)[0], 50)


async def test_a_body_that_ends_too_soon() -> None:
    data, _ = in_multipart({"t1": b"x" * 100, "t2": b"y" * 100})
    for length in range(len(data) - 4):
        with pytest.raises(InvalidRequest):
            await read(data[:length], 64)


@pytest.mark.parametrize("step", [1, 7, 10_000])
@pytest.mark.parametrize("preamble", [b"\r\n", b"A message in MIME format.\r\n", b"--" + b"x" * 5000 + b"\r\n--\r\n"])
async def test_what_stands_before_the_first_boundary_is_passed_over(preamble: bytes, step: int) -> None:
    data, _ = in_multipart({"t1": b"a" * 50, "job": b"c"})
    assert await read(preamble + data, step) == {"t1": b"a" * 50, "job": b"c"}


@pytest.mark.parametrize("size", [100, 20_000])
async def test_a_body_without_its_boundary_is_refused(size: int) -> None:
    with pytest.raises(InvalidRequest, match="boundary"):
        await read(b"-" * size, 100)
