"""What requests carry: images of one slice, or volumes with what is wanted of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from core.contracts.jobs import JobRequest
from core.contracts.operations.operation import BINARY, JSON, Content, Json
from core.contracts.sequences import SEQUENCES

IMAGE_MEDIA_TYPES: Final = ("image/png", "image/jpeg", "image/tiff", "image/webp", "image/bmp", "application/dicom")
MULTIPART: Final = "multipart/form-data"
IMAGE_PART: Final = "file"
"""The part that holds an image of unknown sequence."""
STUDY_PART: Final = "dicom"
"""The part that holds a zipped study."""
REQUEST_PART: Final = "job"
"""The part that says what is wanted of volumes."""


def image_body(sequences: Sequence[str] = ()) -> Mapping[str, Content]:
    """What ``core.http.bodies.read_images`` takes, by media type; ``sequences`` are the further names of parts.

    In flat objects, and without JSON, which is read as well: which parts go together, and what the JSON looks like, is
    for the operation's words. Of several types many generators of clients choose JSON, and offer no file any more
    (docs/adr/0037).
    """
    parts: Json = {IMAGE_PART: BINARY, **dict.fromkeys(sequences, BINARY)}
    return {
        MULTIPART: Content(_object(parts) if sequences else _object(parts, IMAGE_PART)),
        **{media_type: Content(BINARY) for media_type in (*IMAGE_MEDIA_TYPES, "application/octet-stream")},
    }


def files_body() -> Mapping[str, Content]:
    """Several images, in parts of one name."""
    return {MULTIPART: Content(_object({IMAGE_PART: {"type": "array", "minItems": 1, "items": BINARY}}, IMAGE_PART))}


def _object(properties: Json, *required: str) -> Json:
    """An object with the ``required`` properties; with one of them at least where none is named."""
    least: Json = {"required": list(required)} if required else {"minProperties": 1}
    return {"type": "object", **least, "properties": properties, "additionalProperties": False}


def volume_body() -> Mapping[str, Content]:
    """What ``POST /v1/jobs`` takes: a description of the job, and parts named by sequence or a study.

    The description comes first, as generated clients keep this order: so it is judged before volumes are uploaded.
    """
    parts = _object({REQUEST_PART: JobRequest, **dict.fromkeys((*SEQUENCES, STUDY_PART), BINARY)})
    return {MULTIPART: Content(parts, encoding={REQUEST_PART: {"contentType": JSON}})}
