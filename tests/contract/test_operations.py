"""Real answers against the descriptions of the operations, and the two documents made from these against each other."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from core.contracts.operations.analyses import ANALYZE, ANALYZE_BATCH, CLASSIFY_PART
from core.contracts.operations.jobs import JOBS
from core.contracts.operations.operation import JSON, Operation
from core.contracts.operations.service import MODELS, SERVICE
from core.contracts.operations.slices import CLASSIFY, SEGMENT, SLICES
from core.contracts.operations.studies import DICOM_JSON, SELECT_SERIES, STUDIES, ZIP
from gateway.keys import KeyFile, Scope, create_key
from gateway.openapi.public import PUBLIC
from tests.fixtures.answers import in_multipart
from tests.fixtures.broken import huge_png
from tests.fixtures.images import as_image, encode, make_head_slice, make_png, to_png
from tests.fixtures.servers import Reply, Server, free_port, running
from tests.fixtures.volumes import to_zip
from tests.support.documents import PLAIN, Json, check_answer, documented
from tests.support.gateway import gateway_before
from tests.support.gateway_jobs import JOBS as JOBS_PATH
from tests.support.gateway_jobs import Volumes, body, volume, volumes
from tests.support.studies import FLAIR

pytestmark = pytest.mark.timeout(600)

ORIGIN = "https://viewer.example.org"
PUBLISHED = {operation.id: operation for operation in PUBLIC}
ALIASES = {"/v1/classifications": "/predict_classification", "/v1/segmentations": "/predict_segmentation"}
IMAGE = make_png(64, 64)
PNG = {"Content-Type": "image/png"}
MANY = as_image(make_head_slice(64, 64))
STUDY = to_zip(FLAIR).getvalue()
# Of several pages only the first is used, which is warned of.
PAGES = encode(MANY, "TIFF", save_all=True, append_images=[MANY])


@dataclass(frozen=True, slots=True)
class Ask:
    """A request to an operation, and the status that it is answered with."""

    operation: str
    status: int
    query: str = ""
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    method: str = ""


def of_slices(operation: Operation, model: str = "model") -> list[Ask]:
    name = operation.id
    return [
        Ask(name, 200, "", IMAGE, PNG),
        Ask(name, 400, "", IMAGE[:100], PNG),
        Ask(name, 404, f"?{model}=none", IMAGE, PNG),
        Ask(name, 405, method="PATCH"),
        Ask(name, 413, "", huge_png(), PNG),
        Ask(name, 415, "", IMAGE, {"Content-Type": "text/plain"}),
        Ask(name, 415, "", IMAGE, {**PNG, "Content-Encoding": "gzip"}),
        Ask(name, 422, "", to_png(make_head_slice(64, 64)[:1, :1]), PNG),
    ]


SHARED = [
    *of_slices(CLASSIFY),
    Ask("classify", 200, "?explain=cam", IMAGE, PNG),
    *of_slices(SEGMENT),
    Ask("segment", 200, "", *in_multipart({"t1": IMAGE, "flair": IMAGE})),
    Ask("segment", 200, "", PAGES, {"Content-Type": "image/tiff", "Accept": "image/png"}),
    Ask("segment", 200, "?render=overlay", IMAGE, PNG),
    Ask("segment", 200, "?render=image", IMAGE, PNG),
    Ask("segment", 406, "", IMAGE, {**PNG, "Accept": "text/html"}),
    Ask(SELECT_SERIES.id, 200, "", STUDY, {"Content-Type": ZIP}),
    Ask(SELECT_SERIES.id, 200, "", *in_multipart({"dicom": STUDY, "job": b'{"series": {"1.2.3.3": "t2"}}'})),
    Ask(SELECT_SERIES.id, 400, "", STUDY[:100], {"Content-Type": ZIP}),
    Ask(SELECT_SERIES.id, 400, "", b"{}", {"Content-Type": DICOM_JSON}),
    Ask(SELECT_SERIES.id, 405, method="PATCH"),
    Ask(SELECT_SERIES.id, 415, "", STUDY, {"Content-Type": "text/plain"}),
    Ask(SELECT_SERIES.id, 422, "", *in_multipart({"dicom": STUDY, "job": b'{"series": {"9.9": "t2"}}'})),
    Ask("listModels", 200),
    Ask("describeModel", 200, name="tumor-classifier"),
    Ask("describeModel", 404, name="none"),
    Ask("readModelCard", 200, name="tumor-classifier"),
    Ask("readModelCard", 404, name="none"),
    Ask("isAlive", 200),
    Ask("isReady", 200),
    Ask("readMetrics", 200),
    *(Ask(operation.id, 405, name="tumor-classifier", method="PATCH") for operation in (*MODELS, *SERVICE)),
]

# What the gateway makes of the answers of two model servers.
JOINED = [
    *of_slices(ANALYZE, "classifier"),
    Ask(ANALYZE.id, 404, "?segmenter=none", IMAGE, PNG),
    Ask(ANALYZE.id, 200, "?explain=cam", *in_multipart({"t1": IMAGE, "flair": IMAGE})),
    Ask(ANALYZE.id, 200, "", PAGES, {"Content-Type": "image/tiff", "Accept": "image/png"}),
    Ask(ANALYZE.id, 200, "?render=overlay", IMAGE, PNG),
    Ask(ANALYZE.id, 406, "", IMAGE, {**PNG, "Accept": "text/html"}),
    Ask(ANALYZE.id, 422, "", b'{"images": {}}', {"Content-Type": JSON}),
    Ask(ANALYZE_BATCH.id, 200, "", *in_multipart({"file": IMAGE})),
    Ask(ANALYZE_BATCH.id, 404, "?segmenter=none", *in_multipart({"file": IMAGE})),
    Ask(ANALYZE_BATCH.id, 415, "", IMAGE, PNG),
]


@dataclass(frozen=True, slots=True)
class Stack:
    """Two model servers, and the gateway before them with its queue, store and worker."""

    classifier: Server
    segmenter: Server
    volumes: Volumes

    def model_server(self, operation: str) -> Server:
        """The one that has the operation."""
        return self.segmenter if operation in ("segment", SELECT_SERIES.id) else self.classifier


@pytest.fixture(scope="module")
def stack(tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    env = {"FALX_MODELS_DIR": str(tiny_models), "FALX_MAX_BATCH": "1", "FALX_LOG_LEVEL": "warning"}
    with ExitStack() as servers:
        classifier = servers.enter_context(running("classifier_service", env))
        segmenter = servers.enter_context(running("segmenter_service", env))
        folder = tmp_path_factory.mktemp("volumes")
        served = servers.enter_context(volumes(folder, classifier.base_url, FALX_SEGMENTER_URL=segmenter.base_url))
        served.start_worker()
        yield Stack(classifier, segmenter, served)


@pytest.fixture(scope="module")
def documents(stack: Stack) -> dict[int, Json]:
    """The documents by port."""
    servers = (stack.classifier, stack.segmenter, stack.volumes.gateway)
    return {server.port: server.request("GET", "/openapi.json").json() for server in servers}


def ask(server: Server, path: str, asked: Ask) -> Reply:
    method = asked.method or PUBLISHED[asked.operation].method
    return server.request(method, path.format(name=asked.name) + asked.query, asked.body, asked.headers)


def check(document: Json, operation: Operation, reply: Reply, status: int) -> None:
    assert reply.status == status, reply.body
    media_type = reply.headers.get("content-type", "").partition(";")[0]
    check_answer(document, operation, status, reply.headers, media_type)


@pytest.mark.parametrize("asked", SHARED, ids=lambda asked: f"{asked.operation}-{asked.status}")
def test_answers_of_model_servers_and_gateway(stack: Stack, documents: dict[int, Json], asked: Ask) -> None:
    server, gateway = stack.model_server(asked.operation), stack.volumes.gateway
    operation = next(found for found in (*SLICES, *STUDIES, *MODELS, *SERVICE) if found.id == asked.operation)
    check(documents[server.port], operation, ask(server, operation.path, asked), asked.status)
    public = documents[gateway.port]
    check(public, PUBLISHED[asked.operation], ask(gateway, operation.path, asked), asked.status)
    if path := ALIASES.get(operation.path):
        alias = next(found for found in PUBLIC if found.path == path)
        check(public, alias, ask(gateway, path, asked), asked.status)


@pytest.mark.parametrize("asked", JOINED, ids=lambda asked: f"{asked.operation}-{asked.status}")
def test_answers_that_the_gateway_makes_of_two(stack: Stack, documents: dict[int, Json], asked: Ask) -> None:
    gateway, operation = stack.volumes.gateway, PUBLISHED[asked.operation]
    check(documents[gateway.port], operation, ask(gateway, operation.path, asked), asked.status)


@pytest.mark.parametrize("part", ["file", "t1ce"])
def test_the_classifiers_part_of_an_analysis(stack: Stack, documents: dict[int, Json], part: str) -> None:
    server = stack.classifier
    reply = server.request("POST", CLASSIFY_PART.path, *in_multipart({part: IMAGE}))
    check(documents[server.port], CLASSIFY_PART, reply, 200)
    check(documents[server.port], CLASSIFY_PART, server.request("POST", CLASSIFY_PART.path, b"", PNG), 400)
    assert CLASSIFY_PART.path not in documents[stack.volumes.gateway.port]["paths"]


def test_the_warnings_of_a_picture_are_there(stack: Stack) -> None:
    """Else the case above would prove nothing of the header that the public document once lacked."""
    headers = {"Content-Type": "image/tiff", "Accept": "image/png"}
    assert "x-falx-warnings" in stack.volumes.ask("POST", SEGMENT.path, PAGES, headers).headers


def test_scripts_of_another_origin_may_read_all_of_it(stack: Stack, documents: dict[int, Json]) -> None:
    headers = {"Content-Type": "image/tiff", "Accept": "image/png", "Origin": ORIGIN}
    with stack.volumes.another_gateway(stack.classifier.base_url, FALX_CORS_ORIGINS=ORIGIN) as gateway:
        reply = gateway.request("POST", SEGMENT.path, PAGES, headers)
    exposed = set(reply.headers["access-control-expose-headers"].lower().split(", "))
    shown = {name for name in reply.headers if not name.startswith("access-control-")}
    assert shown - PLAIN <= exposed
    public = documents[stack.volumes.gateway.port]
    answers = (answer for operation in PUBLIC for answer in documented(public, operation)["responses"].values())
    assert exposed == {name.lower() for answer in answers for name in answer["headers"]}


class Jobs:
    """Asks for jobs and checks each answer."""

    def __init__(self, served: Volumes, document: Json) -> None:
        self.served = served
        self.document = document
        self.seen: set[tuple[str, int]] = set()

    def ask(
        self,
        operation_id: str,
        status: int,
        job: str = "",
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        method: str = "",
        **rest: str,
    ) -> Reply:
        operation = PUBLISHED[operation_id]
        path = operation.path.format(job_id=job, name=rest.get("name", "")) + rest.get("query", "")
        reply = self.served.ask(method or operation.method, path, data, headers)
        check(self.document, operation, reply, status)
        self.seen.add((operation_id, status))
        return reply

    def submit(self, status: int, kind: str = "echo", **headers: str) -> Reply:
        data, content_type = body({"type": kind}, flair=volume(seed=len(kind)))
        return self.ask("submitJob", status, "", data, {**content_type, **headers})


def test_answers_about_jobs(stack: Stack, documents: dict[int, Json]) -> None:
    jobs = Jobs(stack.volumes, documents[stack.volumes.gateway.port])
    done = jobs.submit(200, Prefer="wait=250").json()["id"]
    again = {"Idempotency-Key": "one"}
    jobs.submit(202, **again)
    jobs.submit(422, "segmentation", **again)
    jobs.ask("submitJob", 400, "", b"", {"Content-Type": "multipart/form-data; boundary=x"})
    jobs.ask("submitJob", 415, "", b"x", {"Content-Type": "text/plain"})
    jobs.ask("listJobs", 200, query="?limit=1")
    jobs.ask("listJobs", 400, query="?limit=none")
    for operation in JOBS:
        jobs.ask(operation.id, 405, done, method="PATCH", name="report.json")
        if operation.path != JOBS_PATH:
            jobs.ask(operation.id, 404, "0" * 32, name="report.json")
    jobs.ask("readJob", 200, done)
    jobs.ask("listResults", 200, done)
    etag = jobs.ask("readReport", 200, done).headers["etag"]
    jobs.ask("readReport", 304, done, headers={"If-None-Match": etag})
    etag = jobs.ask("readResult", 200, done, name="copy-flair").headers["etag"]
    jobs.ask("readResult", 206, done, name="copy-flair", headers={"Range": "bytes=0-3"})
    jobs.ask("readResult", 304, done, name="copy-flair", headers={"If-None-Match": etag})
    jobs.ask("readResult", 416, done, name="copy-flair", headers={"Range": "bytes=99999999-"})
    last = jobs.ask("followJob", 200, done).body.decode().rpartition("id: ")[2].partition("\n")[0]
    jobs.ask("followJob", 204, done, headers={"Last-Event-ID": last})
    slow = jobs.submit(202, "slow").json()["id"]
    jobs.ask("cancelJob", 202, slow)
    jobs.ask("cancelJob", 409, done)
    jobs.ask("deleteJob", 204, done)
    jobs.ask("readJob", 410, done)
    assert jobs.seen >= {(operation.id, status) for operation in JOBS for status in operation.answers}


def test_what_the_gateway_refuses_by_itself(stack: Stack, documents: dict[int, Json], tmp_path: Path) -> None:
    """Without a key, with the wrong one, above the limit, and with nobody behind it."""
    public = documents[stack.volumes.gateway.port]
    keys = {scope: create_key(scope, frozenset({scope})) for scope in Scope}
    file = tmp_path / "keys.json"
    file.write_text(KeyFile(keys=tuple(new.record for new in keys.values())).model_dump_json())
    env = {"FALX_API_KEYS_FILE": str(file), "FALX_RATE_LIMIT": "1/minute"}
    with gateway_before(f"http://127.0.0.1:{free_port()}", env=env, wait_ready=False) as gateway:
        wait_until_alive(gateway)

        def asks(operation: Operation, status: int, scope: Scope | None = None) -> None:
            key = {"X-API-Key": keys[scope].key} if scope else {}
            data = IMAGE if operation.method == "POST" else None
            path = operation.path.format(job_id="0" * 32, name="any")
            check(public, operation, gateway.request(operation.method, path, data, {**PNG, **key}), status)

        for operation in PUBLIC:
            if operation.id not in ("isAlive", "isReady"):
                asks(operation, 401)
                asks(operation, 403, Scope.INFER if operation.tag == "volumes" else Scope.JOBS)
        asks(PUBLISHED["isReady"], 503)
        asks(PUBLISHED["classify"], 503, Scope.INFER)
        asks(PUBLISHED["segment"], 429, Scope.INFER)
        asks(PUBLISHED["listModels"], 503, Scope.INFER)
        asks(PUBLISHED["listJobs"], 503, Scope.JOBS)


def wait_until_alive(server: Server) -> None:
    end_s = time.monotonic() + 60
    while True:
        try:
            if server.request("GET", "/livez").status == 200:
                return
        except OSError:
            assert time.monotonic() < end_s, server.log
        time.sleep(0.05)


@pytest.mark.parametrize("operation", [*SLICES, *STUDIES, *MODELS, *SERVICE], ids=lambda operation: operation.id)
def test_both_documents_say_the_same(stack: Stack, documents: dict[int, Json], operation: Operation) -> None:
    theirs = documented(documents[stack.model_server(operation.id).port], operation)
    public = documented(documents[stack.volumes.gateway.port], operation)
    for member in ("operationId", "summary", "tags", "requestBody"):
        assert theirs.get(member) == public.get(member), member
    assert public.get("description", "").startswith(theirs.get("description", ""))
    added = [parameter for parameter in public["parameters"] if parameter not in theirs["parameters"]]
    assert len(theirs["parameters"]) + len(added) == len(public["parameters"])
    assert {parameter["name"] for parameter in added} <= {"traceparent"}
    assert public["responses"].keys() - theirs["responses"].keys() <= {"401", "403", "502", "503"}
    for status, response in theirs["responses"].items():
        assert shape(public["responses"][status]) == shape(response), status


def shape(response: Json) -> Json:
    """An answer without its examples: the gateway adds refusals, and needs other things than a model server."""
    content = {name: {"schema": found["schema"]} for name, found in response.get("content", {}).items()}
    return {"headers": response["headers"], "content": content}


def test_both_documents_have_the_same_schemas(stack: Stack, documents: dict[int, Json]) -> None:
    public = documents[stack.volumes.gateway.port]["components"]["schemas"]
    for server in (stack.classifier, stack.segmenter):
        theirs = documents[server.port]["components"]["schemas"]
        shared = public.keys() & theirs.keys()
        assert {"Problem", "ModelList", "Readiness"} <= shared
        assert {name: theirs[name] for name in shared} == {name: public[name] for name in shared}
