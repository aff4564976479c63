"""Class and outline of a slice in one call: what the gateway answers, and what it asks the classifier for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from core import errors
from core.contracts.analysis import Analysis, AnalysisBatch, AnalysisItem
from core.contracts.base import DISCLAIMER
from core.contracts.classification import Classification
from core.contracts.operations.batches import BROKEN, batch_of, example_of
from core.contracts.operations.bodies import image_body
from core.contracts.operations.operation import (
    EXAMPLE_REQUEST_ID,
    JSON,
    OWN_REQUEST_ID,
    REQUEST_TIMEOUT,
    Answer,
    Content,
    Operation,
    Parameter,
)
from core.contracts.operations.slices import CLASSIFY, PICTURE, PNG, SEGMENT, SEQUENCE_WAYS, of_pictures
from core.contracts.segmentation import Segmentation
from core.contracts.sequences import CLASSIFIED_ORDER, SEQUENCES

CLASSIFIER_QUERY: Final[Mapping[str, str]] = {"classifier": "model", "explain": "explain"}
"""What of the query is for the classifier, with the name that it has there."""
SEGMENTER_QUERY: Final[Mapping[str, str]] = {"segmenter": "model", "threshold": "threshold", "render": "render"}
"""The same for the segmenter."""

_ORDER: Final = ", ".join(f"`{name}`" for name in CLASSIFIED_ORDER)


def _parameters(operation: Operation, names: Mapping[str, str], task: str) -> tuple[Parameter, ...]:
    """The query parameters of ``operation`` under the names that they have in an analysis."""
    theirs = {parameter.name: parameter for parameter in operation.parameters}
    return tuple(
        replace(theirs[own], name=name, description=f"The model that {task}: {theirs[own].description}")
        if own == "model"
        else theirs[own]
        for name, own in names.items()
    )


def _example() -> Analysis:
    classification = Classification.model_validate(example_of(CLASSIFY))
    return Analysis(
        classification=classification,
        segmentation=Segmentation.model_validate(example_of(SEGMENT)),
        input_check=classification.input_check,
        agreement="agree",
        contradiction=None,
        request_id=EXAMPLE_REQUEST_ID,
    )


_ANALYSED: Final = _example()
_PICTURE: Final = replace(
    PICTURE,
    headers=(
        *PICTURE.headers,
        of_pictures("X-Falx-Agreement", "`agree`, or the code of the contradiction."),
        of_pictures("X-Falx-Label", "The likeliest class."),
        of_pictures("X-Falx-Probability", "Its probability."),
        of_pictures("X-Falx-Classifier", "Name and version of the model that told the class, as NAME@VERSION."),
        of_pictures("X-Falx-Classifier-Sha256", "SHA-256 of its weights."),
        of_pictures("X-Falx-Classifier-Provider", "Execution provider that ran them."),
    ),
)

ANALYZE: Final = Operation(
    id="analyze",
    route="POST /v1/analyses",
    tag="slices",
    summary="Classify a slice and outline the tumour in it",
    description=f"""\
One slice in; its class, the tumour's mask, and whether the two contradict each other out. {SEQUENCE_WAYS} Of several
sequences the outline uses all; the class is told from the first there is of {_ORDER}, which `classification.sequence`
names.

`classification` and `segmentation` are what `/v1/classifications` and `/v1/segmentations` answer. `input_check` is that
of the two which finds the image less familiar.

`contradiction` is null where class and outline agree. Else its `code` is `outline-empty`, where the likeliest class is
a tumour and none is outlined, or `class-no-tumor-but-outlined`; `candidate` may then tell where a tumour is likeliest
all the same. It is no outline, and it is often wrong. `agreement` is that code, or `agree`. Of an unfamiliar image
neither part can be relied on, whether they agree or not.

There is an answer of both parts or none: where one of the two cannot be had, the answer is its problem, and of a model
server that is away a 503 that names it. Pictures are those of a segmentation, with the class and the agreement in
`X-Falx-*` headers beside it.

{DISCLAIMER}""",
    parameters=(
        REQUEST_TIMEOUT,
        OWN_REQUEST_ID,
        *_parameters(CLASSIFY, CLASSIFIER_QUERY, "tells the class"),
        *_parameters(SEGMENT, SEGMENTER_QUERY, "outlines the tumour"),
    ),
    body=image_body(SEQUENCES),
    answers={
        200: Answer(
            "By `Accept`: `application/json` has the class, the outline and their agreement; pictures are those of a "
            "segmentation.",
            {
                JSON: Content(
                    Analysis,
                    {
                        **_ANALYSED.model_dump(mode="json"),
                        "classification": example_of(CLASSIFY),
                        "segmentation": example_of(SEGMENT),
                    },
                ),
                PNG: _PICTURE,
            },
            SEGMENT.answers[200].headers,
        )
    },
    refusals=SEGMENT.refusals,
)
ANALYZE_BATCH: Final = batch_of(
    ANALYZE,
    "analyzeBatch",
    "Classify several slices and outline the tumours in them",
    AnalysisBatch(
        items=(
            AnalysisItem(index=0, status=200, answer=_ANALYSED),
            AnalysisItem(index=1, status=400, problem=BROKEN),
        ),
        request_id=EXAMPLE_REQUEST_ID,
    ),
)
ANALYSES: Final = (ANALYZE, ANALYZE_BATCH)
"""What the gateway answers from two model servers."""

CLASSIFY_PART: Final = replace(
    CLASSIFY,
    id="classifyPart",
    route="POST /v1/analyses/classification",
    summary="Tell the class in an analysis",
    description=f"""\
The classifier's part of `{ANALYZE.path}`, for which the gateway asks: as `{CLASSIFY.path}`, but sequences by name are
taken as well, and the first there is of {_ORDER} is classified. The others are left to the segmenter.

{DISCLAIMER}""",
    body=image_body(SEQUENCES),
    refusals=(
        *CLASSIFY.refusals,
        errors.MissingSequence("images is empty; give at least one of its sequences."),
    ),
)
"""Internal: model servers answer no callers."""
