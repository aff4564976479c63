"""What a job asks for, held against what can be had, while it is being sent: before its volumes are uploaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from core.contracts.jobs import DICOM_RESULTS, JobRequest
from core.contracts.operations.bodies import REQUEST_PART, STUDY_PART
from core.contracts.service import ModelSummary
from core.errors import FieldError, InvalidRequest, UnknownModel

_SERIES: Final = f"part/{REQUEST_PART}#/series"
_OUTPUTS: Final = f"part/{REQUEST_PART}#/outputs"
_MODEL: Final = f"part/{REQUEST_PART}#/model"


def check_wishes(
    request: JobRequest, parts: Sequence[str], models: Sequence[ModelSummary], types: Sequence[str]
) -> None:
    """Whether ``request`` can be had with the ``parts`` that have come by now.

    ``models`` are those of the workers that are there. While there is none, nobody knows what a later one will have:
    the job is taken in, and the worker that takes it judges.

    Raises ``InvalidRequest`` for a type that is none of ``types``, for series or results as DICOM without a study, and
    for a sequence that no model takes; ``UnknownModel`` for a model that no worker has.
    """
    if request.type not in types:
        known = ", ".join(types)
        raise InvalidRequest(
            f"There are no jobs of this type here; known: {known}.",
            errors=[FieldError(f"part/{REQUEST_PART}#/type", f"is none of: {known}")],
        )
    sequences = [part for part in parts if part != STUDY_PART]
    if sequences:
        _check_files(request)
    if not models:
        return
    wanted = [model for model in models if request.model is None or model.answers_to(request.model)]
    if not wanted:
        known = ", ".join(f"{model.name}@{model.version}" for model in models)
        raise UnknownModel(f"No worker has this model. Known: {known}.", errors=[FieldError(_MODEL, "is not known")])
    _check_sequences(sequences, wanted)


def _check_files(request: JobRequest) -> None:
    """Raise ``InvalidRequest`` where ``request``, which comes with NIfTI files, asks for what a study alone allows."""
    if request.series:
        detail = f"The field series goes with the part {STUDY_PART} only."
        raise InvalidRequest(detail, errors=[FieldError(_SERIES, detail)])
    if DICOM_RESULTS in request.outputs:
        detail = f"The output {DICOM_RESULTS} goes with the part {STUDY_PART} only: NIfTI files name no study."
        raise InvalidRequest(detail, errors=[FieldError(_OUTPUTS, detail)])


def _check_sequences(sequences: Sequence[str], models: Sequence[ModelSummary]) -> None:
    taken = {sequence for model in models for sequence in model.sequences}
    for sequence in sequences:
        # A worker of an earlier release does not say what its model takes.
        if taken and sequence not in taken:
            detail = f"The model takes no {sequence}; it takes: {', '.join(sorted(taken))}."
            raise InvalidRequest(detail, errors=[FieldError(f"part/{sequence}", detail)])
