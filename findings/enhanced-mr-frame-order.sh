#!/usr/bin/env bash
# Enhanced MR whose frames were acquired interleaved: SimpleITK stacks them as stored and halves the distance of slices.
#
# Seen with SimpleITK 2.5.7, dcm2niix 1.0.20260724 and highdicom 0.28.2.
# Frames of an Enhanced MR object may be stored in any order; each says where it lies and which place it has in its
# stack. In the object here ten frames 2 mm apart are stored as scanned, the even places first and then the odd ones.
# SimpleITK keeps the stored order and takes the distance from the first and the last frame: 1 mm instead of 2, a head
# of half its height with every other slice from elsewhere; two of ten frames lie where they say. No error, no warning.
# dcm2niix and highdicom put all ten where they belong. Stored in order of place, all three agree.
# It matters because interleaved acquisition is the rule in 2D brain MR, and the slices of a small tumour look
# plausible one by one, while volumes, distances and every 3D network are wrong.
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
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, generate_uid

tmp = pathlib.Path(sys.argv[1])
STEP, FRAMES = 2, 10


def item(**elements):
    made = Dataset()
    for name, value in elements.items():
        setattr(made, name, value)
    return made


def enhanced(places):
    """An Enhanced MR object whose frame at place n lies at z = 2 n mm and holds 100 + 2 n everywhere."""
    pixels = np.stack([np.full((16, 16), 100 + STEP * place) for place in places])
    meta, organisation = FileMetaDataset(), generate_uid()
    made = item(
        SOPClassUID=EnhancedMRImageStorage, SOPInstanceUID=generate_uid(), StudyInstanceUID=generate_uid(),
        SeriesInstanceUID=generate_uid(), FrameOfReferenceUID=generate_uid(), Modality="MR", Manufacturer="Example",
        PatientName="Example", PatientID="1", PatientBirthDate="", PatientSex="", AccessionNumber="", StudyID="1",
        ReferringPhysicianName="", StudyDate="20260101", StudyTime="120000", SeriesNumber=1, InstanceNumber=1,
        ImageType=["ORIGINAL", "PRIMARY", "M", "NONE"], PatientPosition="HFS", NumberOfFrames=len(places), Rows=16,
        Columns=16, BitsAllocated=16, BitsStored=16, HighBit=15, PixelRepresentation=0, SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2", PixelData=pixels.astype("<u2").tobytes(),
        DimensionOrganizationSequence=[item(DimensionOrganizationUID=organisation)],
        DimensionIndexSequence=[
            item(DimensionOrganizationUID=organisation, DimensionIndexPointer=tag, FunctionalGroupPointer=0x00209111)
            for tag in (0x00209056, 0x00209057)
        ],
        SharedFunctionalGroupsSequence=[
            item(
                PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
                PixelMeasuresSequence=[item(PixelSpacing=[1, 1], SliceThickness=STEP, SpacingBetweenSlices=STEP)],
                PixelValueTransformationSequence=[item(RescaleSlope=1, RescaleIntercept=0, RescaleType="US")],
            )
        ],
        PerFrameFunctionalGroupsSequence=[
            item(
                FrameContentSequence=[
                    item(StackID="1", InStackPositionNumber=place + 1, DimensionIndexValues=[1, place + 1])
                ],
                PlanePositionSequence=[item(ImagePositionPatient=[-8, -8, STEP * place])],
            )
            for place in places
        ],
    )
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = made.SOPClassUID, made.SOPInstanceUID
    made.file_meta = meta
    return made


def by_itk(folder):
    image = SimpleITK.ReadImage(str(folder / "0.dcm"))
    return [(image[8, 8, k], image.TransformIndexToPhysicalPoint((8, 8, k))[2]) for k in range(image.GetSize()[2])]


def by_dcm2niix(folder):
    tool = pathlib.Path(sys.executable).with_name("dcm2niix")
    subprocess.run([tool, "-z", "n", "-b", "n", "-f", "out", "-o", folder, folder], check=True, capture_output=True)
    image = nibabel.load(folder / "out.nii")
    return [(value, (image.affine @ (8, 8, k, 1))[2]) for k, value in enumerate(image.get_fdata()[8, 8])]


def by_highdicom(folder):
    volume = highdicom.imread(folder / "0.dcm").get_volume()
    return [(value, (volume.affine @ (k, 8, 8, 1))[2]) for k, value in enumerate(volume.array[:, 8, 8])]


seen = {}
for name, places in (("in order", range(FRAMES)), ("interleaved", [*range(0, FRAMES, 2), *range(1, FRAMES, 2)])):
    folder = tmp / name.replace(" ", "-")
    folder.mkdir()
    enhanced(list(places)).save_as(folder / "0.dcm", enforce_file_format=True)
    for reader in (by_itk, by_dcm2niix, by_highdicom):
        slices = reader(folder)
        heights = sorted(float(z) for _, z in slices)
        right = sum(abs(z - (value - 100)) < 1e-3 for value, z in slices)
        apart = round(heights[1] - heights[0], 3)
        seen[name, reader.__name__] = len(slices), right, apart
        print(f"{name}, {reader.__name__}: {right} of {len(slices)} frames at their place, {apart:g} mm apart")

expected = {key: (FRAMES, FRAMES, STEP) for key in seen} | {("interleaved", "by_itk"): (FRAMES, 2, 1)}
if seen != expected:
    sys.exit(f"changed: expected {expected}")
print("as stated: only SimpleITK stacks interleaved frames as they are stored")
PYTHON
