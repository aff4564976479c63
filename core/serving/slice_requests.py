"""The way of one request about slices through a model server: body, place in the queue, work, answer."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import cv2
import numpy as np
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from core.contracts.manifest import ClassificationPreprocessing
from core.contracts.operations.bodies import IMAGE_PART
from core.contracts.operations.operation import JSON
from core.errors import NotAcceptable
from core.http.bodies import Upload, read_files, read_images
from core.http.problems import from_validation_error
from core.http.requests import Deadline, cancel_on_disconnect
from core.imaging.decode import decode
from core.imaging.limits import ImageLimits
from core.imaging.preparation.transforms import prepare_classification
from core.serving.batcher import Batcher
from core.serving.batches import Work, answer_batch
from core.serving.model_server import RowOutputs
from core.serving.settings import ModelServingSettings

Query = TypeVar("Query", bound=BaseModel)


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
    work: Work,
    *,
    several: bool = True,
) -> Response:
    """Read the images called ``names`` (see ``read_images``) and do ``work`` on them under a place in the queue.

    The place is taken once the body is here and before anything is decoded: a slow upload holds no place, and
    what waits for a decode thread is bounded. ``work`` is cancelled when the client hangs up or the deadline passes.
    Several files are answered as ``answer_files`` does, where ``several`` says that ``work`` answers in JSON.

    Raises what ``Deadline.of``, ``read_images`` and ``Batcher.admit`` raise, and what ``work`` raises.
    """
    deadline = _deadline(request, batcher, settings)
    images = await read_images(request, image_limits(settings), names, deadline, _most_files(batcher, settings))

    async def admitted(uploads: Mapping[str, Upload]) -> Response:
        with batcher.admit(deadline.expires_at_s) as ticket:
            return await work(uploads, ticket)

    if isinstance(images, dict):
        return await cancel_on_disconnect(request, admitted(images), deadline)
    if not several:
        raise NotAcceptable(f"Several files are answered as {JSON}; Accept or render asks for a picture.")
    return await cancel_on_disconnect(request, answer_batch(request, batcher, images, work, deadline), deadline)


async def answer_files(
    request: Request, batcher: Batcher[RowOutputs], settings: ModelServingSettings, work: Work
) -> Response:
    """Read files, one or several, and do ``work`` on each: a list of answers and problems, whatever their number.

    Raises as ``answer_slices`` does, apart from what is wrong with a file alone.
    """
    deadline = _deadline(request, batcher, settings)
    files = await read_files(request, image_limits(settings), IMAGE_PART, _most_files(batcher, settings), deadline)
    answering = answer_batch(request, batcher, files, work, deadline)
    return await cancel_on_disconnect(request, answering, deadline)


def _most_files(batcher: Batcher[RowOutputs], settings: ModelServingSettings) -> int:
    return min(settings.max_files_per_request, batcher.limits.max_queue)


def _deadline(request: Request, batcher: Batcher[RowOutputs], settings: ModelServingSettings) -> Deadline:
    """The request's deadline. Raises ``QueueFull`` before megabytes are uploaded for nothing."""
    deadline = Deadline.of(request, settings.request_timeout_s)
    if batcher.waiting >= batcher.limits.max_queue:
        # Whoever finds a place here after all gives it back.
        with batcher.admit(deadline.expires_at_s):
            pass
    return deadline
