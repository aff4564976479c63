"""Results of a job as DICOM objects: where they lie, what they say, whom they name, and that nothing else does."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import uid

from core.contracts.regions import NAMES
from core.errors import InvalidDicom, InvalidRequest
from core.imaging.volume import Volume
from tests.fixtures.volume_models import make_phantom, validated, write_volume_bundle
from tests.fixtures.volumes import make_affine, make_series, to_nifti, to_zip
from tests.support.dicom_results import (
    MEASUREMENTS,
    OBJECTS,
    OUTLINES,
    PICTURES,
    SEGMENTATION,
    by_dcmqi,
    by_highdicom,
    by_tid1500reader,
    complaints,
    evaluations,
    make_enhanced,
    opened,
    volumes,
)
from tests.support.volume_bench import Bench, Finished

SHAPE = (31, 27, 25)
ANISOTROPIC = (0.8, 1.1, 1.9)
POOR = {"whole_tumor": 0.75, "tumor_core": 0.46, "necrotic_core": 0.01, "oedema": 0.04, "enhancing": 0.36}


def phantom(orientation: str = "LPS", spacing: tuple[float, float, float] = ANISOTROPIC, tilt: float = 0) -> Any:
    return make_phantom(SHAPE, make_affine(orientation, spacing, SHAPE, tilt))


def run(bench: Bench, files: list[bytes], **request: Any) -> Finished:
    return bench.run({"dicom.zip": to_zip(files).getvalue()}, outputs=("dicom",), **request)


def series(volume: Volume, **elements: Any) -> list[bytes]:
    return make_series(volume, number=3, description="flair", elements=elements)


def shuffled(files: list[bytes]) -> list[bytes]:
    return random.Random(3).sample(files, len(files))


def sheared(volume: Volume) -> Volume:
    """Slices shifted sideways, each a little further, as no scanner that is sound does."""
    affine = volume.affine.copy()
    affine[:3, 2] += affine[:3, 0] * 0.002
    return Volume(volume.voxels, affine)


def check_everywhere(done: Finished, labels: np.ndarray, folder: Path) -> None:
    """The label map is the phantom's, and two readers of strangers find it in the segmentation."""
    stored = done.labels()
    assert np.array_equal(stored, labels)
    affine = done.image().affine
    assert np.array_equal(by_highdicom(done.files[SEGMENTATION], SHAPE, affine), stored)
    assert np.array_equal(by_dcmqi(done.files[SEGMENTATION], folder, SHAPE, affine), stored)


@pytest.mark.parametrize(
    ("orientation", "spacing", "tilt", "elements"),
    [
        ("LPS", (1.0, 1.0, 1.0), 0, {"PatientPosition": "HFS"}),
        ("LPI", ANISOTROPIC, 0, {"PatientPosition": "HFS"}),
        ("RPI", ANISOTROPIC, 0, {"PatientPosition": "FFS"}),
        ("RAS", ANISOTROPIC, 0, {"PatientPosition": "HFP"}),
        ("PIR", ANISOTROPIC, 0, {"PatientPosition": "HFS"}),
        ("PIL", (1.0, 0.7, 2.3), 0, {"PatientPosition": "FFDL"}),
        ("LIA", ANISOTROPIC, 0, {"PatientPosition": "HFDR"}),
        ("LPS", ANISOTROPIC, 20, {}),
        ("PIR", (0.9, 0.9, 1.7), 37, {}),
    ],
    ids=["axial", "descending", "feet-first", "prone", "sagittal", "sagittal-left", "coronal", "oblique", "double"],
)
def test_the_segmentation_is_the_label_map_voxel_by_voxel(
    bench: Bench,
    tmp_path: Path,
    orientation: str,
    spacing: tuple[float, float, float],
    tilt: float,
    elements: dict[str, Any],
) -> None:
    volume, labels = phantom(orientation, spacing, tilt)
    done = run(bench, shuffled(series(volume, **elements)))
    if not np.array_equal(done.labels(), labels):
        # Slices that were sent from the top down are stacked upwards along their normal.
        labels = labels[:, :, ::-1]
    check_everywhere(done, labels, tmp_path)
    assert opened(done.files[SEGMENTATION]).FrameOfReferenceUID == "1.2.3.0"


@pytest.mark.parametrize("downwards", [False, True])
def test_a_segmentation_on_frames_of_one_file_names_the_frames(bench: Bench, tmp_path: Path, downwards: bool) -> None:
    volume, labels = phantom("LPS", (1.0, 1.2, 2.0), 15)
    done = run(bench, [make_enhanced(volume, downwards=downwards)])
    check_everywhere(done, labels, tmp_path)
    found = opened(done.files[SEGMENTATION])
    for groups in found.PerFrameFunctionalGroupsSequence:
        source = groups.DerivationImageSequence[0].SourceImageSequence[0]
        assert (source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID) == (
            uid.EnhancedMRImageStorage,
            "1.2.3.5.1",
        )
        height = float(groups.PlanePositionSequence[0].ImagePositionPatient[2])
        index = round(source.ReferencedFrameNumber) - 1
        slice_ = SHAPE[2] - 1 - index if downwards else index
        assert height == pytest.approx((volume.affine @ [0, 0, slice_, 1])[2], abs=1e-3)
    assert len(found.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == 1


def test_slices_sheared_within_the_tolerance_keep_their_own_places(bench: Bench, tmp_path: Path) -> None:
    volume, labels = phantom()
    done = run(bench, series(sheared(volume)))
    assert np.array_equal(by_dcmqi(done.files[SEGMENTATION], tmp_path, SHAPE, done.image().affine), done.labels())
    assert np.array_equal(done.labels(), labels)


def test_every_frame_names_the_slice_that_it_lies_on(bench: Bench) -> None:
    volume, _ = phantom()
    files = series(volume)
    positions = {opened(file).SOPInstanceUID: list(opened(file).ImagePositionPatient) for file in files}
    found = opened(run(bench, shuffled(files)).files[SEGMENTATION])
    for groups in found.PerFrameFunctionalGroupsSequence:
        source = groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        assert groups.PlanePositionSequence[0].ImagePositionPatient == pytest.approx(positions[source], abs=1e-6)
    listed = {one.ReferencedSOPInstanceUID for one in found.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    assert listed == set(positions) == {one.ReferencedSOPInstanceUID for one in found.SourceImageSequence}


def test_segments_are_coded_and_shared_with_the_report(bench: Bench, tmp_path: Path) -> None:
    done = run(bench, series(phantom()[0]))
    segments = opened(done.files[SEGMENTATION]).SegmentSequence
    assert [(one.SegmentNumber, one.SegmentLabel) for one in segments] == [
        (1, "necrotic core"),
        (2, "oedema"),
        (3, "enhancing"),
    ]
    assert [one.SegmentedPropertyTypeCodeSequence[0].CodeValue for one in segments] == [
        "6574001",
        "79654002",
        "C113842",
    ]
    groups = by_tid1500reader(done.files[MEASUREMENTS], tmp_path)
    assert {one.SegmentLabel: one.TrackingUID for one in segments}.items() <= {
        name: group["TrackingUniqueIdentifier"] for name, group in groups.items()
    }.items()
    for one in segments:
        group = groups[one.SegmentLabel]
        assert group["segmentationSOPInstanceUID"] == opened(done.files[SEGMENTATION]).SOPInstanceUID
        assert group["ReferencedSegment"] == one.SegmentNumber
        algorithm = one.SegmentationAlgorithmIdentificationSequence[0]
        sha256 = done.report()["provenance"]["model"]["sha256"]
        assert sha256 in algorithm.AlgorithmParameters
        assert group["measurementAlgorithmIdentification"]["AlgorithmParameters"] == [f"sha256={sha256}"]


def test_the_report_tells_millilitres_and_millimetres(bench: Bench, tmp_path: Path) -> None:
    done = run(bench, series(phantom()[0]))
    regions = done.report()["regions"]
    groups = by_tid1500reader(done.files[MEASUREMENTS], tmp_path)
    assert volumes(groups) == {NAMES[name]: (found["volume_ml"], "ml") for name, found in regions.items()}
    told = {
        one["quantity"]["CodeMeaning"]: (float(one["value"]), one["units"]["CodeValue"])
        for one in groups["whole tumour"]["measurementItems"]
    }
    whole = regions["whole_tumor"]
    assert told == {
        "Volume": (whole["volume_ml"], "ml"),
        "Diameter": (whole["longest_diameter_mm"], "mm"),
        "Long axis": (whole["largest_section"]["longest_mm"], "mm"),
        "Short axis": (whole["largest_section"]["perpendicular_mm"], "mm"),
        "Area": (whole["largest_section"]["area_mm2"], "mm2"),
    }
    found = opened(done.files[MEASUREMENTS])
    assert (found.SOPClassUID, found.VerificationFlag) == (uid.Comprehensive3DSRStorage, "UNVERIFIED")
    comments = evaluations(done.files[MEASUREMENTS])["input", "Input check"][1]
    assert "research use only" in comments[0]


def test_no_tumour_is_a_report_of_nothing_and_no_segmentation(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model takes nothing of this size for a tumour."""
    models = write_volume_bundle(tmp_path / "models", smallest_component_ml=1000.0)
    monkeypatch.setenv("FALX_MODELS_DIR", str(models))
    done = run(bench, series(phantom()[0]))
    assert not done.labels().any()
    assert SEGMENTATION not in done.files
    groups = by_tid1500reader(done.files[MEASUREMENTS], tmp_path)
    assert volumes(groups) == dict.fromkeys(NAMES.values(), (0.0, "ml"))
    assert not [group for group in groups.values() if "ReferencedSegment" in group]
    assert PICTURES in done.files


def withholding(folder: Path, monkeypatch: pytest.MonkeyPatch, dice: dict[str, float]) -> None:
    figures = {region: validated(value) for region, value in dice.items()}
    monkeypatch.setenv("FALX_MODELS_DIR", str(write_volume_bundle(folder / "models", validated_dice=figures)))


def test_what_is_withheld_is_withheld_here_too(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    withholding(tmp_path, monkeypatch, POOR)
    volume, labels = phantom()
    done = run(bench, series(volume))
    found = opened(done.files[SEGMENTATION])
    assert [one.SegmentLabel for one in found.SegmentSequence] == ["whole tumour"]
    affine = done.image().affine
    assert np.array_equal(by_highdicom(done.files[SEGMENTATION], SHAPE, affine), (labels > 0).astype(np.uint8))
    assert list(volumes(by_tid1500reader(done.files[MEASUREMENTS], tmp_path))) == ["whole tumour"]
    told = evaluations(done.files[MEASUREMENTS])
    assert told["whole tumour", "Reliability of the result"][0] == "shown"
    verdict, comments = told["tumour core", "Reliability of the result"]
    assert verdict == "withheld"
    assert "a mean Dice of 0.46" in comments[0]


def test_where_all_is_withheld_no_volume_of_nothing_is_claimed(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    withholding(tmp_path, monkeypatch, {})
    done = run(bench, series(phantom()[0]))
    assert SEGMENTATION not in done.files
    assert volumes(by_tid1500reader(done.files[MEASUREMENTS], tmp_path)) == {}
    told = evaluations(done.files[MEASUREMENTS])
    assert {told[name, "Reliability of the result"][0] for name in NAMES.values()} == {"withheld"}


def test_what_is_experimental_says_so(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    withholding(tmp_path, monkeypatch, POOR)
    done = run(bench, series(phantom()[0]), experimental=True)
    told = evaluations(done.files[MEASUREMENTS])
    assert told["enhancing", "Reliability of the result"][0] == "experimental"
    assert told["whole tumour", "Reliability of the result"][0] == "shown"
    assert len(opened(done.files[SEGMENTATION]).SegmentSequence) == 3


def test_a_segment_that_lacks_what_lies_in_it_does_not_bear_its_whole_name(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the core is doubted, so what is left of the tumour around what enhances is no whole."""
    withholding(tmp_path, monkeypatch, {name: 0.9 for name in POOR if name != "tumor_core"})
    done = run(bench, series(phantom()[0]))
    segments = opened(done.files[SEGMENTATION]).SegmentSequence
    assert [one.SegmentLabel for one in segments] == ["whole tumour, outside the other segments", "enhancing"]
    groups = by_tid1500reader(done.files[MEASUREMENTS], tmp_path)
    whole = done.report()["regions"]["whole_tumor"]["volume_ml"]
    assert volumes(groups)["whole tumour"] == (whole, "ml")
    assert "ReferencedSegment" not in groups["whole tumour"]
    assert groups["whole tumour"]["TrackingUniqueIdentifier"] not in [one.TrackingUID for one in segments]


def test_the_pictures_are_the_planes_in_a_row(bench: Bench) -> None:
    done = run(bench, series(phantom()[0]))
    found = opened(done.files[PICTURES])
    assert (found.SOPClassUID, found.PhotometricInterpretation) == (uid.SecondaryCaptureImageStorage, "RGB")
    assert found.BurnedInAnnotation == "NO"
    pixels = found.pixel_array
    names = ("axial", "coronal", "sagittal")
    for panel, name in zip(np.split(pixels, 3, axis=1), names, strict=True):
        assert np.array_equal(panel, decoded(done.files[f"{name}.png"]))


def decoded(png: bytes) -> np.ndarray:
    import cv2

    picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return np.asarray(picture[:, :, ::-1])


def test_a_second_attempt_writes_the_same_bytes(bench: Bench) -> None:
    record = bench.record({"dicom.zip": to_zip(series(phantom()[0])).getvalue()}, outputs=("dicom",))
    first = bench.do(record)
    second = bench.do(record.model_copy(update={"attempts": 2}))
    assert {name: first.files[name] for name in OBJECTS} == {name: second.files[name] for name in OBJECTS}


def test_a_study_sent_again_has_the_same_uids_and_the_time_of_its_own_job(bench: Bench) -> None:
    files = series(phantom()[0])
    record = bench.record({"dicom.zip": to_zip(shuffled(files)).getvalue()}, outputs=("dicom",))
    later = record.model_copy(update={"created_at": datetime(2031, 5, 4, 3, 2, 1, tzinfo=UTC) + timedelta(hours=20)})
    first, second = bench.do(record), bench.do(later)
    for name in OBJECTS:
        one, other = opened(first.files[name]), opened(second.files[name])
        assert (one.SOPInstanceUID, one.SeriesInstanceUID) == (other.SOPInstanceUID, other.SeriesInstanceUID)
        assert (other.ContentDate, other.ContentTime) == ("20310504", "230201")
        assert one.file_meta.MediaStorageSOPInstanceUID == one.SOPInstanceUID
    changed = [*files[:-1], series(phantom()[0])[-1].replace(b"1.2.3.3.25", b"1.2.3.3.99")]
    assert opened(run(bench, changed).files[SEGMENTATION]).SOPInstanceUID != one.SOPInstanceUID


@pytest.mark.parametrize("kind", ["files of one slice", "one file"])
def test_no_object_breaks_its_definition(bench: Bench, tmp_path: Path, kind: str) -> None:
    volume, _ = phantom("LPS", ANISOTROPIC, 20)
    borne = {"StudyDate": "20260101", "StudyTime": "101112", "StudyID": "7", "PatientSex": "F"}
    files = series(volume, **borne) if kind == "files of one slice" else [make_enhanced(volume, elements=borne)]
    done = run(bench, files)
    assert {name: complaints(done.files[name], tmp_path) for name in OBJECTS} == {key: [] for key in OBJECTS}


@pytest.mark.parametrize("tilt", [0, 25])
def test_a_labelmap_is_the_label_map_too(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tilt: float
) -> None:
    volume, labels = phantom("LPS", ANISOTROPIC, tilt)
    record = bench.record({"dicom.zip": to_zip(shuffled(series(volume))).getvalue()}, outputs=("dicom",))
    binary = bench.do(record)
    monkeypatch.setenv("FALX_DICOM_LABELMAP", "true")
    done, again = bench.do(record), bench.do(record)
    check_everywhere(done, labels, tmp_path)
    found = opened(done.files[SEGMENTATION])
    assert (found.SOPClassUID, found.SegmentationType) == ("1.2.840.10008.5.1.4.1.1.66.7", "LABELMAP")
    assert found.SOPInstanceUID != opened(binary.files[SEGMENTATION]).SOPInstanceUID
    assert len(done.files[SEGMENTATION]) < len(binary.files[SEGMENTATION])
    assert done.files[SEGMENTATION] == again.files[SEGMENTATION]
    groups = by_tid1500reader(done.files[MEASUREMENTS], tmp_path)
    assert groups["enhancing"]["segmentationSOPInstanceUID"] == found.SOPInstanceUID


@pytest.mark.parametrize("kind", ["files of one slice", "one file"])
def test_a_presentation_state_outlines_the_segments_on_their_slices(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("FALX_DICOM_PRESENTATION", "true")
    volume, labels = phantom("LPS", ANISOTROPIC, 20)
    files = series(volume) if kind == "files of one slice" else [make_enhanced(volume)]
    record = bench.record({"dicom.zip": to_zip(files).getvalue()}, outputs=("dicom",))
    done, again = bench.do(record), bench.do(record)
    assert done.files[OUTLINES] == again.files[OUTLINES]
    assert complaints(done.files[OUTLINES], tmp_path) == []
    found = opened(done.files[OUTLINES])
    assert found.PatientName == opened(files[0]).get("PatientName", "")
    filled = np.zeros_like(labels)
    for annotation in found.GraphicAnnotationSequence:
        number = int(annotation.GraphicLayer.removeprefix("SEGMENT_"))
        source = annotation.ReferencedImageSequence[0]
        last = int(source.ReferencedSOPInstanceUID.rpartition(".")[2])
        k = last - 1 if kind == "files of one slice" else SHAPE[2] - source.ReferencedFrameNumber
        for points in (np.reshape(one.GraphicData, (-1, 2)) for one in annotation.GraphicObjectSequence):
            assert np.array_equal(points[0], points[-1])
            i, j = np.floor(points).astype(int).T
            filled[i, j, k] = number
    # Every pixel of an outline is of its segment, or just beside it where the line runs around a hole.
    outermost = filled[labels > 0] > 0
    assert np.count_nonzero(outermost) > 100
    assert {number for number in np.unique(filled) if number} == {1, 2, 3}
    for number in (1, 2, 3):
        assert np.array_equal(np.unique(np.nonzero(filled == number)[2]), np.unique(np.nonzero(labels == number)[2]))


def test_dicom_results_of_nifti_files_are_refused(bench: Bench) -> None:
    volume, _ = phantom()
    with pytest.raises(InvalidRequest, match="the output dicom goes with the part dicom only") as caught:
        bench.run({"flair.nii.gz": to_nifti(volume.voxels, volume.affine, compress=True)}, outputs=("dicom",))
    assert [error.pointer for error in caught.value.errors] == ["part/job#/outputs"]


@pytest.mark.parametrize("keyword", ["FrameOfReferenceUID", "SOPInstanceUID"])
def test_a_series_that_nothing_can_refer_to_is_refused_by_the_element(bench: Bench, keyword: str) -> None:
    files = series(phantom()[0], **{keyword: ""})
    with pytest.raises(InvalidDicom, match=keyword):
        run(bench, files)
    assert bench.run({"dicom.zip": to_zip(files).getvalue()}).labels().any()
