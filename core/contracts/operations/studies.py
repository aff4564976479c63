"""The operation on a study: which of its series a job would take."""

from __future__ import annotations

from typing import Final

from core import errors
from core.contracts.jobs import JobRequest
from core.contracts.operations.bodies import MULTIPART, REQUEST_PART, STUDY_PART
from core.contracts.operations.operation import (
    BINARY,
    JSON,
    OWN_REQUEST_ID,
    REQUEST_TIMEOUT,
    Content,
    Json,
    Operation,
    json_answer,
)
from core.contracts.series import SequenceChoice, SeriesAlternative, SeriesSelection

ZIP: Final = "application/zip"
DICOM_JSON: Final = "application/dicom+json"
MEDIA_TYPES: Final = (MULTIPART, ZIP, DICOM_JSON)

_DATA_SET: Final[Json] = {
    "type": "object",
    "description": "One instance: its elements by tag, as PS3.18 section F writes them.",
    "additionalProperties": {"type": "object"},
}
_FORM: Final[Json] = {
    "type": "object",
    "required": [STUDY_PART],
    "properties": {STUDY_PART: BINARY, REQUEST_PART: JobRequest.model_json_schema()},
    "additionalProperties": False,
}
_CHOSEN: Final = SequenceChoice(
    sequence="t1ce",
    uid="1.2.840.113619.2.5.8",
    number=8,
    slices=176,
    frame_of_reference="1.2.840.113619.2.5.1",
    score=18.4,
    confidence="high",
    reasons=("t1-word: The description names T1.", "agent-named: The header names a contrast agent."),
    alternatives=(
        SeriesAlternative(
            uid="1.2.840.113619.2.5.9",
            number=9,
            slices=50,
            score=13.9,
            reasons=("lower-score: Another series shows more of the head, or more finely, or was taken later.",),
        ),
    ),
)
_MISSING: Final = SequenceChoice(sequence="t2", missing=("nothing-like-it: No series is like it.",))

SELECT_SERIES: Final = Operation(
    id="selectSeries",
    route="POST /v1/series-selection",
    tag="volumes",
    summary="Which series of a study a job would take",
    description=f"""\
A dry run: exactly what a job would choose, by the same code, with reasons, scores and what else there was. Nothing is
kept, and no job is made. The study comes as a job takes it, as the part `{STUDY_PART}` of {MULTIPART} (with a part
`{REQUEST_PART}` whose field `series` names series, if you like) or as a raw `{ZIP}`; or, without pixels, as a list of
its instances' metadata in `{DICOM_JSON}`, which is what DICOMweb answers to `/studies/UID/metadata`.

Headers decide, but for a look at one slice of each series that is chosen: a mask of two values is passed over.
Metadata without pixels cannot show that. `refusal` is the problem that a job with this study would end with, null for
one that would run. `uid` names series as the field `series` of a job does.""",
    parameters=(REQUEST_TIMEOUT, OWN_REQUEST_ID),
    body={
        MULTIPART: Content(_FORM, encoding={REQUEST_PART: {"contentType": JSON}}),
        ZIP: Content(BINARY),
        DICOM_JSON: Content(
            {"type": "array", "items": _DATA_SET, "minItems": 1},
            [{"00080060": {"vr": "CS", "Value": ["MR"]}, "0008103E": {"vr": "LO", "Value": ["AX T2 FLAIR"]}}],
        ),
    },
    answers={200: json_answer("What a job would take.", SeriesSelection(sequences=(_CHOSEN, _MISSING)))},
    refusals=(
        errors.InvalidRequest("The body is not JSON."),
        errors.InvalidDicom("The zip is broken: its directory cannot be read."),
        errors.UploadStalled("Nothing of the body came for 30 seconds."),
        errors.InputTooLarge("The study is larger than 536870912 bytes."),
        errors.DecompressionBomb("The zip holds more than 4294967296 bytes once inflated."),
        errors.UnsupportedMediaType(
            f"A study comes as one of: {', '.join(MEDIA_TYPES)}.",
            headers={"Accept-Post": ", ".join(MEDIA_TYPES), "Accept-Encoding": "identity"},
        ),
        errors.NotMr("The Modality is CT, MR is needed."),
        errors.MissingSequence("1 of the series named are no MR series of the study."),
        errors.QueueFull("As many studies are being looked at as at once can be.", retry_after_s=5),
        errors.StorageFull("There is no room left for the study."),
        errors.NotReady("The server is stopping.", retry_after_s=1),
        errors.DeadlineExceeded("The answer was not ready in time."),
    ),
)

STUDIES: Final = (SELECT_SERIES,)
