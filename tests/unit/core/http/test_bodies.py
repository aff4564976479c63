"""Images out of bodies: what is taken, and what is refused with the fault named."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi import FastAPI

from core.contracts.problem import Problem
from core.http.problems import ACCEPT_POST
from tests.fixtures.bodies import (
    BOUNDARY,
    END,
    MAX_BYTES,
    MULTIPART,
    PIXELS,
    SEQUENCES,
    b64,
    images,
    in_json,
    make_app,
    part,
    post,
)
from tests.fixtures.servers import serving


@pytest.fixture(scope="module")
def app() -> FastAPI:
    return make_app()


@pytest.fixture(scope="module")
def url(app: FastAPI) -> Iterator[str]:
    with serving(app) as base_url:
        yield base_url


# --- taken --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content_type", "declared"),
    [
        ("image/png", "image/png"),
        ("image/jpeg", "image/jpeg"),
        ("image/tiff", "image/tiff"),
        ("image/webp", "image/webp"),
        ("image/bmp", "image/bmp"),
        ("application/dicom", "application/dicom"),
        ("application/octet-stream", None),
        ("IMAGE/PNG", "image/png"),
        ("image/png; name=x", "image/png"),
        ("image/jpg", "image/jpeg"),
        ("application/dicom; transfer-syntax=1.2.840.10008.1.2.1", "application/dicom"),
    ],
)
def test_a_raw_body_is_the_single_image(url: str, content_type: str, declared: str | None) -> None:
    assert images(post(url, PIXELS, content_type)) == {"file": (PIXELS, declared)}


def test_a_multipart_file(url: str) -> None:
    assert images(post(url, part("file") + END, MULTIPART, "/v1/slice")) == {"file": (PIXELS, "image/png")}


def test_sequences_by_name_in_any_number_and_order(url: str) -> None:
    body = part("flair") + part("t1", b"T1", "application/octet-stream") + part("t2", b"T2", None) + END
    assert images(post(url, body, MULTIPART)) == {
        "flair": (PIXELS, "image/png"),
        "t1": (b"T1", None),
        "t2": (b"T2", None),
    }


def test_bytes_that_look_like_a_boundary_are_kept(url: str) -> None:
    tricky = f"\r\n--{BOUNDARY[:-1]}\r\n--{BOUNDARY}x\r\n\r--".encode() + b"\r\n"
    assert images(post(url, part("file", tricky) + END, MULTIPART)) == {"file": (tricky, "image/png")}


def test_a_quoted_boundary_a_preamble_line_and_an_epilogue(url: str) -> None:
    body = b"\r\n" + part("file") + END + b"epilogue"
    assert images(post(url, body, f'multipart/form-data; boundary="{BOUNDARY}"')) == {"file": (PIXELS, "image/png")}


def test_json_with_one_image(url: str) -> None:
    body = in_json({"image": b64()})
    assert images(post(url, body, "application/json; charset=utf-8", "/v1/slice")) == {"file": (PIXELS, None)}


def test_json_with_sequences(url: str) -> None:
    body = in_json({"images": {"t1": b64(b"T1"), "flair": b64(b"F")}})
    assert images(post(url, body, "application/json")) == {"t1": (b"T1", None), "flair": (b"F", None)}


def test_each_part_may_have_the_full_size(url: str) -> None:
    full = b"x" * MAX_BYTES
    body = b"".join(part(name, full) for name in SEQUENCES[1:]) + END
    assert {name: len(data) for name, (data, _) in images(post(url, body, MULTIPART)).items()} == dict.fromkeys(
        SEQUENCES[1:], MAX_BYTES
    )
    assert images(post(url, full, "image/png"))["file"][0] == full
    assert images(post(url, in_json({"image": b64(full)}), "application/json"))["file"][0] == full


# --- refused ------------------------------------------------------------------------------------------------------

HEADERLESS = f"--{BOUNDARY}\r\n\r\n".encode() + PIXELS + b"\r\n" + END
NO_NAME = f"--{BOUNDARY}\r\nContent-Disposition: form-data\r\n\r\n".encode() + PIXELS + b"\r\n" + END
BAD_HEADER = f"--{BOUNDARY}\r\nContent Disposition: form-data\r\n\r\n".encode() + PIXELS + b"\r\n" + END
DEEP = b'{"image":' + b"[" * 5000 + b"]" * 5000 + b"}"

REFUSED = [
    # name, content type, body, status, code, pointer, word of the detail
    ("no body, raw", "image/png", b"", 400, "invalid-request", None, "no body"),
    ("no body, multipart", MULTIPART, b"", 400, "invalid-request", None, "no body"),
    ("no body, JSON", "application/json", b"", 400, "invalid-request", None, "no body"),
    ("no content type", None, PIXELS, 415, "unsupported-media-type", None, "missing"),
    ("form", "application/x-www-form-urlencoded", b"file=1", 415, "unsupported-media-type", None, "Known:"),
    ("text", "text/plain", b"hello", 415, "unsupported-media-type", None, "text/plain"),
    ("gif", "image/gif", PIXELS, 415, "unsupported-media-type", None, "image/gif"),
    (
        "multipart/mixed",
        f"multipart/mixed; boundary={BOUNDARY}",
        part("file") + END,
        415,
        "unsupported-media-type",
        None,
        "",
    ),
    ("nonsense type", "png", PIXELS, 415, "unsupported-media-type", None, "png"),
    (
        "part of a wrong type",
        MULTIPART,
        part("file", PIXELS, "text/html") + END,
        415,
        "unsupported-media-type",
        None,
        "file",
    ),
    ("raw too large", "image/png", b"x" * (MAX_BYTES + 1), 413, "input-too-large", None, "1000 bytes"),
    ("part too large", MULTIPART, part("t1", b"x" * 1001) + END, 413, "input-too-large", "part/t1", "1000 bytes"),
    (
        "JSON too large",
        "application/json",
        in_json({"image": b64(b"x" * 1003)}),
        413,
        "input-too-large",
        "#/image",
        "1000",
    ),
    (
        "base64 just too large",
        "application/json",
        in_json({"image": b64(b"x" * 1001)}),
        413,
        "input-too-large",
        "#/image",
        "",
    ),
    ("no boundary", "multipart/form-data", part("file") + END, 400, "invalid-request", None, "boundary"),
    ("empty boundary", "multipart/form-data; boundary=", part("file") + END, 400, "invalid-request", None, "boundary"),
    (
        "wrong boundary",
        "multipart/form-data; boundary=other",
        part("file") + END,
        400,
        "invalid-request",
        None,
        "multipart",
    ),
    ("endless boundary", f"multipart/form-data; boundary={'b' * 500}", END, 400, "invalid-request", None, "oundary"),
    ("truncated part", MULTIPART, part("file")[:-40], 400, "invalid-request", None, "closing boundary"),
    ("no closing boundary", MULTIPART, part("file"), 400, "invalid-request", None, "closing boundary"),
    ("cut in the head", MULTIPART, part("file")[:30], 400, "invalid-request", None, "closing boundary"),
    ("no part", MULTIPART, END, 400, "invalid-request", None, "no part"),
    ("not multipart at all", MULTIPART, PIXELS, 400, "invalid-request", None, "malformed"),
    ("empty part", MULTIPART, part("t2", b"") + END, 400, "invalid-request", "part/t2", "empty"),
    ("part twice", MULTIPART, part("t1") + part("t1") + END, 400, "invalid-request", "part/t1", "twice"),
    ("unknown part", MULTIPART, part("DOE") + END, 400, "invalid-request", "part", "flair"),
    (
        "file beside a sequence",
        MULTIPART,
        part("file") + part("t1") + END,
        400,
        "invalid-request",
        "part/file",
        "not both",
    ),
    ("part without headers", MULTIPART, HEADERLESS, 400, "invalid-request", "part", "Content-Disposition"),
    ("part without a name", MULTIPART, NO_NAME, 400, "invalid-request", "part", "Content-Disposition"),
    ("broken part header", MULTIPART, BAD_HEADER, 400, "invalid-request", None, "malformed"),
    (
        "part in base64",
        MULTIPART,
        part("file", extra="Content-Transfer-Encoding: base64\r\n") + END,
        400,
        "invalid-request",
        "part/file",
        "Content-Transfer-Encoding",
    ),
    ("300 headers", MULTIPART, part("file", extra="X-A: b\r\n" * 300) + END, 400, "invalid-request", None, "header"),
    ("broken JSON", "application/json", b'{"image": ', 400, "invalid-request", None, "not JSON"),
    ("JSON not UTF-8", "application/json", b'{"image": "\xff"}', 400, "invalid-request", None, "not JSON"),
    ("JSON too deep", "application/json", DEEP, 400, "invalid-request", None, ""),
    ("JSON array", "application/json", b"[]", 400, "invalid-request", "#", "object"),
    ("JSON string", "application/json", b'"x"', 400, "invalid-request", "#", "object"),
    ("JSON null", "application/json", b"null", 400, "invalid-request", "#", "object"),
    ("JSON empty", "application/json", b"{}", 400, "invalid-request", None, "exactly one"),
    (
        "JSON both",
        "application/json",
        in_json({"image": "", "images": {}}),
        400,
        "invalid-request",
        None,
        "exactly one",
    ),
    ("unknown field", "application/json", in_json({"image": "AA==", "DOE": 1}), 400, "invalid-request", "#", "unknown"),
    ("image a number", "application/json", in_json({"image": 1}), 400, "invalid-request", "#/image", "string"),
    ("image null", "application/json", in_json({"image": None}), 400, "invalid-request", "#/image", "string"),
    ("image empty", "application/json", in_json({"image": ""}), 400, "invalid-request", "#/image", "empty"),
    ("not base64", "application/json", in_json({"image": "DOE^JANE!"}), 400, "invalid-request", "#/image", "base64"),
    ("unpadded", "application/json", in_json({"image": "QUI"}), 400, "invalid-request", "#/image", "base64"),
    ("URL-safe base64", "application/json", in_json({"image": "-_-_"}), 400, "invalid-request", "#/image", "base64"),
    (
        "line breaks",
        "application/json",
        in_json({"image": "QUJD\nQUJD"}),
        400,
        "invalid-request",
        "#/image",
        "line breaks",
    ),
    ("umlauts", "application/json", in_json({"image": "äöü="}), 400, "invalid-request", "#/image", "base64"),
    (
        "data URL",
        "application/json",
        in_json({"image": "data:image/png;base64,AA=="}),
        400,
        "invalid-request",
        "#/image",
        "URL",
    ),
    ("images a list", "application/json", in_json({"images": []}), 400, "invalid-request", "#/images", "object"),
    ("images empty", "application/json", in_json({"images": {}}), 422, "missing-sequence", "#/images", "flair"),
    (
        "unknown sequence",
        "application/json",
        in_json({"images": {"DOE": "A"}}),
        400,
        "invalid-request",
        "#/images",
        "unknown",
    ),
    (
        "bad sequence",
        "application/json",
        in_json({"images": {"t1": "A"}}),
        400,
        "invalid-request",
        "#/images/t1",
        "base64",
    ),
]


@pytest.mark.parametrize(
    ("content_type", "body", "status", "code", "pointer", "word"),
    [case[1:] for case in REFUSED],
    ids=[case[0] for case in REFUSED],
)
def test_refusals_name_the_fault(
    url: str, content_type: str | None, body: bytes, status: int, code: str, pointer: str | None, word: str
) -> None:
    reply = post(url, body, content_type)
    problem = Problem.model_validate_json(reply.body)
    assert (reply.status, problem.code) == (status, code), problem.detail
    assert [fault.pointer for fault in problem.errors] == ([] if pointer is None else [pointer])
    assert word in problem.detail
    assert ("accept-post" in reply.headers) is (status == 415)
    assert "DOE" not in reply.body.decode()


def test_a_slice_route_knows_no_sequences(url: str) -> None:
    assert post(url, part("t1") + END, MULTIPART, "/v1/slice").status == 400
    reply = post(url, in_json({"images": {"t1": "AA=="}}), "application/json", "/v1/slice")
    assert reply.status == 400
    assert "known: image." in reply.json()["detail"]


def test_compressed_bodies_are_refused(url: str) -> None:
    reply = post(url, PIXELS, "image/png", Content_Encoding="gzip")
    assert reply.status == 415
    assert reply.headers["accept-encoding"] == "identity"
    assert images(post(url, PIXELS, "image/png", Content_Encoding="identity"))["file"][0] == PIXELS


def test_accept_post_lists_what_is_taken(url: str) -> None:
    assert post(url, b"x", "text/plain").headers["accept-post"] == ACCEPT_POST
