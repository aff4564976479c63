"""Who gets which representation."""

from __future__ import annotations

import pytest

from core.contracts.operations.slices import Rendered
from core.errors import NotAcceptable
from segmenter_service.slices.negotiation import Representation, negotiate

JSON, MASK = Representation.JSON, Representation.MASK
OVERLAY, IMAGE = Representation.OVERLAY, Representation.IMAGE

ANSWERS = [
    (None, JSON),
    ("", JSON),
    ("*/*", JSON),
    ("application/json", JSON),
    ("Application/JSON; charset=utf-8", JSON),
    ("application/*", JSON),
    ("image/png", MASK),
    ("image/*", MASK),
    ("image/png; profile=overlay", OVERLAY),
    ('image/png;profile="overlay"', OVERLAY),
    ("image/png;profile=overlay;q=0.5", OVERLAY),
    ("image/png; profile=image", IMAGE),
    ("image/png;profile=image;q=0.5, image/png;profile=overlay;q=0.4", IMAGE),
    ("image/png;profile=image, image/png;profile=overlay", OVERLAY),
    ("image/png, application/json", JSON),
    ("image/png, application/json;q=0.9", MASK),
    ("image/png;q=0.5, image/png;profile=overlay", OVERLAY),
    ("image/png, image/png;profile=overlay;q=0.5", MASK),
    ("*/*;q=0.1, image/png", MASK),
    ("application/json;q=0, */*", MASK),
    ("application/json;q=0, image/png;q=0, image/png;profile=overlay", OVERLAY),
    ("text/html, application/xhtml+xml, */*;q=0.8", JSON),
    ("image/avif,image/webp,image/png,image/*;q=0.8,*/*;q=0.5", MASK),
    ("application/dicom, application/json;q=0.1", JSON),
    ("image/png;q=high, application/json;q=0.1", JSON),
    (",, image/png ,", MASK),
]

REFUSED = [
    "application/dicom",
    "text/html",
    "image/jpeg",
    "image/png;profile=contour",
    "application/json;q=0",
    "*/*;q=0",
    "application/json;q=nan",
    "application/json;q=2",
    "nonsense",
]


@pytest.mark.parametrize(("accept", "expected"), ANSWERS)
def test_best_match_wins(accept: str | None, expected: Representation) -> None:
    assert negotiate(accept) is expected


@pytest.mark.parametrize("accept", REFUSED)
def test_refusal_lists_what_there_is(accept: str) -> None:
    with pytest.raises(NotAcceptable) as refused:
        negotiate(accept)
    for representation in Representation:
        assert representation.value in refused.value.detail


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "text/html"])
@pytest.mark.parametrize(("render", "expected"), [("overlay", OVERLAY), ("image", IMAGE)])
def test_render_in_the_address_decides_alone(accept: str | None, render: Rendered, expected: Representation) -> None:
    assert negotiate(accept, render) is expected
