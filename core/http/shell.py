"""The shell of every HTTP service: health, metrics, problems, request ids, and a process that drains before it stops.

Typical use::

    shell = create_shell("classifier", readiness=service.readiness, on_start=service.start, on_stop=service.stop)
    shell.include_router(routes)
    run(shell, settings)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI
from starlette.responses import PlainTextResponse, Response

from core.contracts.operations.operation import Operation
from core.contracts.operations.service import IS_ALIVE, IS_READY, READ_METRICS, SERVICE
from core.contracts.service import Readiness
from core.errors import StartupError
from core.http.draining import Drain
from core.http.middleware import RequestShell, ShellState
from core.http.openapi import DescribedApp
from core.http.problems import install_problem_handlers
from core.http.process import run
from core.telemetry.metrics import METRICS_MEDIA_TYPE, Metrics

__all__ = ["create_shell", "drain_of", "metrics_of", "run"]

Hook = Callable[[], Awaitable[None]]

# A balancer asks again at its own pace; people read it as "soon".
_NOT_READY_RETRY_S = "2"


def create_shell(
    name: str,
    *,
    readiness: Callable[[], Readiness],
    metrics: Metrics | None = None,
    on_start: Hook | None = None,
    on_stop: Hook | None = None,
    version: str = "0.1.0",
    openapi: bool = True,
    operations: Iterable[Operation] = (),
) -> FastAPI:
    """An application with ``/livez``, ``/readyz``, ``/metrics``, problems for all errors, and nothing else.

    ``readiness`` is asked on each ``/readyz``: it must be cheap and must not block. While draining, its answer is
    overridden. ``on_start`` runs before the port is listened on; a ``StartupError`` from it ends the process with one
    line and exit code 1. ``on_stop`` runs once nothing is in flight any more. ``openapi`` switches ``/openapi.json``
    and ``/docs``, which show ``operations`` and those of the shell itself; whoever calls adds the routes of the former.
    """
    shell = ShellState(metrics if metrics is not None else Metrics())
    app = DescribedApp(
        (*SERVICE, *operations),
        title=f"Falx {name}",
        version=version,
        openapi_url="/openapi.json" if openapi else None,
        redoc_url=None,
        redirect_slashes=False,
        # FastAPI's own telemetry would record messages of exceptions and exporters named in the environment.
        telemetry={"logs": False, "auto_configure": False},
        lifespan=_lifespan(shell, on_start, on_stop),
    )
    app.state.shell = shell
    app.add_middleware(RequestShell, shell=shell)
    install_problem_handlers(app, shell.metrics)
    _add_service_routes(app, shell, readiness)
    return app


def drain_of(app: FastAPI) -> Drain:
    """The drain switch of an application made by ``create_shell``."""
    return _shell_of(app).drain


def metrics_of(app: FastAPI) -> Metrics:
    """The metrics of an application made by ``create_shell``."""
    return _shell_of(app).metrics


def _shell_of(app: FastAPI) -> ShellState:
    shell = app.state.shell
    assert isinstance(shell, ShellState)  # noqa: S101
    return shell


def _lifespan(
    shell: ShellState, on_start: Hook | None, on_stop: Hook | None
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        try:
            if on_start is not None:
                await on_start()
        except StartupError as error:
            shell.startup_error = error
            raise
        try:
            yield
        finally:
            if on_stop is not None:
                await on_stop()

    return lifespan


def _add_service_routes(app: FastAPI, shell: ShellState, readiness: Callable[[], Readiness]) -> None:
    async def livez() -> Response:
        return PlainTextResponse("ok\n")

    async def readyz() -> Response:
        state = readiness()
        if shell.drain.active:
            state = state.model_copy(update={"ready": False, "draining": True})
        headers = {"Cache-Control": "no-store"}
        if not state.ready:
            headers["Retry-After"] = _NOT_READY_RETRY_S
        return Response(
            state.model_dump_json(),
            status_code=200 if state.ready else 503,
            headers=headers,
            media_type="application/json",
        )

    async def metrics() -> Response:
        return Response(shell.metrics.render(), media_type=METRICS_MEDIA_TYPE)

    app.add_api_route(READ_METRICS.path, metrics, include_in_schema=False)
    for operation, endpoint in ((IS_ALIVE, livez), (IS_READY, readyz)):
        # Some balancers probe with HEAD.
        app.add_api_route(operation.path, endpoint, methods=["GET", "HEAD"], include_in_schema=False)
