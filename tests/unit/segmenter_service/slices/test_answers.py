"""Segmentations as HTTP answers."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image
from starlette.responses import Response

from core.contracts.common import ModelIdentity, TimingMs
from core.contracts.manifest import SegmentationPreprocessing
from core.http.bodies import Upload
from core.imaging.limits import ImageLimits
from segmenter_service.slices.answers import build_answer
from segmenter_service.slices.model import Prepared, outline, prepare
from segmenter_service.slices.negotiation import Representation
from tests.fixtures.images import encode, make_dicom, make_head_slice, make_png
from tests.support.make_samples import SAMPLES, SLICES

IDENTITY = ModelIdentity(name="tiny", version="3", sha256="a" * 64, provider="CPUExecutionProvider", variant="int8")


def prepared_from(data: bytes) -> Prepared:
    return prepare({"file": Upload(data, None)}, ImageLimits(), SegmentationPreprocessing(size=64))


def two_frames() -> bytes:
    """An animated file, of which only the first frame is used and the caller told so."""
    frames = [Image.fromarray(make_head_slice(seed=seed)) for seed in (1, 2)]
    return encode(frames[0], "TIFF", save_all=True, append_images=frames[1:])


def build(prepared: Prepared, representation: Representation) -> Response:
    return build_answer(
        prepared,
        outline(prepared, np.full((64, 64), 0.75, np.float32), 0.5),
        0.5,
        representation,
        identity=IDENTITY,
        timing=TimingMs(decode=1.0, queue=2.0, inference=3.0),
        request_id="r-1",
    )


@pytest.mark.parametrize("representation", Representation)
def test_each_representation_names_its_type_and_varies(representation: Representation) -> None:
    response = build(prepared_from(make_png()), representation)
    assert response.headers["content-type"] == representation.value
    assert response.headers["vary"] == "Accept"


def test_picture_headers_say_what_the_json_says() -> None:
    prepared = prepared_from(two_frames())
    answer = json.loads(bytes(build(prepared, Representation.JSON).body))
    headers = build(prepared, Representation.MASK).headers
    assert headers["x-falx-model"] == "tiny@3"
    assert headers["x-falx-tumor-pixels"] == str(answer["tumor_pixels"])
    assert headers["x-falx-max-probability"] == "0.7500"
    assert headers["server-timing"] == "decode;dur=1.00, queue;dur=2.00, inference;dur=3.00"
    assert len(answer["warnings"]) == 1
    assert headers["x-falx-warnings"] == answer["warnings"][0]


def test_an_unfamiliar_image_is_told_in_json_and_in_headers() -> None:
    photograph = np.random.default_rng(3).integers(0, 256, (96, 96, 3), np.uint8)
    prepared = prepared_from(encode(Image.fromarray(photograph), "PNG"))
    check = json.loads(bytes(build(prepared, Representation.JSON).body))["input_check"]
    assert not check["in_distribution"]
    assert "the image is coloured; MR slices are grey" in check["reasons"]
    for representation in (Representation.MASK, Representation.OVERLAY, Representation.IMAGE):
        headers = build(prepared, representation).headers
        assert headers["x-falx-input-check"] == "unfamiliar"
        assert headers["x-falx-input-score"] == f"{check['score']:.4f}"
        assert headers["x-falx-input-reasons"] == "; ".join(check["reasons"])


@pytest.mark.parametrize("name", SLICES)
def test_a_familiar_image_has_no_reasons(name: str) -> None:
    prepared = prepared_from((SAMPLES / name).read_bytes())
    check = json.loads(bytes(build(prepared, Representation.JSON).body))["input_check"]
    assert check["in_distribution"]
    assert check["reasons"] == []
    headers = build(prepared, Representation.MASK).headers
    assert headers["x-falx-input-check"] == "familiar"
    assert "x-falx-input-reasons" not in headers


def test_no_warnings_no_header() -> None:
    assert "x-falx-warnings" not in build(prepared_from(make_png()), Representation.OVERLAY).headers


def test_image_of_a_dicom_file_is_the_slice_under_its_window_without_the_outline() -> None:
    head = make_head_slice(96, 128, seed=4)
    elements = {"WindowCenter": 100, "WindowWidth": 100, "RescaleSlope": 1, "RescaleIntercept": 0}
    prepared = prepared_from(make_dicom(head, elements=elements))
    response = build(prepared, Representation.IMAGE)
    picture = Image.open(io.BytesIO(bytes(response.body)))
    assert (picture.format, picture.mode, picture.size) == ("PNG", "L", (128, 96))
    windowed = np.clip((head.astype(float) - 99.5) / 99 + 0.5, 0, 1) * 255
    assert np.abs(np.asarray(picture) - windowed).max() <= 1
    answer = json.loads(bytes(build(prepared, Representation.JSON).body))
    assert response.headers["x-falx-tumor-pixels"] == str(answer["tumor_pixels"]) != "0"
