"""The operations on several slices in one call: each gets its own answer or its own problem (docs/adr/0036)."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from core import errors
from core.contracts.base import Contract
from core.contracts.classification import Classification, ClassificationBatch, ClassificationItem
from core.contracts.operations.bodies import MULTIPART, files_body
from core.contracts.operations.operation import (
    EXAMPLE_REQUEST_ID,
    JSON,
    Answer,
    Content,
    Header,
    Operation,
)
from core.contracts.operations.slices import CLASSIFY, SEGMENT
from core.contracts.problem import Problem
from core.contracts.segmentation import Segmentation, SegmentationBatch, SegmentationItem

FILES: Final = "X-Falx-Files"
"""The header that says how many files were answered, so that each of them can be counted."""

BROKEN: Final = Problem(
    type="/docs/problems#invalid-image",
    title=errors.InvalidImage.title,
    status=400,
    detail="The PNG ends before its image does.",
    code="invalid-image",
    instance=f"urn:falx:request:{EXAMPLE_REQUEST_ID}",
    request_id=EXAMPLE_REQUEST_ID,
)
"""What is wrong with one file of several, as an example."""
# What may befall the whole call. What is wrong with one file is told of that file alone.
_OF_THE_CALL: Final = (
    errors.InvalidRequest,
    errors.UnknownModel,
    errors.InputTooLarge,
    errors.QueueFull,
    errors.NotReady,
    errors.DeadlineExceeded,
    errors.NotAcceptable,
)
_DESCRIPTION: Final = """\
Several slices, each in a part `file` of its own, are answered together: `items` has one item for each file, in the
order of the parts. `status` is what the file alone would have been answered with; with 200 `answer` is there, else
`problem`. A file that cannot be read harms no other.

The call takes a place in the queue for every file, or none at all: what is not the fault of one file (a full queue, a
deadline that passes, a server that stops) refuses the whole call, which may then be repeated as it is. At most 16 files
(`FALX_MAX_FILES_PER_REQUEST`), together no larger than four images may be."""


def batch_of(one: Operation, operation_id: str, summary: str, example: Contract) -> Operation:
    """The operation that does for several files what ``one`` does for one; its answer looks like ``example``."""
    of_call = tuple(error for error in one.refusals if type(error) in _OF_THE_CALL)
    answer = example.model_dump(mode="json")
    # An item has an answer or a problem; within them null is a value.
    answer["items"] = [{name: value for name, value in item.items() if value is not None} for item in answer["items"]]
    return replace(
        one,
        id=operation_id,
        route=f"{one.route}/batch",
        summary=summary,
        description=_DESCRIPTION,
        parameters=tuple(parameter for parameter in one.parameters if parameter.name != "render"),
        body=files_body(),
        answers={
            200: Answer(
                "One item for each file.",
                {JSON: Content(type(example), answer)},
                (Header(FILES, "How many files were answered.", {"type": "integer", "minimum": 1}),),
            )
        },
        refusals=(
            *of_call,
            errors.UnsupportedMediaType(f"Several files come as {MULTIPART}.", headers={"Accept-Post": MULTIPART}),
        ),
    )


def example_of(operation: Operation) -> dict[str, object]:
    """The example of the operation's answer in JSON."""
    example: dict[str, object] = operation.answers[200].content[JSON].example  # type: ignore[assignment]
    return example


CLASSIFY_BATCH: Final = batch_of(
    CLASSIFY,
    "classifyBatch",
    "Classify several slices",
    ClassificationBatch(
        items=(
            ClassificationItem(index=0, status=200, answer=Classification.model_validate(example_of(CLASSIFY))),
            ClassificationItem(index=1, status=400, problem=BROKEN),
        ),
        request_id=EXAMPLE_REQUEST_ID,
    ),
)
SEGMENT_BATCH: Final = batch_of(
    SEGMENT,
    "segmentBatch",
    "Outline the tumour in several slices",
    SegmentationBatch(
        items=(
            SegmentationItem(index=0, status=200, answer=Segmentation.model_validate(example_of(SEGMENT))),
            SegmentationItem(index=1, status=400, problem=BROKEN),
        ),
        request_id=EXAMPLE_REQUEST_ID,
    ),
)

BATCHES: Final = (CLASSIFY_BATCH, SEGMENT_BATCH)
