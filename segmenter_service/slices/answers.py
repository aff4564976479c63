"""A finished segmentation as an HTTP answer: JSON, the mask, the overlay, or the image alone."""

from __future__ import annotations

from starlette.responses import Response

from core.contracts.common import ModelIdentity, TimingMs
from core.contracts.operations.slices import in_header, input_check_headers
from segmenter_service.slices.masks import count_pixels
from segmenter_service.slices.model import Outlined, Prepared, finish
from segmenter_service.slices.negotiation import Representation
from segmenter_service.slices.render import render_image, render_mask, render_overlay

# What is sent depends on Accept, so a cache must keep the answers apart.
_VARY = {"Vary": "Accept"}


def build_answer(
    prepared: Prepared,
    outlined: Outlined,
    threshold: float,
    representation: Representation,
    *,
    identity: ModelIdentity,
    timing: TimingMs,
    request_id: str,
) -> Response:
    """The answer for one request; walks over every pixel of the original: run it in a thread."""
    if representation is Representation.JSON:
        answer = finish(prepared, outlined, threshold, identity=identity, timing=timing, request_id=request_id)
        return Response(answer.model_dump_json(), media_type=representation.value, headers=_VARY)
    picture = _draw(prepared, outlined, representation)
    headers = _picture_headers(prepared, outlined, threshold, identity, timing)
    return Response(picture, media_type=representation.value, headers={**_VARY, **headers})


def _draw(prepared: Prepared, outlined: Outlined, representation: Representation) -> bytes:
    if representation is Representation.MASK:
        return render_mask(outlined.mask)
    if representation is Representation.OVERLAY:
        return render_overlay(prepared.backdrop, outlined.mask)
    return render_image(prepared.backdrop)


def _picture_headers(
    prepared: Prepared, outlined: Outlined, threshold: float, identity: ModelIdentity, timing: TimingMs
) -> dict[str, str]:
    """What the JSON answer says beside the mask, for callers who only take a picture."""
    headers = {
        "X-Falx-Model": f"{identity.name}@{identity.version}",
        "X-Falx-Model-Sha256": identity.sha256,
        "X-Falx-Provider": identity.provider,
        "X-Falx-Threshold": f"{threshold:g}",
        "X-Falx-Tumor-Pixels": str(count_pixels(outlined.mask)),
        "X-Falx-Max-Probability": f"{outlined.max_probability:.4f}",
        "X-Falx-Sequences": ",".join(prepared.slices),
        "Server-Timing": ", ".join(f"{step};dur={ms:.2f}" for step, ms in timing.model_dump().items()),
    }
    headers |= input_check_headers(prepared.input_check)
    if prepared.warnings:
        headers["X-Falx-Warnings"] = in_header(prepared.warnings)
    return headers
