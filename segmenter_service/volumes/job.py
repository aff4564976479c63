"""One job of the queue: volumes in, a map of labels on the input's own voxels out, with what it measures.

    run    load -> read -> prepare -> segment -> restore -> measure -> write

Runs in a process of its own (``core.jobs.child``), which the worker ends when the job is cancelled: within a second of
it, and in the middle of a run of the network too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from core.contracts.jobs import DICOM_RESULTS, JobOutcome, JobRecord, JobRequest
from core.contracts.manifest import Manifest
from core.contracts.nifti import NiftiGeometry
from core.contracts.regions import CHANNELS
from core.contracts.sequences import BACKDROP_ORDER
from core.errors import InvalidRequest
from core.imaging.preparation.alignment import align
from core.imaging.preparation.intensities import settle
from core.imaging.preparation.volume_transforms import PreparedVolume, prepare_volume
from core.imaging.region_labels import Cleaned, clean_labels
from core.imaging.volume import Volume
from core.jobs.handler import Work
from segmenter_service import VERSION
from segmenter_service.volumes.belief import Belief, doubts_of
from segmenter_service.volumes.dicom_results import Origin
from segmenter_service.volumes.files import JobFiles, open_job_files
from segmenter_service.volumes.inputs import Inputs, hashed_series, read_inputs
from segmenter_service.volumes.labels import Labelled, label_voxels
from segmenter_service.volumes.model import VolumeModel, infer, open_model
from segmenter_service.volumes.report import measure
from segmenter_service.volumes.results import Segmented, save_results
from segmenter_service.volumes.settings import VolumeSettings
from segmenter_service.volumes.stages import Stages

TYPE: Final = "segmentation"
"""The type of job that this handler does."""

_MM3_PER_ML: Final = 1000.0


def run(work: Work) -> JobOutcome:
    """Segment the volumes of a job.

    Raises ``RequestError`` for inputs that cannot be used, ``ModelUnavailable``, ``StorageUnavailable`` and
    ``StorageFull``, after which the job is tried again, ``StoredDataCorrupt``, ``ResultCorrupt`` and ``StartupError``.
    """
    check_request(work.record.request)
    settings, stages = VolumeSettings(), Stages(work.report)
    with open_job_files(work.record) as files:
        stages.enter("load")
        model = open_model(settings, work.record.request.model)
        case = _take_in(files, work.record, model, settings, stages)
        stages.enter("segment")
        probabilities = infer(model, case.prepared.tensor, settings, stages.within)
        stages.enter("restore")
        manifest, space = model.bundle.manifest, case.prepared.space
        least_mm3 = manifest.smallest_component_ml * _MM3_PER_ML
        labelled = label_voxels(probabilities, space, manifest.region_thresholds, least_mm3)
        enhancing_mm3 = manifest.smallest_enhancing_ml * _MM3_PER_ML
        cleaned = clean_labels(labelled.labels, space.source.voxel_mm3, least_mm3, enhancing_mm3)
        stages.enter("measure")
        certainty = {CHANNELS[name]: value for name, value in labelled.certainty.items()}
        doubts = doubts_of(manifest.validated_dice, certainty)
        belief = Belief.of(doubts, experimental=work.record.request.experimental)
        told = measure(cleaned.labels, space.source.affine).as_json(belief.withheld)
        slices = told.pop("slices")
        measurements = _measurements(told, slices, labelled, cleaned, belief)
        warnings = case.warnings + belief.warnings + _absorbed(cleaned, manifest, belief)
        provenance = {**_provenance(work.record, model, settings), **case.provenance}
        stages.enter("write")
        content = {
            "job": work.record.id,
            **measurements,
            "slices": slices,
            "warnings": warnings,
            # By their UIDs here alone.
            **({"series": case.series} if case.series else {}),
            "provenance": {**provenance, "timings_s": stages.seconds},
        }
        labels = belief.carried(cleaned.labels)
        segmented = Segmented(labels, probabilities, space, case.geometry, case.backdrop, belief)
        results = save_results(files, segmented, content, work.record.request.outputs, case.origin)
        stages.close()
    return JobOutcome(
        results=tuple(results),
        measurements=measurements,
        provenance={
            **provenance,
            **({"series": hashed_series(case.series)} if case.series else {}),
            "timings_s": dict(stages.seconds),
        },
        warnings=warnings,
    )


def check_request(request: JobRequest) -> None:
    """Raise ``InvalidRequest`` for a type that is not done here."""
    if request.type != TYPE:
        raise InvalidRequest(f"jobs of type {request.type} are not done here: the type is {TYPE}")


@dataclass(frozen=True, slots=True, eq=False)
class _Case:
    """What is kept of the inputs while the network runs: its own input, what results are written on, and notes.

    Where results as DICOM are wanted, their ``origin`` holds who the patient is, and nothing else here does.
    """

    prepared: PreparedVolume
    geometry: NiftiGeometry
    backdrop: Volume
    provenance: Mapping[str, Any]
    warnings: tuple[str, ...]
    series: tuple[Mapping[str, Any], ...]
    origin: Origin | None


def _take_in(files: JobFiles, record: JobRecord, model: VolumeModel, settings: VolumeSettings, stages: Stages) -> _Case:
    """Read, align and prepare the inputs. The volumes themselves are let go: the network needs the memory."""
    stages.enter("read")
    sequences = model.preprocessing.sequences
    inputs = read_inputs(files, record, sequences, stages.within)
    settled = settle(inputs.volumes)
    aligned = align(settled.volumes)
    stages.enter("prepare")
    prepared = prepare_volume(aligned.volumes, model.spec)
    return _Case(
        prepared,
        inputs.geometries[aligned.reference],
        next(aligned.volumes[name] for name in (*BACKDROP_ORDER, aligned.reference) if name in aligned.volumes),
        {
            "sequences": list(aligned.volumes),
            "reference": aligned.reference,
            "grid": list(aligned.grid.shape),
            "working_grid": list(prepared.space.shape),
        },
        model.bundle.manifest.caveats + inputs.warnings + settled.warnings + aligned.warnings + _left_out(prepared),
        inputs.series,
        _origin(inputs, aligned.reference, record, settings),
    )


def _origin(inputs: Inputs, reference: str, record: JobRecord, settings: VolumeSettings) -> Origin | None:
    """Where results as DICOM belong, if they are wanted."""
    if DICOM_RESULTS not in record.request.outputs:
        return None
    return Origin(
        inputs.references[reference],
        tuple(inputs.references.values()),
        record.created_at,
        settings.dicom_labelmap,
        settings.dicom_presentation,
    )


def _left_out(prepared: PreparedVolume) -> tuple[str, ...]:
    return tuple(f"{name}: the same volume as {kept}, so it was left out." for name, kept in prepared.copies.items())


def _absorbed(cleaned: Cleaned, manifest: Manifest, belief: Belief) -> tuple[str, ...]:
    """That something enhanced which is not in the numbers, where those of its region are shown."""
    if not cleaned.absorbed or "enhancing" in belief.withheld:
        return ()
    least = manifest.smallest_enhancing_ml
    return (f"Less than {least:g} ml seemed to enhance, too little to be told from noise: it counts as core.",)


def _provenance(record: JobRecord, model: VolumeModel, settings: VolumeSettings) -> dict[str, Any]:
    """Everything that is needed to make the same result again."""
    manifest = model.bundle.manifest
    return {
        "service": {"name": "segmenter", "version": VERSION},
        "model": model.identity(),
        "preprocessing": model.preprocessing.model_dump(mode="json"),
        "mirroring": settings.volume_mirroring,
        "thresholds": dict(zip(manifest.labels, manifest.region_thresholds, strict=True)),
        "smallest_component_ml": manifest.smallest_component_ml,
        **({"smallest_enhancing_ml": least} if (least := manifest.smallest_enhancing_ml) else {}),
        "inputs": {file.name: file.sha256 for file in record.inputs},
        "attempt": record.attempts,
    }


def _measurements(
    told: Mapping[str, Any], slices: Sequence[Any] | None, labelled: Labelled, cleaned: Cleaned, belief: Belief
) -> dict[str, Any]:
    """What callers read first, None for what is withheld; areas by slice are in the report alone."""
    measured = {
        "regions": told["regions"],
        "withheld": dict(belief.withheld),
        "experimental": dict(belief.experimental),
        "axial_axis": told["axial_axis"],
        "slices_with_tumor": None if slices is None else len(slices),
        "components": None if slices is None else {"kept": cleaned.kept, "removed": cleaned.removed},
        "max_probability": {
            name: None if CHANNELS[name] in belief.withheld else value
            for name, value in labelled.max_probability.items()
        },
        "certainty": labelled.certainty,
    }
    # Tuples become lists, as JSON has them.
    plain: dict[str, Any] = json.loads(json.dumps(measured))
    return plain
