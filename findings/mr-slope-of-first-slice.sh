#!/usr/bin/env bash
# An MR series whose slices are scaled each by its own slope: SimpleITK wraps values round or forgets slopes, silently.
#
# Seen with SimpleITK 2.5.7, pydicom 3.0.2, highdicom 0.28.2 and dcm2niix 1.0.20260724.
# RescaleSlope belongs to a slice (classic MR) or to a frame (Enhanced MR) and may differ from one to the next. In a
# classic series SimpleITK chooses the voxel type by the first slice: with slopes 1, 100, 1000 and 2 on a stored 1001 it
# gives uint16 and 1001, 34564, 17960, 2002 (100100 and 1001000 modulo 65536), with slopes 1, 0.5, 0.25 and 0.125 the
# fractions are cut off; beginning with the slice of slope 0.5 all is right. In an Enhanced MR object it applies the
# first frame's slope to all frames, and pydicom's apply_rescale applies none, because the slope stands in the frames'
# groups. dcm2niix (both) and highdicom (the object) give the true values.
# It matters for every map with units (perfusion, T1, ADC), and for intensities that a network is given: the same
# series has other values depending on the reader and on which slice came first.
set -euo pipefail

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
{ python3 -m venv "$tmp/venv" &&
    "$tmp/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.7 pydicom==3.0.2 \
        highdicom==0.28.2 dcm2niix==1.0.20260724 nibabel==5.4.2 numpy==2.4.6; } ||
    { echo "the packages cannot be installed here" >&2; exit 2; }

"$tmp/venv/bin/python" - "$tmp" <<'PYTHON'
import pathlib
import subprocess
import sys

import highdicom
import nibabel
import numpy as np
import SimpleITK
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_rescale
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

STORED = 1001
tmp = pathlib.Path(sys.argv[1])
study, series, space = generate_uid(), generate_uid(), generate_uid()


def item(**elements):
    made = Dataset()
    for name, value in elements.items():
        setattr(made, name, value)
    return made


def image(kind, pixels):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = item(
        SOPClassUID=kind, SOPInstanceUID=generate_uid(), StudyInstanceUID=study, SeriesInstanceUID=generate_uid(),
        FrameOfReferenceUID=space, Modality="MR", Manufacturer="Example", PatientName="Example", PatientID="1",
        PatientBirthDate="", PatientSex="", AccessionNumber="", ReferringPhysicianName="", StudyID="1",
        StudyDate="20260101", StudyTime="120000", SeriesNumber=1, InstanceNumber=1, PatientPosition="HFS",
        ImageType=["ORIGINAL", "PRIMARY", "M", "NONE"], ScanningSequence="GR", SequenceVariant="NONE", EchoTime=3,
        RepetitionTime=8, Rows=16, Columns=16, BitsAllocated=16, BitsStored=16, HighBit=15, PixelRepresentation=0,
        SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2", PixelData=pixels.astype("<u2").tobytes(),
    )
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kind, made.SOPInstanceUID
    made.file_meta = meta
    return made


def classic(folder, slopes):
    folder.mkdir()
    for number, slope in enumerate(slopes):
        one = image(MRImageStorage, np.full((16, 16), STORED))
        one.SeriesInstanceUID, one.InstanceNumber = series, number + 1
        one.ImageOrientationPatient, one.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [-8, -8, 2 * number]
        one.PixelSpacing, one.SliceThickness, one.SpacingBetweenSlices = [1, 1], 2, 2
        one.RescaleSlope, one.RescaleIntercept, one.RescaleType = slope, 0, "US"
        one.save_as(folder / f"{number}.dcm", enforce_file_format=True)


def enhanced(folder, slopes):
    folder.mkdir()
    one = image(EnhancedMRImageStorage, np.full((len(slopes), 16, 16), STORED))
    one.NumberOfFrames = len(slopes)
    one.SharedFunctionalGroupsSequence = [
        item(
            PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
            PixelMeasuresSequence=[item(PixelSpacing=[1, 1], SliceThickness=2, SpacingBetweenSlices=2)],
        )
    ]
    one.PerFrameFunctionalGroupsSequence = [
        item(
            FrameContentSequence=[
                item(StackID="1", InStackPositionNumber=number + 1, DimensionIndexValues=[1, number + 1])
            ],
            PlanePositionSequence=[item(ImagePositionPatient=[-8, -8, 2 * number])],
            PixelValueTransformationSequence=[item(RescaleSlope=slope, RescaleIntercept=0, RescaleType="US")],
        )
        for number, slope in enumerate(slopes)
    ]
    organisation = generate_uid()
    one.DimensionOrganizationSequence = [item(DimensionOrganizationUID=organisation)]
    one.DimensionIndexSequence = [
        item(DimensionOrganizationUID=organisation, DimensionIndexPointer=tag, FunctionalGroupPointer=0x00209111)
        for tag in (0x00209056, 0x00209057)
    ]
    one.save_as(folder / "0.dcm", enforce_file_format=True)


def by_itk(folder):
    files = sorted(str(path) for path in folder.glob("*.dcm"))
    if len(files) > 1:
        reader = SimpleITK.ImageSeriesReader()
        files = reader.GetGDCMSeriesFileNames(str(folder))
    voxels = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(files if len(files) > 1 else files[0]))
    return voxels[:, 8, 8].tolist()


def by_dcm2niix(folder):
    tool = pathlib.Path(sys.executable).with_name("dcm2niix")
    subprocess.run([tool, "-z", "n", "-b", "n", "-f", "out", "-o", tmp, folder], check=True, capture_output=True)
    return nibabel.load(tmp / "out.nii").get_fdata()[8, 8].tolist()


WRONG = {
    ("classic", (1, 100, 1000, 2)): [1001, 34564, 17960, 2002],
    ("classic", (1, 0.5, 0.25, 0.125)): [1001, 500, 250, 125],
    ("classic", (0.5, 1, 100, 1000)): [500.5, 1001, 100100, 1001000],
    ("enhanced", (1, 2, 4, 8)): [1001, 1001, 1001, 1001],
    ("enhanced", (0.5, 2, 4, 8)): [500.5, 500.5, 500.5, 500.5],
}
changed = []
for number, ((kind, slopes), expected) in enumerate(WRONG.items()):
    folder = tmp / f"series{number}"
    (classic if kind == "classic" else enhanced)(folder, slopes)
    true = [STORED * slope for slope in slopes]
    answers = {"SimpleITK": by_itk(folder), "dcm2niix": by_dcm2niix(folder)}
    wanted = {"SimpleITK": expected, "dcm2niix": true}
    (tmp / "out.nii").unlink()
    if kind == "enhanced":
        data = dcmread(folder / "0.dcm")
        answers["pydicom"] = apply_rescale(data.pixel_array, data)[:, 8, 8].tolist()
        answers["highdicom"] = highdicom.imread(folder / "0.dcm").get_frames()[:, 8, 8].tolist()
        wanted |= {"pydicom": [STORED] * 4, "highdicom": true}
    print(f"{kind}, slopes {slopes}, true {true}: {answers}")
    if answers != wanted:
        changed.append(f"{kind} {slopes}: expected {wanted}")
if changed:
    sys.exit("changed: " + "; ".join(changed))
print("as stated: SimpleITK takes the first slice's type or slope for all, pydicom none")
PYTHON
