"""Model bundles: a folder with ``manifest.json`` and the files it names, verified before anything runs."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from core.contracts.manifest import BundleFile, Manifest
from core.contracts.tensors import Task
from core.errors import BundleCorrupt

MANIFEST_NAME = "manifest.json"
MAX_MANIFEST_BYTES = 1024 * 1024

Precision = Literal["auto", "reference", "int8"]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle: every file that ``manifest`` names is there, with the stated size and sha256.

    Files lie in ``path``, or in the folder of another bundle beside it.
    """

    manifest: Manifest
    path: Path

    def file_path(self, file: BundleFile) -> Path:
        """Where ``file`` lies."""
        return _home(self.path, file) / file.name


def load_bundle(path: Path) -> Bundle:
    """Read and verify the bundle in the folder ``path``.

    A file of another bundle is looked for in that bundle's folder, ``path/../../NAME/VERSION``.

    Raises BundleCorrupt, saying what differs: no manifest, a manifest of another schema, a folder that does
    not match name and version, a file that is missing, lies elsewhere, or differs in size or sha256.
    """
    manifest = _read_manifest(path)
    _check_address(path, f"{manifest.name}/{manifest.version}")
    _check_variants(path, manifest)
    for file in manifest.files:
        _check_file(path, file)
    return Bundle(manifest, path)


def find_bundles(models_dir: Path, task: Task, names: Collection[str] = ()) -> list[Bundle]:
    """Load every bundle ``models_dir/NAME/VERSION`` of one task, sorted by name, oldest version first.

    With ``names`` only those models are loaded, in that order, and each of them must be there.
    Bundles of another task are skipped unread beyond their manifest. Raises BundleCorrupt.
    """
    folders = sorted(manifest.parent for manifest in models_dir.glob(f"*/*/{MANIFEST_NAME}"))
    wanted = [folder for folder in folders if not names or folder.parent.name in names]
    found = [load_bundle(folder) for folder in wanted if _read_manifest(folder).task == task]
    missing = [name for name in names if name not in {bundle.manifest.name for bundle in found}]
    if missing:
        raise BundleCorrupt(f"{models_dir} holds no {task} bundle named {', '.join(missing)}.")
    rank = {name: place for place, name in enumerate(names)}
    return sorted(
        found, key=lambda bundle: (rank.get(bundle.manifest.name, 0), bundle.manifest.name, version_key(bundle))
    )


def version_key(bundle: Bundle) -> tuple[tuple[int, int, str], ...]:
    """Sort key of versions: numbers by value, words by letter, a number above a word (1.2 < 1.10, 2rc < 2.0)."""
    parts = bundle.manifest.version.split(".")
    return tuple((1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts)


def choose_file(bundle: Bundle, precision: Precision, *, on_cpu: bool) -> BundleFile:
    """Which ONNX file of the bundle to run.

    ``auto`` takes int8 on a CPU when the manifest says that it met its accuracy gate, else the reference;
    on CUDA int8 gains nothing, so the reference runs there. ``int8`` takes it wherever a bundle has it: some
    networks lose too much by it to have one, and the state of a service names what each of its models runs.
    Raises BundleCorrupt where the file is missing that every bundle has.
    """
    by_variant = {file.variant: file for file in bundle.manifest.files}
    int8 = by_variant.get("int8")
    if precision == "auto" and on_cpu and int8 is not None and int8.passes_gate:
        return int8
    if precision == "int8" and int8 is not None:
        return int8
    if "reference" not in by_variant:
        raise BundleCorrupt(f"Bundle {bundle.path} has no reference file.")
    return by_variant["reference"]


def _read_manifest(path: Path) -> Manifest:
    manifest_path = path / MANIFEST_NAME
    try:
        if manifest_path.stat().st_size > MAX_MANIFEST_BYTES:
            raise BundleCorrupt(f"{manifest_path} is larger than {MAX_MANIFEST_BYTES} bytes.")
        text = manifest_path.read_bytes()
    except OSError as error:
        raise BundleCorrupt(f"{manifest_path} cannot be read: {error.strerror}.") from error
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'body'}: {fault['msg']}" for fault in error.errors())
        raise BundleCorrupt(f"{manifest_path} does not follow the manifest schema: {faults}.") from error


def _home(path: Path, file: BundleFile) -> Path:
    """The folder that should hold ``file`` of the bundle in ``path``."""
    return path if file.bundle is None else path.absolute().parent.parent / file.bundle


def _check_address(path: Path, stated: str) -> None:
    folder = path.resolve()
    actual = f"{folder.parent.name}/{folder.name}"
    if stated != actual:
        raise BundleCorrupt(f"{path} lies at {actual}, the manifest says {stated}.")


def _check_variants(path: Path, manifest: Manifest) -> None:
    variants = [file.variant for file in manifest.files]
    if len(set(variants)) != len(variants):
        raise BundleCorrupt(f"{path} names two files of one variant: {', '.join(variants)}.")


def _check_file(path: Path, file: BundleFile) -> None:
    folder = _home(path, file)
    if file.bundle is not None:
        _check_address(folder, file.bundle)
    _check_content(folder, file)


def _check_content(folder: Path, file: BundleFile) -> None:
    path = folder / file.name
    # The manifest's pattern allows no separator, but "..", and a link may lead anywhere.
    if path.resolve().parent != folder.resolve():
        raise BundleCorrupt(f"{path} leads out of its bundle.")
    try:
        size = path.stat().st_size
        if size != file.size_bytes:
            raise BundleCorrupt(f"{path} has {size} bytes, its manifest says {file.size_bytes}.")
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise BundleCorrupt(f"{path} cannot be read: {error.strerror}.") from error
    if digest != file.sha256:
        raise BundleCorrupt(f"{path} has sha256 {digest}, its manifest says {file.sha256}.")
