"""What of a model server's answer is passed on, and what is not worth passing on."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from starlette.types import Send

from core.contracts.problem import PROBLEM_MEDIA_TYPE
from core.errors import DeadlineExceeded, FalxError, ModelUnavailable, UpstreamError
from gateway.body import Sendable
from gateway.upstream import UNREACHABLE_RETRY_AFTER_S, Outgoing, Upstream

# An answer up to here is read whole before its first byte is passed on, so that a connection that breaks in the middle
# becomes a clean 502. Overlays of the largest images stay well below.
WHOLE_ANSWER_BYTES = 16 * 2**20

# RFC 9110, 7.6.1, and what this server writes itself.
DROPPED_HEADERS = frozenset(
    {
        b"connection",
        b"date",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-connection",
        b"server",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"x-request-id",
    }
)


def check_answer(name: str, response: aiohttp.ClientResponse, media_types: frozenset[str]) -> None:
    """Whether the answer is one that a Falx model server gives.

    A balancer in between answers in HTML when it has no replica left; that, a crash page or a redirect would be
    nonsense to our callers.

    Raises:
        ModelUnavailable: 503 of a balancer.
        DeadlineExceeded: 504 of a balancer.
        UpstreamError: anything else that is neither an expected answer nor a problem.
    """
    status = response.status
    if response.content_type == PROBLEM_MEDIA_TYPE and status >= 400 and status != 500:
        return
    if response.content_type in media_types and 200 <= status < 300:
        return
    raise _explain(name, response)


def _explain(name: str, response: aiohttp.ClientResponse) -> FalxError:
    is_problem = response.content_type == PROBLEM_MEDIA_TYPE
    match response.status:
        case 503:
            return ModelUnavailable(
                f"No replica of the model server '{name}' can take the request.",
                retry_after_s=UNREACHABLE_RETRY_AFTER_S,
            )
        case 504:
            return DeadlineExceeded(f"The model server '{name}' did not answer in time.")
        case 500 if is_problem:
            return UpstreamError(f"The model server '{name}' failed; its log has the cause under the request id.")
        case status:
            return UpstreamError(f"The model server '{name}' gave an unexpected answer (status {status}).")


@asynccontextmanager
async def asked(
    upstream: Upstream, outgoing: Outgoing, body: Sendable, media_types: frozenset[str]
) -> AsyncIterator[aiohttp.ClientResponse]:
    """A model server's answer, checked, with its body unread; its time is that until the end of the block.

    Raises what ``Upstream.post`` and ``check_answer`` raise.
    """
    started = time.perf_counter()
    try:
        response = await upstream.post(outgoing, body)
        try:
            check_answer(upstream.name, response, media_types)
            yield response
        except BaseException:
            response.close()
            raise
    finally:
        upstream.seconds.observe(time.perf_counter() - started)


@dataclass(frozen=True, slots=True)
class Whole:
    """An answer that is here to its end; ``headers`` in lower case, without those of the one connection."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    def header(self, name: str) -> str:
        """The value of a header, named in lower case; empty where there is none."""
        wanted = name.encode()
        return next((value.decode("latin-1") for found, value in self.headers if found == wanted), "")

    async def send(self, send: Send) -> None:
        """Answer with it."""
        await send({"type": "http.response.start", "status": self.status, "headers": list(self.headers)})
        await send({"type": "http.response.body", "body": self.body})


async def read_whole(name: str, response: aiohttp.ClientResponse) -> Whole:
    """The answer with its body. Raises ``UpstreamError`` where that broke off."""
    try:
        body = await response.read()
    except aiohttp.ClientError as error:
        raise UpstreamError(f"The answer of the model server '{name}' broke off.") from error
    return Whole(response.status, _headers(response), body)


async def relay(name: str, response: aiohttp.ClientResponse, send: Send) -> None:
    """Pass status, headers and body on unchanged, apart from what concerns this one connection.

    Raises:
        UpstreamError: the body broke off before anything was passed on.
    """
    length = response.content_length
    if length is None or length > WHOLE_ANSWER_BYTES:
        await send({"type": "http.response.start", "status": response.status, "headers": list(_headers(response))})
        async for chunk in response.content.iter_any():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return
    await (await read_whole(name, response)).send(send)


def _headers(response: aiohttp.ClientResponse) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((lower, value) for key, value in response.raw_headers if (lower := key.lower()) not in DROPPED_HEADERS)
