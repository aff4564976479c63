"""Open Inference Protocol V2 over REST, with Triton's binary tensor extension, for all models of a registry.

``tritonclient[http]`` drives it unchanged, so a site that outgrows one machine can put Triton or KServe in its place.
An error is a problem (RFC 9457) with one more member, ``error``, which is where the protocol's clients look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import numpy as np
import orjson
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from core.errors import FalxError, InputTooLarge, NotReady
from core.http.inflate import inflate
from core.http.problems import problem_response
from core.http.requests import ClientGone, Deadline, cancel_on_disconnect, deadline_exceeded
from core.runtime.session import TensorSpec
from core.serving.model_server import ModelRegistry
from core.serving.served_model import RowOutputs, ServedModel
from core.serving.settings import ModelServingSettings
from core.serving.v2_tensors import (
    HEADER_LENGTH,
    InferRequest,
    datatype,
    encode_response,
    parse_request,
)
from core.telemetry.metrics import ModelMetrics

PLATFORM = "onnxruntime_onnx"
EXTENSIONS = ("binary_tensor_data", "model_repository", "model_configuration")


def v2_router(
    registry: ModelRegistry,
    settings: ModelServingSettings,
    metrics: ModelMetrics,
    *,
    ready: Callable[[], bool] | None = None,
) -> APIRouter:
    """All routes below ``/v2``. ``ready`` tells whether the server takes requests (default: models are loaded)."""
    service = _V2(registry, settings, ready or (lambda: registry.ready))
    router = APIRouter(prefix="/v2", tags=["open inference v2"], route_class=_route_class(metrics))
    router.add_api_route("", service.server, methods=["GET"], summary="Server metadata")
    router.add_api_route("/health/live", service.live, methods=["GET"], summary="Liveness")
    router.add_api_route("/health/ready", service.server_ready, methods=["GET"], summary="Readiness")
    router.add_api_route("/repository/index", service.index, methods=["POST"], summary="List the models")
    for path in ("/models/{name}", "/models/{name}/versions/{version}"):
        router.add_api_route(path, service.model, methods=["GET"], summary="Model metadata")
        router.add_api_route(f"{path}/ready", service.model_ready, methods=["GET"], summary="Model readiness")
        router.add_api_route(f"{path}/config", service.config, methods=["GET"], summary="Model configuration")
        router.add_api_route(f"{path}/infer", service.infer, methods=["POST"], summary="Run a model on tensors")
    return router


class _V2:
    def __init__(self, registry: ModelRegistry, settings: ModelServingSettings, ready: Callable[[], bool]) -> None:
        self._registry = registry
        self._settings = settings
        self._ready = ready

    async def server(self, request: Request) -> Response:
        app = request.app
        version = app.version if isinstance(app, FastAPI) else ""
        return _json({"name": "falx", "version": version, "extensions": EXTENSIONS})

    async def live(self) -> Response:
        return _json({"live": True})

    async def server_ready(self) -> Response:
        if not self._ready():
            raise NotReady("The server is starting or draining.", retry_after_s=2)
        return _json({"ready": True})

    async def index(self) -> Response:
        return _json(
            [
                {"name": served.name, "version": served.version, "state": "READY", "reason": ""}
                for served in self._registry.models
            ]
        )

    async def model(self, name: str, version: str | None = None) -> Response:
        served = self._resolve(name, version)
        return _json(
            {
                "name": served.name,
                "versions": [other.version for other in self._registry.models if other.name == served.name],
                "platform": PLATFORM,
                "inputs": [_metadata(spec) for spec in served.session.inputs],
                "outputs": [_metadata(spec) for spec in served.session.outputs],
            }
        )

    async def model_ready(self, name: str, version: str | None = None) -> Response:
        served = self._resolve(name, version)
        return _json({"name": served.name, "ready": True})

    async def config(self, name: str, version: str | None = None) -> Response:
        served = self._resolve(name, version)
        return _json(
            {
                "name": served.name,
                "platform": PLATFORM,
                "backend": "onnxruntime",
                "max_batch_size": served.batcher.limits.max_queue,
                "input": [_configuration(spec) for spec in served.session.inputs],
                "output": [_configuration(spec) for spec in served.session.outputs],
                "parameters": _parameters(served),
            }
        )

    async def infer(self, request: Request, name: str, version: str | None = None) -> Response:
        served = self._resolve(name, version)
        deadline = Deadline.of(request, self._settings.request_timeout_s)
        try:
            async with asyncio.timeout(deadline.remaining_s):
                body = await _read_body(request, self._settings.max_image_bytes)
        except TimeoutError:
            raise deadline_exceeded() from None
        return await cancel_on_disconnect(request, self._infer(request, served, body, deadline), deadline)

    async def _infer(self, request: Request, served: ServedModel, body: bytes, deadline: Deadline) -> Response:
        with served.batcher.admit(deadline.expires_at_s) as ticket:
            parsed = await self._registry.decode(self._parse, request, served, body)
            rows = parsed.inputs[served.session.inputs[0].name]
            try:
                async with asyncio.timeout(parsed.timeout_s):
                    outcome = await ticket.submit_rows(rows)
            except TimeoutError:
                raise deadline_exceeded() from None
        return _answer(served, parsed, outcome.value)

    def _parse(self, request: Request, served: ServedModel, body: bytes) -> InferRequest:
        encoding = request.headers.get("content-encoding", "").strip().lower()
        return parse_request(
            inflate(body, encoding, self._settings.max_image_bytes),
            request.headers.get(HEADER_LENGTH),
            served.session.inputs,
            served.session.outputs,
            max_rows=served.batcher.limits.max_queue,
        )

    def _resolve(self, name: str, version: str | None) -> ServedModel:
        return self._registry.resolve(name if version is None else f"{name}@{version}")


def _answer(served: ServedModel, parsed: InferRequest, rows: Sequence[RowOutputs]) -> Response:
    head: dict[str, object] = {"model_name": served.name, "model_version": served.version}
    if parsed.id is not None:
        head["id"] = parsed.id
    tensors = [(wanted, np.stack([row[wanted.name] for row in rows])) for wanted in parsed.outputs]
    response = encode_response(head, tensors)
    return Response(response.body, headers=response.headers, media_type=response.media_type)


def _metadata(spec: TensorSpec) -> dict[str, object]:
    return {"name": spec.name, "datatype": datatype(spec), "shape": _shape(spec)}


def _configuration(spec: TensorSpec) -> dict[str, object]:
    # As Triton has it: the batch axis is implied by max_batch_size.
    return {"name": spec.name, "data_type": f"TYPE_{datatype(spec)}", "dims": _shape(spec)[1:]}


def _parameters(served: ServedModel) -> dict[str, object]:
    """What a caller needs to read the tensors: V2 answers with the graph's own, which may serve several label sets."""
    manifest = served.bundle.manifest
    values = {"labels": ",".join(manifest.labels)}
    if manifest.task == "classification":
        values["label_indices"] = ",".join(map(str, manifest.logit_indices))
        values["temperature"] = str(manifest.calibration.divisor if manifest.calibration else 1.0)
    return {name: {"string_value": value} for name, value in values.items()}


def _shape(spec: TensorSpec) -> list[int]:
    return [-1 if size is None else size for size in spec.shape]


def _json(content: object) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")


async def _read_body(request: Request, max_bytes: int) -> bytes:
    """The whole body. Raises InputTooLarge as soon as that is known, ClientGone."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise _too_large(max_bytes)
    chunks = bytearray()
    try:
        async for chunk in request.stream():
            chunks += chunk
            if len(chunks) > max_bytes:
                raise _too_large(max_bytes)
    except ClientDisconnect:
        raise ClientGone from None
    return bytes(chunks)


def _too_large(max_bytes: int) -> InputTooLarge:
    return InputTooLarge(f"The body is larger than {max_bytes} bytes.")


def _route_class(metrics: ModelMetrics) -> type[APIRoute]:
    """Routes whose problems carry the protocol's member ``error``."""

    class V2Route(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def with_error_member(request: Request) -> Response:
                try:
                    return await handle(request)
                except FalxError as error:
                    return _with_error(problem_response(error, request.scope, metrics))

            return with_error_member

    return V2Route


def _with_error(response: Response) -> Response:
    problem = orjson.loads(response.body)
    headers = {name: value for name, value in response.headers.items() if name.lower() != "content-length"}
    body = orjson.dumps({**problem, "error": problem["detail"]})
    return Response(body, status_code=response.status_code, headers=headers)
