"""``POST /v1/analyses``: both model servers are asked at once, and their two answers make one or none."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

import orjson
from pydantic import BaseModel
from starlette.types import Send

from core.contracts.analysis import describe_fault, find_fault, least_familiar
from core.contracts.base import DISCLAIMER
from core.contracts.common import InputCheckResult, ModelIdentity
from core.contracts.operations.analyses import CLASSIFIER_QUERY, SEGMENTER_QUERY
from core.contracts.operations.batches import FILES
from core.contracts.operations.operation import JSON
from core.contracts.operations.slices import input_check_headers
from core.contracts.segmentation import Candidate
from core.errors import UpstreamError
from gateway.answers import Whole, asked, read_whole
from gateway.body import BodyCopy, RequestBody, Sendable, feed
from gateway.forward import Admitted, Endpoint, Policy, PublicRoute
from gateway.upstream import Outgoing, Upstream

_FILES: Final = FILES.lower()


class _Class(BaseModel):
    """What of a classification bears on the outline."""

    label: str
    probability: float
    probabilities: dict[str, float]
    input_check: InputCheckResult
    model: ModelIdentity


class _Outline(BaseModel):
    """What of a segmentation bears on the class."""

    tumor_pixels: int
    candidate: Candidate | None
    input_check: InputCheckResult


class _Refused(Exception):
    """A model server gave a problem, which is the answer to the whole request."""

    def __init__(self, problem: Whole) -> None:
        super().__init__(problem.status)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class AnalysisRoute(PublicRoute):
    """A public path, and where the class and the outline are asked for."""

    classification: str
    segmentation: str


class Analyst(Endpoint):
    """ASGI endpoint of an analysis."""

    def __init__(self, route: AnalysisRoute, classifier: Upstream, segmenter: Upstream, policy: Policy) -> None:
        super().__init__(route, policy)
        self._targets = route
        self._classifier = classifier
        self._segmenter = segmenter

    async def _answer(self, admitted: Admitted, send: Send) -> None:
        try:
            classification, segmentation = await self._both(admitted)
        except _Refused as refused:
            await refused.problem.send(send)
            return
        self._count_files(segmentation.header(_FILES), admitted.caller)
        try:
            answer = join(classification, segmentation, admitted.headers["X-Request-ID"])
        except (ValueError, LookupError, TypeError) as error:
            raise UpstreamError("The answers of the two model servers do not fit together.") from error
        await answer.send(send)

    async def _both(self, admitted: Admitted) -> tuple[Whole, Whole]:
        """Both answers; the first failure of either ends the other, which then drops its work."""
        headers, deadline, route = admitted.headers, admitted.deadline, self._targets
        classify = Outgoing(
            route.classification, _query_of(admitted, CLASSIFIER_QUERY), {**headers, "accept": JSON}, deadline
        )
        segment = Outgoing(route.segmentation, _query_of(admitted, SEGMENTER_QUERY), headers, deadline)
        try:
            async with asyncio.TaskGroup() as group:
                first, second, feeding = _copies(admitted.body, group)
                asking = [
                    group.create_task(_ask(self._classifier, classify, first, frozenset({JSON}))),
                    group.create_task(_ask(self._segmenter, segment, second, route.media_types)),
                ]
                classification, segmentation = [await task for task in asking]
                if feeding is not None:
                    feeding.cancel()
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return classification, segmentation


def _copies(body: RequestBody, group: asyncio.TaskGroup) -> tuple[Sendable, Sendable, asyncio.Task[None] | None]:
    """The body for two senders, and what feeds them where it is not held."""
    if body.replayable:
        return body, body, None
    copies = (BodyCopy(), BodyCopy())
    return *copies, group.create_task(feed(body, copies))


async def _ask(upstream: Upstream, outgoing: Outgoing, body: Sendable, media_types: frozenset[str]) -> Whole:
    async with asked(upstream, outgoing, body, media_types) as response:
        answer = await read_whole(upstream.name, response)
    if answer.status >= 400:
        raise _Refused(answer)
    return answer


def _query_of(admitted: Admitted, names: Mapping[str, str]) -> str:
    """What of the query is for one model server, under the names that it has there."""
    pairs = parse_qsl(admitted.query.removeprefix("?"), keep_blank_values=True)
    theirs = [(names[name], value) for name, value in pairs if name in names]
    return "?" + urlencode(theirs) if theirs else ""


def join(classification: Whole, segmentation: Whole, request_id: str) -> Whole:
    """One answer of two. Raises ``ValueError``, ``LookupError`` or ``TypeError`` where no model server gave them."""
    told = orjson.loads(classification.body)
    if segmentation.header("content-type").partition(";")[0] != JSON:
        return _picture(_Class.model_validate(told), segmentation)
    outlined = orjson.loads(segmentation.body)
    if segmentation.header(_FILES):
        items = [_item(*both, request_id) for both in zip(told["items"], outlined["items"], strict=True)]
        answer = {"items": items, "request_id": request_id, "disclaimer": DISCLAIMER}
    else:
        answer = _analysis(told, outlined, request_id) | {
            "classification": orjson.Fragment(classification.body),
            "segmentation": orjson.Fragment(segmentation.body),
        }
    body = orjson.dumps(answer)
    headers = ((name, value) for name, value in segmentation.headers if name != b"content-length")
    return Whole(200, (*headers, (b"content-length", b"%d" % len(body))), body)


def _analysis(classification: dict[str, Any], segmentation: dict[str, Any], request_id: str) -> dict[str, Any]:
    """The fields of ``core.contracts.analysis.Analysis``, with both parts as they came."""
    told, outline = _Class.model_validate(classification), _Outline.model_validate(segmentation)
    fault = find_fault(told.label, told.probabilities, outlined=outline.tumor_pixels > 0)
    said = describe_fault(fault, told.label, told.probability, outline.candidate) if fault else None
    return {
        "classification": classification,
        "segmentation": segmentation,
        "input_check": least_familiar(told.input_check, outline.input_check).model_dump(mode="json"),
        "agreement": fault or "agree",
        "contradiction": said and said.model_dump(mode="json"),
        "request_id": request_id,
        "disclaimer": DISCLAIMER,
    }


def _item(classification: dict[str, Any], segmentation: dict[str, Any], request_id: str) -> dict[str, Any]:
    """What came of one file: its analysis, or the problem of the part that has one."""
    for part in (classification, segmentation):
        if part["status"] != 200:
            return part
    answer = _analysis(classification["answer"], segmentation["answer"], request_id)
    return {"index": classification["index"], "status": 200, "answer": answer}


def _picture(told: _Class, picture: Whole) -> Whole:
    """The picture, with the class in its headers and the input check of the less familiar part."""
    outlined = int(picture.header("x-falx-tumor-pixels")) > 0
    fault = find_fault(told.label, told.probabilities, outlined=outlined)
    ours = {
        "x-falx-agreement": fault or "agree",
        "x-falx-label": told.label,
        "x-falx-probability": f"{told.probability:.4f}",
        "x-falx-classifier": f"{told.model.name}@{told.model.version}",
        "x-falx-classifier-sha256": told.model.sha256,
        "x-falx-classifier-provider": told.model.provider,
    }
    if told.input_check.score < float(picture.header("x-falx-input-score")):
        checked = {name.lower(): value for name, value in input_check_headers(told.input_check).items()}
        ours |= {"x-falx-input-reasons": "", **checked}
    written = tuple((name.encode(), value.encode()) for name, value in ours.items() if value)
    kept = (header for header in picture.headers if header[0].decode("latin-1") not in ours)
    return Whole(picture.status, (*kept, *written), picture.body)
