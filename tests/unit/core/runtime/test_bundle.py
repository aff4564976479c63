"""Bundles are verified: every way in which a folder can differ from its manifest is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.errors import BundleCorrupt
from core.runtime.bundle import Bundle, choose_file, find_bundles, load_bundle

Edit = Callable[[dict[str, Any]], None]


@pytest.fixture
def models(tiny_models: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(tiny_models, tmp_path / "models"))


@pytest.fixture
def folder(models: Path) -> Path:
    return models / "tumor-classifier" / "1"


def edit_manifest(folder: Path, edit: Edit) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    edit(manifest)
    path.write_text(json.dumps(manifest))


def add_version(models: Path, version: str, name: str = "tumor-classifier") -> Path:
    """A further version of the classifier, with the same files."""
    folder = Path(shutil.copytree(models / "tumor-classifier" / "1", models / name / version))
    edit_manifest(folder, lambda manifest: manifest.update(version=version, name=name))
    return folder


def test_sound_bundle_loads(folder: Path) -> None:
    bundle = load_bundle(folder)
    assert bundle.manifest.name == "tumor-classifier"
    assert bundle.manifest.labels == ("glioma", "meningioma", "pituitary", "no_tumor")
    assert [bundle.file_path(file).name for file in bundle.manifest.files] == ["model.onnx", "model.int8.onnx"]


def test_single_changed_byte_is_found(folder: Path) -> None:
    path = folder / "model.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleCorrupt, match=r"model\.onnx has sha256 [0-9a-f]{64}, its manifest says"):
        load_bundle(folder)


def test_truncated_file_is_found_by_its_size(folder: Path) -> None:
    path = folder / "model.int8.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BundleCorrupt, match=r"model\.int8\.onnx has \d+ bytes, its manifest says \d+"):
        load_bundle(folder)


def test_missing_file_is_named(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    with pytest.raises(BundleCorrupt, match=r"model\.onnx cannot be read: No such file"):
        load_bundle(folder)


def test_folder_in_place_of_a_file_is_refused(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").mkdir()
    with pytest.raises(BundleCorrupt, match=r"model\.onnx"):
        load_bundle(folder)


@pytest.mark.parametrize("name", ["../../secret", "/etc/passwd", "a/b.onnx", "a\\b.onnx", ""])
def test_names_with_separators_break_the_schema(folder: Path, name: str) -> None:
    edit_manifest(folder, lambda manifest: manifest["files"][0].update(name=name))
    with pytest.raises(BundleCorrupt, match=r"does not follow the manifest schema: files\.0\.name"):
        load_bundle(folder)


@pytest.mark.parametrize("name", ["..", "."])
def test_dots_lead_nowhere(folder: Path, name: str) -> None:
    edit_manifest(folder, lambda manifest: manifest["files"][0].update(name=name))
    with pytest.raises(BundleCorrupt, match="leads out of its bundle"):
        load_bundle(folder)


def test_link_out_of_the_bundle_is_refused(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.onnx"
    (folder / "model.onnx").rename(outside)
    (folder / "model.onnx").symlink_to(outside)
    with pytest.raises(BundleCorrupt, match="leads out of its bundle"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("edit", "fault"),
    [
        (lambda manifest: manifest.update(schema_version=2), "schema_version"),
        (lambda manifest: manifest.update(surprise=1), "surprise"),
        (lambda manifest: manifest.pop("licence"), "licence"),
        (lambda manifest: manifest.update(labels=[]), "labels"),
        (lambda manifest: manifest.update(task="segmentation"), "preprocessing is for classification"),
        (lambda manifest: manifest["files"][0].update(sha256="0" * 63), "sha256"),
        (lambda manifest: manifest.update(label_indices=[0, 1, 2]), "one logit for each of the 4 labels"),
        (lambda manifest: manifest.update(label_indices=[0, 1, 2, 2]), "one logit for each of the 4 labels"),
        (lambda manifest: manifest.update(label_indices=[-1, 0, 1, 2]), r"label_indices\.0"),
    ],
)
def test_faults_of_the_manifest_are_named(folder: Path, edit: Edit, fault: str) -> None:
    edit_manifest(folder, edit)
    with pytest.raises(BundleCorrupt, match=fault):
        load_bundle(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00\xff", "null"])
def test_manifest_that_is_no_json_object(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(text)
    with pytest.raises(BundleCorrupt, match="manifest schema"):
        load_bundle(folder)


def test_oversized_manifest_is_not_read(folder: Path) -> None:
    (folder / "manifest.json").write_bytes(b" " * (1024 * 1024 + 1))
    with pytest.raises(BundleCorrupt, match="larger than 1048576 bytes"):
        load_bundle(folder)


def test_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(BundleCorrupt, match="cannot be read: No such file"):
        load_bundle(tmp_path)


def test_folder_must_be_name_and_version(folder: Path) -> None:
    moved = folder.rename(folder.parent / "2")
    with pytest.raises(BundleCorrupt, match="tumor-classifier/2, the manifest says tumor-classifier/1"):
        load_bundle(moved)


def test_two_files_of_one_variant_are_ambiguous(folder: Path) -> None:
    edit_manifest(folder, lambda manifest: manifest["files"][1].update(variant="reference"))
    with pytest.raises(BundleCorrupt, match="two files of one variant"):
        load_bundle(folder)


def share_files(folder: Path, name: str = "six", home: str = "tumor-classifier/1") -> Path:
    """A bundle beside ``folder`` that has no files but names those of ``home``."""
    sibling = folder.parents[1] / name / "1"
    sibling.mkdir(parents=True)
    shutil.copyfile(folder / "manifest.json", sibling / "manifest.json")
    edit_manifest(sibling, lambda manifest: manifest.update(name=name))

    def point_home(manifest: dict[str, Any]) -> None:
        manifest["files"] = [{**file, "bundle": home} for file in manifest["files"]]

    edit_manifest(sibling, point_home)
    return sibling


def test_files_of_a_sibling_are_found_and_verified(folder: Path) -> None:
    bundle = load_bundle(share_files(folder))
    for file in bundle.manifest.files:
        assert bundle.file_path(file).samefile(folder / file.name)
    (folder / "model.onnx").write_bytes(bytes(bundle.manifest.files[0].size_bytes))
    with pytest.raises(BundleCorrupt, match=r"tumor-classifier/1/model\.onnx has sha256"):
        load_bundle(bundle.path)


def test_files_of_a_sibling_are_found_from_inside_the_bundle(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sibling = share_files(folder)
    monkeypatch.chdir(sibling)
    assert load_bundle(Path()).file_path(load_bundle(sibling).manifest.files[0]).samefile(folder / "model.onnx")


@pytest.mark.parametrize("home", ["absent/1", "tumor-classifier/2", "tumor-segmenter/1"])
def test_sibling_must_be_there_with_these_files(folder: Path, home: str) -> None:
    with pytest.raises(BundleCorrupt, match=home):
        load_bundle(share_files(folder, home=home))


@pytest.mark.parametrize(
    "home",
    [
        "",
        "/",
        "..",
        "../1",
        "tumor-classifier",
        "tumor-classifier/..",
        "/etc/1",
        "tumor-classifier/1/..",
        "a\\b/1",
        "a/1\n",
    ],
)
def test_address_of_a_sibling_leads_nowhere_else(folder: Path, home: str) -> None:
    with pytest.raises(BundleCorrupt, match=r"does not follow the manifest schema: files\.0\.bundle"):
        load_bundle(share_files(folder, home=home))


def test_sibling_that_is_a_link_to_another_place_is_refused(folder: Path, tmp_path: Path) -> None:
    sibling = share_files(folder)
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleCorrupt, match="the manifest says tumor-classifier/1"):
        load_bundle(sibling)


def test_link_out_of_a_sibling_is_refused(folder: Path, tmp_path: Path) -> None:
    sibling = share_files(folder)
    (folder / "model.onnx").rename(tmp_path / "outside.onnx")
    (folder / "model.onnx").symlink_to(tmp_path / "outside.onnx")
    with pytest.raises(BundleCorrupt, match="leads out of its bundle"):
        load_bundle(sibling)


def test_labels_are_the_logits_in_order_unless_they_are_named(folder: Path) -> None:
    assert load_bundle(folder).manifest.logit_indices == (0, 1, 2, 3)
    edit_manifest(folder, lambda manifest: manifest.update(label_indices=[5, 0, 2, 1]))
    assert load_bundle(folder).manifest.logit_indices == (5, 0, 2, 1)


def addresses(bundles: list[Bundle]) -> list[str]:
    return [f"{bundle.manifest.name}/{bundle.manifest.version}" for bundle in bundles]


def test_bundles_are_found_by_task_in_order_of_name_and_version(models: Path) -> None:
    for version in ("10", "2", "2.1", "2.rc1"):
        add_version(models, version)
    add_version(models, "1", name="a-classifier")
    assert addresses(find_bundles(models, "classification")) == [
        "a-classifier/1",
        "tumor-classifier/1",
        "tumor-classifier/2",
        "tumor-classifier/2.rc1",
        "tumor-classifier/2.1",
        "tumor-classifier/10",
    ]
    assert addresses(find_bundles(models, "segmentation")) == ["tumor-segmenter/1"]


def test_configured_names_keep_their_order_and_leave_others_out(models: Path) -> None:
    add_version(models, "1", name="a-classifier")
    add_version(models, "1", name="b-classifier")
    names = ("tumor-classifier", "a-classifier")
    assert addresses(find_bundles(models, "classification", names)) == ["tumor-classifier/1", "a-classifier/1"]


@pytest.mark.parametrize("names", [("absent",), ("tumor-segmenter",)])
def test_configured_name_must_be_there_and_of_the_task(models: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(BundleCorrupt, match=f"holds no classification bundle named {names[0]}"):
        find_bundles(models, "classification", names)


def test_broken_bundle_of_another_task_stops_nothing(models: Path) -> None:
    (models / "tumor-segmenter/1/model.onnx").unlink()
    assert addresses(find_bundles(models, "classification")) == ["tumor-classifier/1"]


def test_folder_without_bundles_is_empty(tmp_path: Path) -> None:
    assert find_bundles(tmp_path, "classification") == []
    assert find_bundles(tmp_path / "absent", "classification") == []


@pytest.mark.parametrize(
    ("precision", "on_cpu", "passes_gate", "chosen"),
    [
        ("auto", True, True, "int8"),
        ("auto", True, False, "reference"),
        ("auto", False, True, "reference"),
        ("reference", True, True, "reference"),
        ("int8", True, False, "int8"),
        ("int8", False, True, "int8"),
    ],
)
def test_file_by_precision_provider_and_gate(
    folder: Path, precision: Any, on_cpu: bool, passes_gate: bool, chosen: str
) -> None:
    edit_manifest(folder, lambda manifest: manifest["files"][1].update(passes_gate=passes_gate))
    assert choose_file(load_bundle(folder), precision, on_cpu=on_cpu).variant == chosen


def test_variant_that_is_not_there(folder: Path) -> None:
    edit_manifest(folder, lambda manifest: manifest["files"].pop())
    bundle = load_bundle(folder)
    assert choose_file(bundle, "auto", on_cpu=True).variant == "reference"
    assert choose_file(bundle, "int8", on_cpu=True).variant == "reference"


def test_reference_that_is_not_there(folder: Path) -> None:
    edit_manifest(folder, lambda manifest: manifest["files"].pop(0))
    with pytest.raises(BundleCorrupt, match="has no reference file"):
        choose_file(load_bundle(folder), "reference", on_cpu=True)
