"""The samples that are shown to everybody: made by program, familiar, and answered as they are painted."""

from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import onnxruntime as ort
import pytest

from classifier_service.model import prepare
from classifier_service.prediction import label_logits
from core.contracts.manifest import ClassificationPreprocessing
from core.contracts.operations.bodies import IMAGE_PART
from core.http.bodies import Upload
from core.imaging.decode import decode
from core.imaging.limits import ImageLimits
from core.imaging.preparation.input_check import check_input, check_slice
from core.imaging.preparation.transforms import Framed
from core.runtime.bundle import load_bundle
from tests.fixtures.images import to_jpeg
from tests.support.anatomy import SEQUENCES
from tests.support.make_samples import (
    DOCUMENTED,
    NO_HEAD,
    ROOT,
    SAMPLES,
    SLICES,
    no_head,
    sample,
    slice_of,
    template,
    volumes_of,
)

CLASSES = {"glioma-like.png": "glioma", "meningioma-like.png": "meningioma", "no-tumour.png": "no_tumor"}


def test_pictures_that_need_no_template_are_what_their_program_makes() -> None:
    assert (SAMPLES / NO_HEAD).read_bytes() == to_jpeg(no_head(), quality=90)
    assert DOCUMENTED.read_bytes() == to_jpeg(sample("glioma-like.png"), quality=90)


def test_the_others_are_what_their_program_makes() -> None:
    head = template()
    if head is None:
        pytest.skip("nilearn is not installed; docs/samples/README.md says how to call this with it")
    for name in SLICES:
        assert np.array_equal(sample(name), slice_of(head, name))
    for sequence, file in volumes_of(head).items():
        assert (SAMPLES / f"{sequence}.nii.gz").read_bytes() == file


@pytest.mark.parametrize("name", SLICES)
def test_a_sample_is_familiar_and_answered_as_it_is_painted(name: str) -> None:
    bundle = load_bundle(ROOT / "models" / "tumor-classifier" / "1")
    spec = bundle.manifest.preprocessing
    assert isinstance(spec, ClassificationPreprocessing)
    prepared = prepare({IMAGE_PART: Upload((SAMPLES / name).read_bytes(), "image/png")}, ImageLimits(), spec)
    session = ort.InferenceSession(str(bundle.path / "model.onnx"), providers=["CPUExecutionProvider"])
    logits, distance, energy = session.run(["logits", "distance", "energy"], {"image": prepared.tensor[None]})
    check = check_input(prepared.findings, bundle.manifest.input_check, float(distance[0]), float(energy[0]))
    assert check.in_distribution, check.reasons
    ranked = label_logits(logits[0], bundle.manifest)
    assert bundle.manifest.labels[int(np.argmax(ranked))] == CLASSES[name]


def test_what_is_no_head_is_refused() -> None:
    image = decode((SAMPLES / NO_HEAD).read_bytes())
    assert not check_input(check_slice(image, Framed.of(image.pixels)), None, 0.0, 0.0).in_distribution


def test_the_volume_is_small_and_shows_one_brain_in_four_sequences() -> None:
    files = [SAMPLES / f"{sequence}.nii.gz" for sequence in SEQUENCES]
    assert sum(file.stat().st_size for file in files) < 1_000_000
    volumes = [nib.Nifti1Image.from_bytes(gzip.decompress(file.read_bytes())) for file in files]
    brain_ml = {float(np.mean(np.asarray(volume.dataobj) > 0) * 96 * 96 * 73 * 8 / 1000) for volume in volumes}
    assert all(1700 < ml < 2100 for ml in brain_ml)
    assert {nib.aff2axcodes(volume.affine) for volume in volumes} == {("L", "P", "S")}
    assert {volume.header.get_zooms() for volume in volumes} == {(2.0, 2.0, 2.0)}
