"""Structured reports (PS3.16 TID 1500): what the regions measure, what is withheld, and what made it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    Comprehensive3DSR,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    ReferencedSegment,
    RelationshipTypeValues,
    SourceSeriesForSegmentation,
    TextContentItem,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from core.contracts.regions import NAMES
from core.contracts.report import RegionMeasurement
from core.imaging.dicom.results.findings import Findings
from core.imaging.dicom.results.reference import EXPECTED, Reference
from core.imaging.dicom.results.segments import CATEGORY, OWN_SCHEME, REGION_CODES, SITE, Segment
from core.imaging.dicom.results.stamp import MANUFACTURER, RESEARCH, Stamp

SERIES_NUMBER: Final = 902
_KIND: Final = "measurements"
# highdicom's and pydicom's dictionaries of units have no millilitre.
_MILLILITRE: Final = Code("ml", "UCUM", "milliliter")
_MM: Final = codes.UCUM.Millimeter
_MM2: Final = codes.UCUM.SquareMillimeter
_RELIABILITY: Final = Code("reliability", OWN_SCHEME, "Reliability of the result")
_INPUT_CHECK: Final = Code("input-check", OWN_SCHEME, "Input check")
_SHOWN: Final = Code("shown", OWN_SCHEME, "Shown: passed its checks")
_WITHHELD: Final = Code("withheld", OWN_SCHEME, "Withheld: cannot be relied on")
_EXPERIMENTAL: Final = Code("experimental", OWN_SCHEME, "Experimental: cannot be relied on")
_NO_REMARKS: Final = Code("no-remarks", OWN_SCHEME, "Passed without remarks")
_REMARKS: Final = Code("remarks", OWN_SCHEME, "Passed with remarks, see comments")


def make_report(
    findings: Findings, segments: Sequence[Segment], segmentation: Dataset | None, reference: Reference, stamp: Stamp
) -> Comprehensive3DSR:
    """A Comprehensive 3D SR of ``findings``, complete and unverified.

    A region that is a whole segment of ``segmentation`` refers to it and shares its tracking UID. One that several
    segments make up, or none because it has no voxel, is told of without.
    """
    writer = _Writer(findings, {segment.region: segment for segment in segments if not segment.partly}, stamp)
    evidence = [_evidence(uid, reference) for uid in reference.instances]
    if segmentation is not None:
        evidence.append(_nameless(segmentation))
        writer.segmentation, writer.source = segmentation, reference.series
    content = MeasurementReport(
        observation_context=_observer(stamp),
        procedure_reported=codes.LN.BrainMRI,
        imaging_measurements=[*writer.groups()],
        title=codes.DCM.ImagingMeasurementReport,
    )
    result = Comprehensive3DSR(
        evidence=evidence,
        content=content[0],
        series_instance_uid=stamp.uid(f"series {_KIND}"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=stamp.uid(_KIND),
        series_description=f"{MANUFACTURER} measurements, {RESEARCH}",
        is_complete=True,
        is_final=False,
        is_verified=False,
        **stamp.series,
    )
    stamp.settle(result, reference)
    return result


class _Writer:
    """The groups of measurements of one report."""

    def __init__(self, findings: Findings, whole: dict[str, Segment], stamp: Stamp) -> None:
        self._findings = findings
        self._whole = whole
        self._stamp = stamp
        self.segmentation: Dataset | None = None
        self.source = ""
        device = stamp.device
        self._algorithm = AlgorithmIdentification(
            name=device.model,
            version=device.model_version,
            parameters=[f"sha256={device.sha256}"],
            family=codes.DCM.ArtificialIntelligence,
            manufacturer=MANUFACTURER,
        )

    def groups(self) -> Iterator[Any]:
        """One for each region, shown or withheld, and one for the input."""
        for region in self._findings.shown:
            yield self._shown(region)
        for region, reason in self._findings.withheld.items():
            yield _commented(self._plain(region, [], _WITHHELD), [reason])
        remarks = self._findings.remarks
        yield _commented(
            MeasurementsAndQualitativeEvaluations(
                self._tracking("input", "input"),
                finding_sites=[FindingSite(SITE)],
                algorithm_id=self._algorithm,
                qualitative_evaluations=[_judged(_INPUT_CHECK, _REMARKS if remarks else _NO_REMARKS)],
            ),
            [f"{MANUFACTURER}: {RESEARCH}. Not a medical device.", *remarks],
        )

    def _shown(self, region: str) -> Any:
        measured = self._findings.measured.get(region)
        doubt = self._findings.experimental.get(region)
        verdict = _EXPERIMENTAL if doubt else _SHOWN
        measurements = self._measurements(measured)
        segment = self._whole.get(region)
        if measured is None or segment is None or self.segmentation is None:
            group = self._plain(region, measurements, verdict)
        else:
            group = VolumetricROIMeasurementsAndQualitativeEvaluations(
                self._tracking(region, segment.tracked),
                referenced_segment=ReferencedSegment(
                    self.segmentation.SOPClassUID,
                    self.segmentation.SOPInstanceUID,
                    segment.number,
                    source_series=SourceSeriesForSegmentation(self.source),
                ),
                measurements=measurements,
                **self._common(region, verdict),
            )
        return _commented(group, [doubt] if doubt else [])

    def _plain(self, region: str, measurements: list[Measurement], verdict: Code) -> Any:
        """A group that refers to no segment."""
        return MeasurementsAndQualitativeEvaluations(
            self._tracking(region, region), measurements=measurements, **self._common(region, verdict)
        )

    def _common(self, region: str, verdict: Code) -> dict[str, Any]:
        return {
            "finding_type": REGION_CODES[region],
            "finding_category": CATEGORY,
            "finding_sites": [FindingSite(SITE)],
            "algorithm_id": self._algorithm,
            "qualitative_evaluations": [_judged(_RELIABILITY, verdict)],
        }

    def _tracking(self, region: str, tracked: str) -> TrackingIdentifier:
        return TrackingIdentifier(self._stamp.uid(f"tracking {tracked}"), NAMES.get(region, region))

    def _measurements(self, measured: RegionMeasurement | None) -> list[Measurement]:
        if measured is None:
            return [Measurement(codes.SCT.Volume, 0.0, _MILLILITRE)]
        section = measured.largest_section
        return [
            Measurement(codes.SCT.Volume, measured.volume_ml, _MILLILITRE),
            Measurement(codes.SCT.Diameter, measured.longest_diameter_mm, _MM),
            Measurement(codes.SCT.LongAxis, section.longest_mm, _MM),
            Measurement(codes.SCT.ShortAxis, section.perpendicular_mm, _MM),
            Measurement(codes.SCT.Area, section.area_mm2, _MM2),
        ]


def _judged(what: Code, verdict: Code) -> QualitativeEvaluation:
    return QualitativeEvaluation(CodedConcept.from_code(what), CodedConcept.from_code(verdict))


def _commented(group: Any, comments: Sequence[str]) -> Any:
    """``group`` with sentences beside its codes, whose meanings hold 64 characters. Its template may be extended.

    They are in ASCII, which every character set that a source may have begins with.
    """
    for comment in comments:
        plain = comment.encode("ascii", "replace").decode()
        item = TextContentItem(codes.DCM.Comment, plain, RelationshipTypeValues.CONTAINS)
        group[0].ContentSequence.append(item)
    return group


def _observer(stamp: Stamp) -> ObservationContext:
    device = stamp.device
    attributes = DeviceObserverIdentifyingAttributes(
        stamp.device_uid,
        name=device.model,
        manufacturer_name=MANUFACTURER,
        model_name=f"{device.model} {device.model_version}",
        serial_number=device.sha256,
    )
    return ObservationContext(observer_device_context=ObserverContext(codes.DCM.Device, attributes))


def _evidence(instance: str, reference: Reference) -> Dataset:
    return _bare(reference.sop_class, instance, reference.study, reference.series)


def _nameless(segmentation: Dataset) -> Dataset:
    """What a report says of the segmentation that it refers to."""
    return _bare(
        segmentation.SOPClassUID,
        segmentation.SOPInstanceUID,
        segmentation.StudyInstanceUID,
        segmentation.SeriesInstanceUID,
    )


def _bare(sop_class: str, instance: str, study: str, series: str) -> Dataset:
    """An object by its UIDs alone, with empty elements where highdicom looks for a patient."""
    found = Dataset()
    found.SOPClassUID, found.SOPInstanceUID = sop_class, instance
    found.StudyInstanceUID, found.SeriesInstanceUID = study, series
    for keyword in EXPECTED:
        setattr(found, keyword, None)
    return found
