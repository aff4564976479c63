"""The way of one request about slices through a model server: body, place in the queue, work, answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import cv2
import numpy as np
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from core.contracts.manifest import ClassificationPreprocessing
from core.http.bodies import Upload, read_images
from core.http.problems import from_validation_error
from core.http.requests import Deadline, cancel_on_disconnect
from core.imaging.decode import decode
from core.imaging.limits import ImageLimits
from core.imaging.preparation.transforms import prepare_classification
from core.serving.batcher import Batcher, Ticket
from core.serving.model_server import RowOutputs
from core.serving.settings import ModelServingSettings

Answer = TypeVar("Answer")
Query = TypeVar("Query", bound=BaseModel)

Work = Callable[[Mapping[str, Upload], Ticket[RowOutputs]], Awaitable[Answer]]


class PlainRoute(APIRoute):
    """A route whose endpoint takes the request and returns the response, both as they are.

    For the framework to find that there is nothing to resolve and nothing to encode takes a seventh of the time that
    the application spends on the event loop for a request.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The endpoint itself."""
        return self.endpoint


def read_query(kind: type[Query], request: Request) -> Query:
    """The request's query as a ``kind``. Raises ``InvalidRequest`` that names each faulty parameter.

    Read by hand and not by the framework: its general way to do this costs more than all else that it does per request.
    """
    try:
        return kind.model_validate(dict(request.query_params))
    except ValidationError as error:
        faults = [{**fault, "loc": ("query", *fault["loc"])} for fault in error.errors()]
        raise from_validation_error(RequestValidationError(faults)) from error


def image_limits(settings: ModelServingSettings) -> ImageLimits:
    """The operator's limits on one image."""
    return ImageLimits(
        max_bytes=settings.max_image_bytes,
        max_pixels=settings.max_image_pixels,
        max_side=settings.max_image_side,
    )


def warm_preprocessing() -> None:
    """Decode and prepare one small picture of each usual kind; else the first caller pays for loading the codecs."""
    picture = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1))
    for suffix in (".png", ".jpg"):
        _, encoded = cv2.imencode(suffix, picture)
        prepare_classification(decode(encoded.tobytes()).pixels, ClassificationPreprocessing(size=32))


async def answer_slices(
    request: Request,
    batcher: Batcher[RowOutputs],
    settings: ModelServingSettings,
    names: Sequence[str],
    work: Work[Answer],
) -> Answer:
    """Read the images called ``names`` (see ``read_images``) and do ``work`` on them under a place in the queue.

    The place is taken once the body is here and before anything is decoded: a slow upload holds no place, and
    what waits for a decode thread is bounded. ``work`` is cancelled when the client hangs up or the deadline passes.

    Raises what ``Deadline.of``, ``read_images`` and ``Batcher.admit`` raise, and what ``work`` raises.
    """
    deadline = Deadline.of(request, settings.request_timeout_s)
    if batcher.waiting >= batcher.limits.max_queue:
        # Told before megabytes are uploaded for nothing. Whoever finds a place here after all gives it back.
        with batcher.admit(deadline.expires_at_s):
            pass
    uploads = await read_images(request, image_limits(settings), names, deadline)

    async def admitted() -> Answer:
        with batcher.admit(deadline.expires_at_s) as ticket:
            return await work(uploads, ticket)

    return await cancel_on_disconnect(request, admitted(), deadline)
