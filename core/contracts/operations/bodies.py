"""What requests carry: images of one slice, or volumes with what is wanted of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from core.contracts.jobs import JobRequest
from core.contracts.operations.operation import BINARY, JSON, Content, Json
from core.contracts.sequences import BACKDROP_ORDER, SEQUENCES

IMAGE_MEDIA_TYPES: Final = ("image/png", "image/jpeg", "image/tiff", "image/webp", "image/bmp", "application/dicom")
MULTIPART: Final = "multipart/form-data"
IMAGE_PART: Final = "file"
"""The part that holds an image of unknown sequence."""
STUDY_PART: Final = "dicom"
"""The part that holds a zipped study."""
REQUEST_PART: Final = "job"
"""The part that says what is wanted of volumes."""

_BASE64: Final[Json] = {"type": "string", "contentEncoding": "base64", "minLength": 1}
# The smallest image that is read, 16 x 16 and black, so that the example can be sent as it stands.
_EXAMPLE = "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAAAAAA6mKC9AAAADUlEQVR4nGNgGAXIAAABEAABoJMRpQAAAABJRU5ErkJggg=="
_OUTPUTS: Final = (
    "Results that are made on request only. `probabilities`: `probability_{region}.nii.gz`, float32. `backdrop`: "
    f"`backdrop.nii.gz`, the sequence that the pictures show (the first there is of {', '.join(BACKDROP_ORDER)}) in "
    "256 greys on the voxels of the label map, for viewers: image data of the patient, kept and erased with the other "
    "results."
)
_SERIES: Final = (
    f"With the part `{STUDY_PART}`: which sequence a series is, by its SeriesInstanceUID; null leaves it out. The "
    "sequences that are not named are guessed from the series that are not named. No sequence twice."
)
_SERIES_EXAMPLE: Json = {"1.2.840.113619.2.5.1": "flair", "1.2.840.113619.2.5.2": "t1ce", "1.2.840.113619.2.5.3": None}


def image_body(sequences: Sequence[str] = ()) -> Mapping[str, Content]:
    """What ``core.http.bodies.read_images`` takes, by media type; ``sequences`` are the further names of parts."""
    parts, inline = _object({IMAGE_PART: BINARY}, IMAGE_PART), _object({"image": _BASE64}, "image")
    if sequences:
        parts = {"oneOf": [parts, _some(dict.fromkeys(sequences, BINARY))]}
        inline = {"oneOf": [inline, _object({"images": _some(dict.fromkeys(sequences, _BASE64))}, "images")]}
    return {
        MULTIPART: Content(parts),
        **{media_type: Content(BINARY) for media_type in (*IMAGE_MEDIA_TYPES, "application/octet-stream")},
        JSON: Content(inline, {"image": _EXAMPLE}),
    }


def _object(properties: Json, required: str) -> Json:
    return {"type": "object", "required": [required], "properties": properties, "additionalProperties": False}


def _some(properties: Json) -> Json:
    """An object with one of ``properties`` at least."""
    return {"type": "object", "minProperties": 1, "properties": properties, "additionalProperties": False}


def volume_body() -> Content:
    """What ``POST /v1/jobs`` takes: parts named by sequence, or a study, and a description of the job."""
    described = JobRequest.model_json_schema() | {"description": "Optional; the fields as they stand by default."}
    fields: Json = described["properties"]
    fields["outputs"] |= {"description": _OUTPUTS, "examples": [["backdrop"]]}
    fields["series"] |= {"description": _SERIES, "additionalProperties": False, "examples": [_SERIES_EXAMPLE]}
    # Series are of studies only.
    of_files = {**described, "properties": {name: field for name, field in fields.items() if name != "series"}}
    sequences = {
        "type": "object",
        "properties": {**dict.fromkeys(SEQUENCES, BINARY), REQUEST_PART: of_files},
        "anyOf": [{"required": [name]} for name in SEQUENCES],
        "additionalProperties": False,
    }
    study = _object({STUDY_PART: BINARY, REQUEST_PART: described}, STUDY_PART)
    return Content({"oneOf": [sequences, study]}, encoding={REQUEST_PART: {"contentType": JSON}})
