"""Pictures out of public packages: heads of scanners that no data set here holds, CT, and what is no head at all.

``strangers.toml`` names the packages, with versions and licences, and which files of theirs show what. They are
unpacked, each into a folder of its name, and never become part of this project.
"""

from __future__ import annotations

import gzip
import plistlib
import tarfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import cv2
import nibabel as nib
import numpy as np
import pydicom
from PIL import Image

from training.data.archives import FloatArray

Shown = Literal["mr", "ct", "other"]
Windows = tuple[tuple[float, float], ...]

TABLE: Final = Path(__file__).with_name("strangers.toml")
# What of a volume is shown, as shares of an axis: the ends of a head are nearly empty.
_FROM, _TO = 0.25, 0.8
# Centre and width in Hounsfield units: brain, stroke, subdural, soft tissue, bone, everything.
_WINDOWS: Final[Windows] = ((40, 80), (35, 40), (75, 215), (50, 350), (500, 2000), (1000, 4000))
_TILE: Final = 224


@dataclass(frozen=True)
class Source:
    """Files ``pattern`` of a ``package`` that show one kind of thing.

    ``axes`` are those of a volume that are cut across, 0 sagittal, 1 coronal, 2 axial,
    and ``cuts`` how many are. ``windows``: shown through the usual windows of CT, in Hounsfield units. ``tiles``: shown
    whole and in parts. ``shape`` and ``dtype`` are those of a file of bare numbers, ``order`` its axes as sagittal,
    coronal and axial, each told from its end.
    """

    package: str
    pattern: str
    shows: Shown
    name: str
    axes: tuple[int, ...] = (2,)
    cuts: int = 12
    tiles: bool = False
    windows: bool = False
    shape: tuple[int, ...] = ()
    dtype: str = "uint8"
    order: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Stranger:
    """One grey picture (h, w) in [0, 1], what it shows, and whence it comes."""

    pixels: FloatArray
    shows: Shown
    source: str
    name: str = field(default="")


def read_table(table: Path = TABLE) -> tuple[Source, ...]:
    """The sources of ``strangers.toml``."""
    entries: list[dict[str, Any]] = tomllib.loads(table.read_text())["source"]
    return tuple(map(_source, entries))


def _source(entry: Mapping[str, Any]) -> Source:
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    return Source(**values)


def strangers(folder: Path, table: Path = TABLE) -> Iterator[Stranger]:
    """Every picture of every source that is unpacked in ``folder``. Raises ValueError for one without its files."""
    for source in read_table(table):
        if not (folder / source.package).is_dir():
            continue
        files = sorted(path for path in (folder / source.package).glob(source.pattern) if path.is_file())
        if not files:
            raise ValueError(f"{source.package} holds no {source.pattern}")
        for path in files:
            for pixels in _pictures(path, source):
                yield Stranger(pixels, source.shows, source.name, path.name)


def _pictures(path: Path, source: Source) -> Iterator[FloatArray]:
    values, spacing = _read(path, source)
    if values.ndim == 3:
        cuts = [cut for axis in source.axes for cut in _cuts(values, spacing, axis, source.cuts)]
    else:
        cuts = [values]
    for cut in cuts:
        if source.windows:
            yield from (np.clip((cut - centre) / width + 0.5, 0, 1).astype(np.float32) for centre, width in _WINDOWS)
        elif source.tiles:
            yield from _tiles(_stretched(cut))
        elif cut.std() > 0:
            yield _stretched(cut)


def _read(path: Path, source: Source) -> tuple[FloatArray, tuple[float, ...]]:
    """A picture (h, w), or a volume with axes to the right, anterior and superior, and its spacing."""
    even = (1.0, 1.0, 1.0)
    if source.shape:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        values = np.frombuffer(raw, source.dtype)[: int(np.prod(source.shape))].reshape(source.shape)
        if source.order:
            values = values[::-1, ::-1, ::-1].transpose(source.order)
        return values.astype(np.float32), even
    if path.suffix == ".inv3":
        return _read_invesalius(path)
    if path.name.endswith((".nii", ".nii.gz")):
        image = nib.as_closest_canonical(nib.load(path))
        values = np.nan_to_num(np.asarray(image.dataobj, np.float32))
        return values if values.ndim == 3 else values[..., 0], image.header.get_zooms()[:3]
    if path.suffix == ".dcm":
        return _read_dicom(path), even
    with Image.open(path) as image:
        return np.asarray(image.convert("L"), np.float32), even


def _read_invesalius(path: Path) -> tuple[FloatArray, tuple[float, ...]]:
    """The volume of an InVesalius project, whose rows run to the right and to the back, slices from head to foot."""
    with tarfile.open(path) as archive:
        members = {Path(member.name).name: member for member in archive.getmembers()}
        about = plistlib.loads(_member(archive, members["main.plist"]))
        raw = _member(archive, members["matrix.dat"])
    values = np.frombuffer(raw, about["matrix"]["dtype"]).reshape(about["matrix"]["shape"])
    across, down, up = about["spacing"]
    return values.transpose(2, 1, 0)[:, ::-1, :].astype(np.float32), (across, down, up)


def _member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(member)
    if stream is None:
        raise ValueError(f"{member.name} is no file")
    return stream.read()


def _read_dicom(path: Path) -> FloatArray:
    """The middle frame, in Hounsfield units where it is CT."""
    data_set = pydicom.dcmread(path, force=True)
    values = np.asarray(data_set.pixel_array, np.float32)
    if values.ndim == 3:
        values = values[len(values) // 2]
    return values * float(data_set.get("RescaleSlope", 1)) + float(data_set.get("RescaleIntercept", 0))


def _cuts(values: FloatArray, spacing: Sequence[float], axis: int, count: int) -> Iterator[FloatArray]:
    """Cuts across an axis, upright and with square pixels."""
    columns, rows = (spacing[other] for other in range(3) if other != axis)
    for share in np.linspace(_FROM, _TO, count):
        cut = np.rot90(values.take(int(share * values.shape[axis]), axis)).astype(np.float32)
        size = (round(cut.shape[1] * columns), round(cut.shape[0] * rows))
        yield np.asarray(cv2.resize(cut, size, interpolation=cv2.INTER_LINEAR), np.float32)


def _tiles(picture: FloatArray) -> Iterator[FloatArray]:
    yield picture
    for top in range(0, picture.shape[0] - _TILE + 1, _TILE):
        for left in range(0, picture.shape[1] - _TILE + 1, _TILE):
            yield picture[top : top + _TILE, left : left + _TILE]


def _stretched(values: FloatArray) -> FloatArray:
    low, high = np.percentile(values, (0.5, 99.7))
    return np.clip((values - low) / max(float(high - low), 1e-6), 0, 1).astype(np.float32)
