"""A job's inputs as volumes by sequence: NIfTI files, one a sequence, or a zip of one DICOM study."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from core.contracts.jobs import DICOM_RESULTS, JobRecord, JobRequest, StoredFile
from core.contracts.nifti import NiftiGeometry
from core.errors import FieldError, InvalidRequest, MissingSequence, RequestError
from core.imaging.nifti.file import NiftiVolume, read_nifti
from core.imaging.nifti.geometry import geometry_of
from core.imaging.volume import Volume
from segmenter_service.volumes.files import JobFiles

if TYPE_CHECKING:
    from core.imaging.dicom.results.reference import Reference

STUDY: Final = "dicom"
"""Name of the part that holds a zip of one study."""


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """Volumes (float32) by sequence, each on its own grid, with the geometry to write results on, and warnings.

    ``series`` are the DICOM series that they were taken from, as the report names them, with reasons and alternatives;
    none for NIfTI files. ``references`` by sequence are what results as DICOM lie on, where they are wanted.
    """

    volumes: Mapping[str, Volume]
    geometries: Mapping[str, NiftiGeometry]
    warnings: tuple[str, ...]
    series: tuple[Mapping[str, Any], ...] = ()
    references: Mapping[str, Reference] = field(default_factory=dict)


def hashed_series(series: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """``series`` for the record of a job, which names nothing of a study: the SHA-256 of every UID in its place."""
    return [
        {
            **{key: value for key, value in one.items() if key not in ("uid", "frame_of_reference", "alternatives")},
            "uid_sha256": _sha256(one["uid"]),
            "frame_of_reference_sha256": _sha256(one["frame_of_reference"]),
            "reasons": list(one["reasons"]),
            "alternatives": [
                {**{key: value for key, value in other.items() if key != "uid"}, "uid_sha256": _sha256(other["uid"])}
                for other in one["alternatives"]
            ],
        }
        for one in series
    ]


def _sha256(uid: str | None) -> str | None:
    return None if uid is None else hashlib.sha256(uid.encode()).hexdigest()


def part_of(file: StoredFile) -> str:
    """The part that a file came in: its name without what says how it is packed, as in ``flair.nii.gz``."""
    return file.name.partition(".")[0].lower()


def read_inputs(
    files: JobFiles, record: JobRecord, sequences: Sequence[str], progress: Callable[[float], None]
) -> Inputs:
    """Read and verify all inputs of a job; ``sequences`` are those that the model takes.

    Raises ``RequestError`` with the part at fault, ``StoredDataCorrupt``, ``StorageUnavailable``.
    """
    inputs, request = record.inputs, record.request
    parts = {part_of(file): file for file in inputs}
    if not parts:
        raise MissingSequence(f"at least one of {', '.join(sequences)} is needed")
    if len(parts) < len(inputs):
        raise InvalidRequest("two files are of one sequence")
    if STUDY in parts:
        if len(parts) > 1:
            raise InvalidRequest(f"{STUDY} is a whole study: no other part can go with it")
        return _read_study(files, parts[STUDY], sequences, request)
    _check_files(request)
    if unknown := sorted(set(parts) - set(sequences)):
        raise InvalidRequest(f"unknown part {', '.join(unknown)}: send {', '.join(sequences)} or {STUDY}")
    read: dict[str, NiftiVolume] = {}
    for part, file in parts.items():
        read[part] = _read_nifti(files, part, file)
        progress(len(read) / len(parts))
    return Inputs(
        {part: nifti.volume for part, nifti in read.items()},
        {part: nifti.geometry for part, nifti in read.items()},
        tuple(f"{part}: {warning}" for part, nifti in read.items() for warning in nifti.warnings),
    )


def _check_files(request: JobRequest) -> None:
    """Raise ``InvalidRequest`` where ``request`` asks for what goes with a study only."""
    if request.series:
        detail = f"series goes with the part {STUDY} only"
        raise InvalidRequest(detail, errors=[FieldError("part/job#/series", detail)])
    if DICOM_RESULTS in request.outputs:
        detail = f"the output {DICOM_RESULTS} goes with the part {STUDY} only"
        raise InvalidRequest(detail, errors=[FieldError("part/job#/outputs", detail)])


def _read_nifti(files: JobFiles, part: str, file: StoredFile) -> NiftiVolume:
    reader = files.reader(file)
    try:
        nifti = read_nifti(reader)
    except RequestError as error:
        # A file that the store has damaged is not the caller's fault.
        reader.drain()
        error.errors = error.errors or (FieldError(f"part/{part}", error.detail),)
        raise
    reader.drain()
    return nifti


def _read_study(files: JobFiles, file: StoredFile, sequences: Sequence[str], request: JobRequest) -> Inputs:
    # pydicom and gdcm take a quarter of the time that a job needs to start, and jobs with NIfTI files need neither.
    from core.imaging.dicom.study import read_study

    with files.local(file) as archive:
        try:
            study = read_study(archive, series=request.series, referenced=DICOM_RESULTS in request.outputs)
        except RequestError as error:
            error.errors = error.errors or (FieldError(f"part/{STUDY}", error.detail),)
            raise
    volumes = {sequence: volume for sequence, volume in study.volumes.items() if sequence in sequences}
    left_out = tuple(
        f"{sequence}: the model does not take this sequence, so it was left out."
        for sequence in study.volumes
        if sequence not in sequences
    )
    if not volumes:
        raise MissingSequence(f"the study holds none of {', '.join(sequences)}")
    return Inputs(
        volumes,
        {sequence: geometry_of(volume.grid) for sequence, volume in volumes.items()},
        study.warnings + left_out,
        tuple(asdict(source) for source in study.sources if source.sequence in volumes),
        {sequence: reference for sequence, reference in study.references.items() if sequence in volumes},
    )
