"""Puts the gateway together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response

from core.contracts.base import Contract
from core.contracts.operations.service import DESCRIBE_MODEL, LIST_MODELS, READ_METRICS, READ_MODEL_CARD
from core.http.multipart import ENVELOPE_BYTES
from core.http.openapi import all_answers
from core.http.shell import create_shell, drain_of
from core.telemetry.metrics import METRICS_MEDIA_TYPE, UpstreamMetrics
from gateway.audit import Audit, open_audit_log
from gateway.auth import Authenticator, authenticator
from gateway.body import BodyLimits
from gateway.browsers import LocalCallersOnly
from gateway.catalogue import Catalogue
from gateway.circuit import Circuit
from gateway.forward import Policy, client_address
from gateway.jobs.backend import JobBackend
from gateway.jobs.routes import JobRoutes
from gateway.keys import Scope
from gateway.openapi.document import openapi_document
from gateway.openapi.public import PUBLIC
from gateway.pages import add_pages
from gateway.rates import rate_limit
from gateway.settings import GatewaySettings
from gateway.slices import CLASSIFIER, SEGMENTER, slice_routes, study_routes
from gateway.upstream import Connections, Upstream
from gateway.watch import Watch

# Keys are a scheme and no parameter in a document; the body says its own type.
_UNLISTED_HEADERS = ("Authorization", "Content-Type", "X-API-Key")


def create_app(settings: GatewaySettings) -> FastAPI:
    """The gateway's application.

    Raises:
        UnsafeConfiguration: it would serve other machines without keys, or a file that it is given is unusable.
    """
    auth = authenticator(settings)
    metrics = UpstreamMetrics(auth.key_ends)
    connections = Connections(settings)
    upstreams = _upstreams(settings, connections, metrics)
    backend = JobBackend(settings)
    watch = Watch(tuple(upstreams.values()), settings.readiness_interval_s, settings.probe_timeout_s, backend.states)

    async def start() -> None:
        await backend.open()
        await connections.open()
        await watch.start()

    async def stop() -> None:
        await watch.stop()
        await connections.close()
        await backend.close()

    # The shell's own OpenAPI and its reference page (which loads from a public CDN) stay off; ours replace them.
    app = create_shell(
        "gateway", readiness=watch.readiness, metrics=metrics, on_start=start, on_stop=stop, openapi=False
    )
    if auth.needs_key and not settings.metrics_public:
        _guard_metrics(app, auth, metrics)
    policy = _policy(settings, auth)
    app.router.routes[:0] = slice_routes(upstreams, policy)  # the busiest first
    app.router.routes += study_routes(upstreams, _study_policy(settings, policy))
    JobRoutes(settings, policy, backend, drain_of(app)).add_to(app)
    catalogue = Catalogue(tuple(upstreams.values()), backend.models, settings.catalogue_ttl_s, settings.probe_timeout_s)
    _add_models(app, auth, catalogue)
    if settings.openapi:
        _add_openapi(app)
    add_pages(app, settings.problems_file, reference=settings.openapi)
    _allow_origins(app, settings.cors_origins)
    # Inside the shell, which has given the request its id, and around all that may refuse it.
    app.user_middleware.append(Middleware(Audit, log=open_audit_log(settings.audit_log)))
    if not auth.needs_key:
        # Innermost, so that a refusal has its request id, its line in the log and its count like any other.
        app.user_middleware.append(
            Middleware(LocalCallersOnly, hosts=settings.allowed_hosts, origins=settings.cors_origins, metrics=metrics)
        )
    return app


def _upstreams(settings: GatewaySettings, connections: Connections, metrics: UpstreamMetrics) -> Mapping[str, Upstream]:
    urls = {CLASSIFIER: settings.classifier_url, SEGMENTER: settings.segmenter_url}

    def upstream(name: str, url: str) -> Upstream:
        circuit = Circuit(
            name,
            settings.circuit_failures,
            settings.circuit_reset_s,
            on_change=lambda is_open: metrics.circuit_open.labels(name).set(is_open),
        )
        return Upstream(name, url, connections, circuit, metrics.upstream_seconds.labels(name))

    return {name: upstream(name, str(url)) for name, url in urls.items()}


def _policy(settings: GatewaySettings, auth: Authenticator) -> Policy:
    return Policy(
        auth=auth,
        rate_limit=rate_limit(settings.rate_limit),
        body_limits=BodyLimits(settings.max_request_bytes, settings.replay_limit_bytes),
        default_timeout_s=settings.request_timeout_s,
        max_timeout_s=settings.max_request_timeout_s,
    )


def _study_policy(settings: GatewaySettings, policy: Policy) -> Policy:
    """A study weighs as much as that of a job, and is for who may send jobs."""
    limits = BodyLimits(settings.max_volume_bytes + ENVELOPE_BYTES, settings.replay_limit_bytes)
    return replace(policy, body_limits=limits, scope=Scope.JOBS)


def _require(auth: Authenticator, request: Request, scope: Scope) -> None:
    auth.require(request.headers, client_address(request.scope), scope, request.scope["state"])


def _guard_metrics(app: FastAPI, auth: Authenticator, metrics: UpstreamMetrics) -> None:
    @app.get(READ_METRICS.path, include_in_schema=False)
    async def guarded_metrics(request: Request) -> Response:
        _require(auth, request, Scope.ADMIN)
        return Response(metrics.render(), media_type=METRICS_MEDIA_TYPE)

    _to_the_front(app)


def _to_the_front(app: FastAPI) -> None:
    """Make the route added last the first to match, before the shell's own of the same path."""
    app.router.routes.insert(0, app.router.routes.pop())


def _add_models(app: FastAPI, auth: Authenticator, catalogue: Catalogue) -> None:
    @app.get(LIST_MODELS.path, include_in_schema=False)
    async def list_models(request: Request) -> Response:
        _require(auth, request, Scope.INFER)
        return _json(await catalogue.models())

    @app.get(DESCRIBE_MODEL.path, include_in_schema=False)
    async def describe_model(request: Request, name: str) -> Response:
        _require(auth, request, Scope.INFER)
        return _json(await catalogue.model(name))

    @app.get(READ_MODEL_CARD.path, include_in_schema=False)
    async def model_card(request: Request, name: str) -> Response:
        _require(auth, request, Scope.INFER)
        return Response(await catalogue.card(name), media_type="text/markdown")


def _json(contract: Contract) -> Response:
    return Response(contract.model_dump_json(), media_type="application/json")


def _add_openapi(app: FastAPI) -> None:
    document = openapi_document(app.version)

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        return Response(document, media_type="application/json")


def _allow_origins(app: FastAPI, origins: tuple[str, ...]) -> None:
    """Let scripts of ``origins`` send and read every header that the document has; of others they do not know."""
    if not origins:
        return
    parameters = (parameter for operation in PUBLIC for parameter in operation.parameters)
    answers = (answer for operation in PUBLIC for answer in all_answers(operation).values())
    app.add_middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=[*_UNLISTED_HEADERS, *{found.name for found in parameters if found.place == "header"}],
        expose_headers=sorted({header.name for answer in answers for header in answer.all_headers}),
    )
