"""A zip of one study: judged by its directory first, then read member by member. Nothing is ever written to disk."""

from __future__ import annotations

import re
import stat
import struct
import zipfile
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from core.contracts.volume_limits import VolumeLimits
from core.errors import DecompressionBomb, InputTooLarge, InvalidDicom
from core.imaging.limits import ImageLimits

_END: Final = b"PK\x05\x06"
_END_SIZE: Final = 22
_ZIP64_LOCATOR: Final = b"PK\x06\x07"
_ZIP64_LOCATOR_SIZE: Final = 20
_ZIP64_SIGNATURE: Final = b"PK\x06\x06"
# Signature, length of the rest, two versions, two disks, entries here and in all, size and offset of the directory.
_ZIP64_END: Final = struct.Struct("<4sQHHIIQQQQ")
_LONGEST_COMMENT: Final = 65_535
_COMPRESSIONS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED: Final = 0x0001 | 0x0040 | 0x2000
_DRIVE: Final = re.compile(r"^[A-Za-z]:")
# What macOS and Windows add to a folder, and the index of a DICOM medium.
_CLUTTER: Final = re.compile(r"(^|/)(__MACOSX/|\._|\.DS_Store$|Thumbs\.db$|desktop\.ini$|DICOMDIR$)", re.IGNORECASE)
_ARCHIVES: Final = (
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"\x1f\x8b",
    b"BZh",
    b"7z\xbc\xaf\x27\x1c",
    b"Rar!\x1a\x07",
    b"\xfd7zXZ",
)
_PIECE: Final = 1024 * 1024
_DICOM_AT: Final = slice(128, 132)


@dataclass(frozen=True, slots=True)
class StudyLimits:
    """Bounds on a zip of one study.

    ``max_bytes`` is its size as uploaded, ``max_members`` and ``max_directory_bytes`` bound its directory,
    ``max_member_bytes`` one file in it and ``max_total_bytes`` all of them, once inflated. ``image`` bounds a slice,
    ``volume`` what is stacked of them.
    """

    max_bytes: int = 1024**3
    max_members: int = 20_000
    max_directory_bytes: int = 8 * 1024 * 1024
    max_member_bytes: int = 512 * 1024 * 1024
    max_total_bytes: int = 4 * 1024**3
    image: ImageLimits = field(default_factory=lambda: ImageLimits(max_bytes=512 * 1024 * 1024))
    volume: VolumeLimits = field(default_factory=VolumeLimits)


class NestedArchive(InvalidDicom):
    """A file in the zip is an archive itself. It is not opened."""


class StudyZip:
    """The files in a zip, in the order of its directory, clutter left out.

    Raises ``InvalidDicom`` for what is no plain zip (encrypted, nested, with paths that lead out of it, links or
    compressions other than deflate), ``InputTooLarge`` and ``DecompressionBomb`` beyond the limits.
    """

    def __init__(self, file: BinaryIO, limits: StudyLimits) -> None:
        _check_end(file, limits)
        try:
            self._zip = zipfile.ZipFile(file)
            infos = self._zip.infolist()
        except Exception as error:
            raise InvalidDicom("The zip is broken: its directory cannot be read.") from error
        _check_directory(infos, limits)
        self._members = [info for info in infos if not info.is_dir() and not _CLUTTER.search(info.filename)]

    def __len__(self) -> int:
        return len(self._members)

    def read(self, index: int) -> bytes:
        """The file at ``index``, whole; never more than its directory entry declares, which was judged before."""
        info = self._members[index]
        try:
            with self._zip.open(info) as member:
                # zipfile bounds what it inflates by the size asked for only, so it is asked for pieces.
                data = b"".join(iter(lambda: member.read(_PIECE), b""))
        except Exception as error:
            raise InvalidDicom("The zip is broken: a file in it cannot be inflated.") from error
        if data.startswith(_ARCHIVES) and data[_DICOM_AT] != b"DICM":
            raise NestedArchive("The zip holds another archive; send one zip of DICOM files.")
        return data


def _check_end(file: BinaryIO, limits: StudyLimits) -> None:
    """Judge the end record, which says how long the directory is, before the directory is read into memory."""
    size = file.seek(0, 2)
    if size > limits.max_bytes:
        raise InputTooLarge(f"The zip has {size} bytes, the limit is {limits.max_bytes}.")
    file.seek(0)
    if file.read(4) not in (b"PK\x03\x04", _END):
        raise InvalidDicom("The file is not a zip.")
    file.seek(max(0, size - _LONGEST_COMMENT - _END_SIZE - _ZIP64_LOCATOR_SIZE))
    tail = file.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < _END_SIZE:
        raise InvalidDicom("The zip is truncated: its directory is missing.")
    directory = int.from_bytes(tail[at + 12 : at + 16], "little")
    if tail[max(0, at - _ZIP64_LOCATOR_SIZE) : at].startswith(_ZIP64_LOCATOR):
        directory = _zip64_directory(file, size - len(tail) + at)
    if directory > limits.max_directory_bytes:
        raise InputTooLarge(f"The directory of the zip has more than {limits.max_directory_bytes} bytes.")
    file.seek(0)


def _zip64_directory(file: BinaryIO, end: int) -> int:
    """Bytes of the directory by the zip64 records before the end record at ``end``.

    Readers differ in where they look for these records, so they must lie as every writer puts them: directory, record
    and locator, one right behind the other, each saying so.
    """
    at = end - _ZIP64_LOCATOR_SIZE - _ZIP64_END.size
    file.seek(max(0, at))
    records = file.read(end - max(0, at))
    if at < 0 or len(records) < _ZIP64_END.size + _ZIP64_LOCATOR_SIZE:
        raise InvalidDicom("The zip is broken: its zip64 records are incomplete.")
    signature, length, _, _, disk, first_disk, here, entries, size, offset = _ZIP64_END.unpack_from(records)
    _, located_disk, located, disks = struct.unpack_from("<4sIQI", records, _ZIP64_END.size)
    if disk or first_disk or located_disk or disks > 1 or here != entries:
        raise InvalidDicom("The zip is in several parts; send one file.")
    if signature != _ZIP64_SIGNATURE or length != _ZIP64_END.size - 12 or located != at or offset + size != at:
        raise InvalidDicom("The zip is broken: its zip64 records contradict each other; write it without zip64.")
    return int(size)


def _check_directory(infos: list[zipfile.ZipInfo], limits: StudyLimits) -> None:
    if len(infos) > limits.max_members:
        raise InputTooLarge(f"The zip holds {len(infos)} files, the limit is {limits.max_members}.")
    for info in infos:
        _check_entry(info)
        if info.file_size > limits.max_member_bytes:
            raise DecompressionBomb(f"A file in the zip has more than {limits.max_member_bytes} bytes once inflated.")
    if sum(info.file_size for info in infos) > limits.max_total_bytes:
        raise DecompressionBomb(f"The zip holds more than {limits.max_total_bytes} bytes once inflated.")


def _check_entry(info: zipfile.ZipInfo) -> None:
    path = info.orig_filename.replace("\\", "/")
    if path.startswith("/") or _DRIVE.match(path) or ".." in path.split("/") or "\0" in path:
        raise InvalidDicom("The zip holds a path that leads out of it.")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise InvalidDicom("The zip holds a link or a device; send files only.")
    if info.flag_bits & _ENCRYPTED:
        raise InvalidDicom("The zip is encrypted; send it without a password.")
    if info.compress_type not in _COMPRESSIONS:
        raise InvalidDicom("The zip uses a compression other than deflate.")
