"""``POST /v1/segmentations`` on a real process with a real, tiny network that outlines what is bright."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from pycocotools import mask as coco

from core.contracts.operations.bodies import INLINE_EXAMPLE
from core.contracts.problem import Problem
from core.contracts.segmentation import Segmentation
from tests.fixtures.answers import in_json, in_multipart, open_png, without_timing
from tests.fixtures.images import make_dicom, make_png, to_jpeg, to_png
from tests.fixtures.servers import Reply, Server, running

PATH = "/v1/segmentations"
PNG = {"Content-Type": "image/png"}
JSON = {"Content-Type": "application/json"}
HEIGHT, WIDTH = 181, 240
RED = (255, 0, 0)

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def server(tiny_models: Path) -> Iterator[Server]:
    with running("segmenter_service", {"FALX_MODELS_DIR": str(tiny_models)}) as server:
        yield server


def post(server: Server, body: bytes, headers: Mapping[str, str] = PNG, query: str = "") -> Reply:
    return server.request("POST", PATH + query, body, headers)


def lesion_at(row: int, column: int, height: int = HEIGHT, width: int = WIDTH) -> npt.NDArray[np.bool_]:
    y, x = np.mgrid[:height, :width]
    return np.asarray((y - row) ** 2 + (x - column) ** 2 <= 16**2)


def head_with(lesion: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """A dim head with the lesion bright in it."""
    height, width = lesion.shape
    y, x = np.mgrid[:height, :width]
    head = np.where((y / height - 0.5) ** 2 + (x / width - 0.5) ** 2 < 0.19, 70, 0).astype(np.uint8)
    head[lesion] = 240
    return head


LESION = lesion_at(70, 150)
HEAD = to_png(head_with(LESION))


def dice(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    return float(2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other)))


def decode_mask(answer: Mapping[str, Any]) -> npt.NDArray[np.bool_]:
    return np.asarray(coco.decode(dict(answer["mask"])), np.bool_)


def test_the_mask_lies_on_the_lesion_in_the_own_pixels(server: Server) -> None:
    reply = post(server, HEAD)
    assert reply.status == 200
    answer = Segmentation.model_validate_json(reply.body)
    mask = decode_mask(reply.json())
    assert answer.size == mask.shape == (HEIGHT, WIDTH)
    assert dice(mask, LESION) > 0.9
    assert answer.tumor_pixels == np.count_nonzero(mask)
    assert answer.area_mm2 is None
    rows, columns = np.nonzero(mask)
    assert answer.bounding_box is not None
    left, top, width, height = answer.bounding_box
    assert (left, top, left + width - 1, top + height - 1) == (
        columns.min(),
        rows.min(),
        columns.max(),
        rows.max(),
    )
    assert len(answer.contours) == 1
    assert 0.9 < answer.max_probability <= 1
    assert answer.threshold == 0.5
    assert answer.sequences == ("image",)
    assert answer.request_id == reply.headers["x-request-id"]
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["vary"] == "Accept"


def test_the_three_representations_agree(server: Server) -> None:
    mask = decode_mask(post(server, HEAD).json())
    picture = post(server, HEAD, {**PNG, "Accept": "image/png"})
    overlay = post(server, HEAD, {**PNG, "Accept": "image/png; profile=overlay"})
    assert picture.headers["content-type"] == "image/png"
    assert overlay.headers["content-type"] == "image/png; profile=overlay"
    assert np.array_equal(open_png(picture.body), mask * np.uint8(255))
    drawn = open_png(overlay.body)
    border = (drawn == RED).all(axis=2)
    padded = np.pad(mask, 1)
    neighbours = padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    assert np.array_equal(border, neighbours & ~mask)
    assert np.abs(drawn[~border].astype(int) - head_with(LESION)[~border][:, None]).max() <= 1


def test_pictures_carry_what_the_json_says(server: Server) -> None:
    answer = post(server, HEAD, query="?threshold=0.25").json()
    headers = post(server, HEAD, {**PNG, "Accept": "image/png"}, "?threshold=0.25").headers
    assert headers["x-falx-model"] == "tumor-segmenter@1"
    assert headers["x-falx-model-sha256"] == answer["model"]["sha256"]
    assert headers["x-falx-provider"] == "CPUExecutionProvider"
    assert headers["x-falx-threshold"] == "0.25"
    assert headers["x-falx-tumor-pixels"] == str(answer["tumor_pixels"])
    assert float(headers["x-falx-max-probability"]) == pytest.approx(answer["max_probability"], abs=1e-4)
    assert headers["x-falx-sequences"] == "image"
    assert "inference;dur=" in headers["server-timing"]
    assert len(headers["x-request-id"]) > 8
    assert headers["cache-control"] == "no-store"


def test_render_asks_for_the_overlay(server: Server) -> None:
    by_accept = post(server, HEAD, {**PNG, "Accept": "image/png;profile=overlay"})
    by_query = post(server, HEAD, query="?render=overlay")
    assert by_query.headers["content-type"] == "image/png; profile=overlay"
    assert by_query.body == by_accept.body


def test_every_body_gives_the_same_answer(server: Server) -> None:
    raw = post(server, HEAD).json()
    multipart = post(server, *in_multipart({"file": HEAD})).json()
    in_text = post(server, json.dumps({"image": in_json(HEAD)}).encode(), JSON).json()
    answers = [without_timing(answer) for answer in (raw, multipart, in_text)]
    assert answers == [answers[0]] * 3


def as_sequence(seed: int) -> bytes:
    """The head and its lesion in a texture of its own: another sequence of the same slice."""
    texture = np.random.default_rng(seed).uniform(0.5, 1.0, (HEIGHT, WIDTH))
    return to_png((head_with(LESION) * texture).astype(np.uint8))


def test_named_sequences_are_used_as_named(server: Server) -> None:
    parts = {name: as_sequence(seed) for seed, name in enumerate(("t1", "t1ce", "t2", "flair"))}
    four = post(server, *in_multipart(parts)).json()
    assert (four["sequences"], four["warnings"]) == (["t1", "t1ce", "t2", "flair"], [])
    # The tiny network takes the mean of the channels: four together show the lesion, a single one is a quarter of it.
    assert dice(decode_mask(four), LESION) > 0.8
    one = post(server, *in_multipart({"flair": HEAD})).json()
    assert (one["sequences"], one["tumor_pixels"]) == (["flair"], 0)
    in_text = {"images": {name: in_json(image) for name, image in parts.items()}}
    assert without_timing(post(server, json.dumps(in_text).encode(), JSON).json()) == without_timing(four)


def test_a_sequence_that_repeats_another_counts_once(server: Server) -> None:
    parts = dict.fromkeys(("t1", "t1ce", "t2", "flair"), HEAD)
    copies = post(server, *in_multipart(parts)).json()
    assert copies["mask"] == post(server, *in_multipart({"flair": HEAD})).json()["mask"]
    assert copies["warnings"] == [
        f"{name}: the same image as flair, so it was left out" for name in ("t2", "t1ce", "t1")
    ]


def test_a_lower_threshold_outlines_more(server: Server) -> None:
    low = post(server, HEAD, query="?threshold=0.05").json()
    high = post(server, HEAD, query="?threshold=0.95").json()
    assert low["tumor_pixels"] > high["tumor_pixels"] > 0
    assert (low["threshold"], high["threshold"]) == (0.05, 0.95)
    assert low["max_probability"] == high["max_probability"]


def test_dicom_spacing_gives_the_area(server: Server) -> None:
    dicom = make_dicom(head_with(LESION), elements={"PixelSpacing": [0.5, 0.8]})
    answer = post(server, dicom, {"Content-Type": "application/dicom"}).json()
    assert answer["area_mm2"] == pytest.approx(answer["tumor_pixels"] * 0.4)


def test_a_rotated_photo_is_answered_upright(server: Server) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side: turn right to view
    stored = to_jpeg(np.rot90(head_with(LESION)), exif=exif)
    answer = post(server, stored, {"Content-Type": "image/jpeg"}).json()
    assert answer["size"] == [HEIGHT, WIDTH]
    assert dice(decode_mask(answer), LESION) > 0.9


def test_no_tumour_is_an_answer(server: Server) -> None:
    empty = to_png(head_with(np.zeros((HEIGHT, WIDTH), np.bool_)))
    answer = post(server, empty, query="?threshold=0.999999").json()
    assert (answer["tumor_pixels"], answer["contours"], answer["bounding_box"]) == (0, [], None)
    assert not open_png(post(server, empty, {**PNG, "Accept": "image/png"}, "?threshold=0.999999").body).any()


@pytest.mark.parametrize(
    ("query", "headers", "status", "code", "pointer"),
    [
        ("?threshold=0", {}, 400, "invalid-request", "query/threshold"),
        ("?threshold=1", {}, 400, "invalid-request", "query/threshold"),
        ("?threshold=nan", {}, 400, "invalid-request", "query/threshold"),
        ("?threshold=half", {}, 400, "invalid-request", "query/threshold"),
        ("?render=contour", {}, 400, "invalid-request", "query/render"),
        ("?explain=cam", {}, 400, "invalid-request", "query/explain"),
        ("?model=tumor-classifier", {}, 404, "unknown-model", None),
        ("", {"Accept": "application/dicom"}, 406, "not-acceptable", None),
        ("", {"Accept": "text/html;q=0.9, image/jpeg"}, 406, "not-acceptable", None),
        ("", {"X-Request-Timeout-Ms": "soon"}, 400, "invalid-request", "header/X-Request-Timeout-Ms"),
    ],
)
def test_a_faulty_wish_is_named(
    server: Server, query: str, headers: dict[str, str], status: int, code: str, pointer: str | None
) -> None:
    reply = post(server, HEAD, {**PNG, **headers}, query)
    problem = Problem.model_validate_json(reply.body)
    assert (reply.status, problem.status, problem.code) == (status, status, code)
    assert [error.pointer for error in problem.errors] == ([pointer] if pointer else [])


@pytest.mark.parametrize(
    ("parts", "status", "code", "words"),
    [
        ({"t1": make_png(100, 80), "t2": make_png(100, 81)}, 422, "inconsistent-geometry", "t1 80x100, t2 81x100"),
        ({"t1": HEAD, "t2": HEAD[:500]}, 400, "invalid-image", ""),
        ({"file": HEAD, "t1": HEAD}, 400, "invalid-request", "not both"),
        ({"adc": HEAD}, 400, "invalid-request", ""),
        ({}, 400, "invalid-request", ""),
    ],
)
def test_parts_that_do_not_fit_are_named(
    server: Server, parts: dict[str, bytes], status: int, code: str, words: str
) -> None:
    reply = post(server, *in_multipart(parts))
    assert (reply.status, reply.json()["code"]) == (status, code)
    assert words in reply.json()["detail"]


def test_the_broken_one_of_several_parts_is_named(server: Server) -> None:
    problem = post(server, *in_multipart({"t1": HEAD, "t2": HEAD[:500]})).json()
    assert [error["pointer"] for error in problem["errors"]] == ["part/t2"]


def test_an_empty_set_of_images_misses_a_sequence(server: Server) -> None:
    reply = post(server, b'{"images": {}}', JSON)
    assert (reply.status, reply.json()["code"]) == (422, "missing-sequence")


def test_the_document_shows_an_example_that_holds(server: Server) -> None:
    document: Any = server.request("GET", "/openapi.json").json()
    operation = document["paths"][PATH]["post"]
    content = operation["responses"]["200"]["content"]
    example = Segmentation.model_validate(content["application/json"]["example"])
    assert np.count_nonzero(decode_mask(content["application/json"]["example"])) == example.tumor_pixels
    assert "image/png" in content
    assert {"400", "404", "406", "413", "415", "422", "429", "503", "504"} <= operation["responses"].keys()
    # JSON bodies stand in its words.
    assert f"`{INLINE_EXAMPLE}`" in operation["description"]
    assert post(server, INLINE_EXAMPLE.encode(), JSON).status == 200
    for status, response in operation["responses"].items():
        for shown in response["content"].get("application/problem+json", {}).get("examples", {}).values():
            assert Problem.model_validate(shown["value"]).status == int(status)
