"""The gateway keeps its OpenAPI document: schemathesis against real processes, model servers included.

Bounded on purpose: a few dozen generated requests per operation find what a document promises and a server breaks;
the limits of the inputs themselves have tables of their own elsewhere.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from core.contracts.operations.bodies import IMAGE_MEDIA_TYPES
from core.jobs.embedded import EmbeddedValkey
from gateway.openapi.document import openapi_document
from gateway.openapi.public import PUBLIC
from tests.fixtures.images import make_dicom, make_jpeg, make_png
from tests.fixtures.servers import Server, running
from tests.fixtures.volumes import to_zip
from tests.support.documents import check_answer
from tests.support.studies import FLAIR

Json = dict[str, Any]

VERSION = "0.1.0"
SOUND_IMAGES = (make_png(64, 64), make_jpeg(64, 64), make_dicom())
STUDY = to_zip(FLAIR).getvalue()
# Long enough for a busy machine: a deadline that passes is right, but it is not what is looked for here.
PATIENCE_MS = 30_000

# Noise, and sound images under right and wrong names.
for media_type in (*IMAGE_MEDIA_TYPES, "application/octet-stream"):
    schemathesis.openapi.media_type(media_type, st.one_of(st.sampled_from(SOUND_IMAGES), st.binary(max_size=400)))

schemathesis.openapi.media_type("application/zip", st.one_of(st.just(STUDY), st.binary(max_size=400)))

load_all_checks()
DOCUMENT: Json = json.loads(openapi_document(VERSION))
OPERATIONS = {operation.route: operation for operation in PUBLIC}
schema = schemathesis.openapi.from_dict(DOCUMENT)


@pytest.fixture(scope="module")
def stack(tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server, Server]]:
    """Gateway, classifier, segmenter."""
    env = {"FALX_MODELS_DIR": str(tiny_models), "FALX_MAX_BATCH": "1", "FALX_LOG_LEVEL": "warning"}
    with ExitStack() as servers:
        classifier = servers.enter_context(running("classifier_service", env))
        segmenter = servers.enter_context(running("segmenter_service", env))
        folder = tmp_path_factory.mktemp("volumes")
        valkey = EmbeddedValkey(folder / "valkey")
        settings = {
            "FALX_CLASSIFIER_URL": classifier.base_url,
            "FALX_SEGMENTER_URL": segmenter.base_url,
            "FALX_REDIS_URL": valkey.start(),
            "FALX_BLOBS_URL": str(folder / "blobs"),
        }
        servers.callback(valkey.stop)
        yield servers.enter_context(running("gateway", settings)), classifier, segmenter


@pytest.fixture(scope="module")
def gateway(stack: tuple[Server, Server, Server]) -> Server:
    return stack[0]


@schema.parametrize()
@settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
def test_answers_keep_the_document(case: schemathesis.Case[Any], gateway: Server) -> None:
    be_patient(case)
    # Bytes of an image type need not be an image, so what fits the schema may well be refused; and of several files
    # each is told of in an item of its own, so what does not fit may well be answered.
    batch = case.operation.path.endswith("/batch")
    excluded: list[Any] = [positive_data_acceptance, *([negative_data_rejection] if batch else [])]
    reply = case.call_and_validate(base_url=gateway.base_url, excluded_checks=excluded, timeout=60)
    operation = OPERATIONS[f"{case.operation.method.upper()} {case.operation.path}"]
    media_type = reply.headers.get("content-type", [""])[0].partition(";")[0]
    # Methods and paths of the generator's own making may reach another operation, or none.
    if case.method.upper() == operation.method and reply.status_code != 405:
        check_answer(DOCUMENT, operation, reply.status_code, reply.headers, media_type)


def be_patient(case: schemathesis.Case[Any]) -> None:
    """Stretch a deadline that is sound but too short to keep."""
    name = "X-Request-Timeout-Ms"
    value = str(case.headers.get(name, "")) if case.headers else ""
    if value.isascii() and value.isdigit() and 1 <= int(value) < PATIENCE_MS:
        case.headers[name] = str(PATIENCE_MS)


ANYTHING = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=40), st.lists(st.integers(), max_size=3))
TEXT = st.one_of(st.sampled_from([base64.b64encode(image).decode() for image in SOUND_IMAGES]), ANYTHING)
INLINE = st.one_of(
    st.fixed_dictionaries({"image": TEXT}),
    st.fixed_dictionaries({"images": st.dictionaries(st.sampled_from(["t1", "flair", "file"]), TEXT)}),
    st.dictionaries(st.text(max_size=8), ANYTHING, max_size=3),
    ANYTHING,
)


@given(body=INLINE, path=st.sampled_from(["/v1/classifications", "/v1/segmentations", "/v1/analyses"]))
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_any_json_is_answered_as_the_document_says(body: object, path: str, gateway: Server) -> None:
    """JSON bodies are described in words alone; their answers are those of the operation all the same."""
    reply = gateway.request("POST", path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    assert reply.status in (200, 400, 413, 415, 422)
    media_type = reply.headers["content-type"].partition(";")[0]
    check_answer(DOCUMENT, OPERATIONS[f"POST {path}"], reply.status, reply.headers, media_type)


def test_document_is_the_one_served(gateway: Server) -> None:
    assert gateway.request("GET", "/openapi.json").json() == DOCUMENT
