"""Zips that are not what they seem are refused before they cost anything."""

from __future__ import annotations

import io
import stat
import struct
import tracemalloc
import zipfile
from dataclasses import replace

import pytest

from core.errors import DecompressionBomb, InputTooLarge, InvalidDicom, RequestError
from core.imaging.dicom.study_zip import StudyLimits, StudyZip
from tests.fixtures.volumes import to_zip

LIMITS = StudyLimits()
FILE = bytes(128) + b"DICM" + bytes(100)


def opened(file: io.BytesIO, limits: StudyLimits = LIMITS) -> StudyZip:
    return StudyZip(file, limits)


def patched(file: io.BytesIO, old: bytes, new: bytes) -> io.BytesIO:
    data = file.getvalue()
    assert old in data
    return io.BytesIO(data.replace(old, new))


def with_entry(**fields: object) -> io.BytesIO:
    info = zipfile.ZipInfo("a.dcm")
    for name, value in fields.items():
        setattr(info, name, value)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(info, FILE)
    buffer.seek(0)
    return buffer


def test_files_come_whole_and_without_clutter() -> None:
    clutter = {"__MACOSX/._a": b"x", "study/.DS_Store": b"x", "DICOMDIR": b"x", "Thumbs.db": b"x", "study/": b""}
    archive = opened(to_zip({"study/a": FILE, **clutter, "b": b"text"}))
    assert [archive.read(index) for index in range(len(archive))] == [FILE, b"text"]


@pytest.mark.parametrize(
    "path", ["../a.dcm", "study/../../a.dcm", "/etc/a.dcm", "C:\\a.dcm", "..\\a.dcm", "study\\..\\..\\a"]
)
def test_paths_that_lead_out_are_refused(path: str) -> None:
    with pytest.raises(InvalidDicom, match="path"):
        opened(to_zip({path: FILE}))


def test_a_name_with_a_nul_is_refused() -> None:
    with pytest.raises(InvalidDicom, match="path"):
        opened(patched(to_zip({"aXb.dcm": FILE}), b"aXb.dcm", b"a\0b.dcm"))


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_refused(kind: int) -> None:
    with pytest.raises(InvalidDicom, match="link"):
        opened(with_entry(external_attr=(kind | 0o644) << 16))


def test_encryption_is_refused() -> None:
    data = bytearray(with_entry().getvalue())
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + at] |= 1
    with pytest.raises(InvalidDicom, match="encrypted"):
        opened(io.BytesIO(bytes(data)))


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(compression: int) -> None:
    with pytest.raises(InvalidDicom, match="deflate"):
        opened(with_entry(compress_type=compression))


def test_archives_within_the_archive_are_refused() -> None:
    for inner in (to_zip({"a": FILE}).getvalue(), b"\x1f\x8b\x08" + bytes(200), b"7z\xbc\xaf\x27\x1c" + bytes(200)):
        archive = opened(to_zip({"inner": inner}))
        with pytest.raises(InvalidDicom, match="another archive"):
            archive.read(0)


def peak_bytes(file: io.BytesIO, limits: StudyLimits, error: type[RequestError]) -> int:
    def read_all() -> None:
        archive = opened(file, limits)
        for index in range(len(archive)):
            archive.read(index)

    tracemalloc.start()
    try:
        with pytest.raises(error):
            read_all()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_bomb_that_declares_its_size_is_refused_unread() -> None:
    bomb = to_zip({"a": bytes(40_000_000)})
    small = replace(LIMITS, max_member_bytes=1_000_000)
    assert peak_bytes(bomb, small, DecompressionBomb) < 1_000_000
    many = replace(LIMITS, max_total_bytes=1_000_000)
    assert peak_bytes(to_zip({str(index): bytes(600_000) for index in range(3)}), many, DecompressionBomb) < 1_000_000


def test_a_bomb_that_declares_little_yields_no_more_than_that() -> None:
    bomb = to_zip({"a": bytes(40_000_000)})
    lying = patched(bomb, struct.pack("<I", 40_000_000), struct.pack("<I", 1_000))
    assert peak_bytes(lying, LIMITS, InvalidDicom) < 4_000_000


def test_a_directory_beyond_the_limit_is_refused_before_it_is_read() -> None:
    many = to_zip({f"file-{index:06d}": b"" for index in range(3_000)})
    tight = replace(LIMITS, max_directory_bytes=10_000)
    assert peak_bytes(many, tight, InputTooLarge) < 300_000
    with pytest.raises(InputTooLarge, match="3000 files"):
        opened(many, replace(LIMITS, max_members=100))


def zip64(files: dict[str, bytes], **fields: int) -> io.BytesIO:
    """A zip with zip64 records, as writers make them that always use them; ``fields`` of the records may lie."""
    data = to_zip(files).getvalue()
    end = data.rindex(b"PK\x05\x06")
    size, offset = struct.unpack_from("<II", data, end + 12)
    said = {"length": 44, "disk": 0, "entries": len(files), "size": size, "offset": offset, "located": end} | fields
    record = struct.pack(
        "<4sQHHIIQQQQ", b"PK\x06\x06", said["length"], 45, 45, said["disk"], 0, said["entries"], len(files),
        said["size"], said["offset"],
    )  # fmt: skip
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, said["located"], 1)
    plain_end = data[end : end + 8] + b"\xff" * 12 + data[end + 20 :]
    return io.BytesIO(data[:end] + record + locator + plain_end)


def test_small_zip64_archives_are_read() -> None:
    archive = opened(zip64({"a": FILE, "b": b"text"}))
    assert [archive.read(index) for index in range(len(archive))] == [FILE, b"text"]


@pytest.mark.parametrize(
    "lie", [{"length": 60}, {"disk": 1}, {"entries": 1}, {"size": 10}, {"offset": 0}, {"located": 3}], ids=str
)
def test_zip64_records_that_contradict_each_other_are_refused(lie: dict[str, int]) -> None:
    with pytest.raises(InvalidDicom, match=r"zip64|several parts"):
        opened(zip64({"a": FILE, "b": FILE}, **lie))


def test_a_zip64_directory_beyond_the_limit_is_refused_before_it_is_read() -> None:
    many = zip64({f"file-{index:06d}": b"" for index in range(3_000)})
    assert peak_bytes(many, replace(LIMITS, max_directory_bytes=10_000), InputTooLarge) < 300_000
    with pytest.raises(InputTooLarge, match="3000 files"):
        opened(many, replace(LIMITS, max_members=100))


def test_a_zip64_locator_without_its_record_is_refused() -> None:
    data = to_zip({"a": FILE}).getvalue()
    end = data.rindex(b"PK\x05\x06")
    for located in (0, end):
        locator = b"PK\x06\x07" + struct.pack("<IQI", 0, located, 1)
        with pytest.raises(InvalidDicom, match=r"zip64|several parts"):
            opened(io.BytesIO(data[:end] + locator + data[end:]))


def test_the_size_as_uploaded_is_limited() -> None:
    with pytest.raises(InputTooLarge):
        opened(to_zip({"a": FILE}), replace(LIMITS, max_bytes=50))


def test_a_wrong_checksum_is_refused() -> None:
    data = with_entry().getvalue()
    assert data.count(FILE) == 1
    archive = opened(io.BytesIO(data.replace(FILE, FILE[:-1] + b"\x01")))
    with pytest.raises(InvalidDicom, match="inflated"):
        archive.read(0)


def test_cut_anywhere_is_refused() -> None:
    data = to_zip({"a": FILE, "b": FILE}).getvalue()
    for size in (0, 3, 30, len(data) // 2, len(data) - 1):
        with pytest.raises(InvalidDicom):
            opened(io.BytesIO(data[:size]))


@pytest.mark.parametrize("data", [b"", b"MZ" + bytes(100), FILE, b"\x1f\x8b" + bytes(100)])
def test_other_files_are_no_zip(data: bytes) -> None:
    with pytest.raises(InvalidDicom, match="not a zip"):
        opened(io.BytesIO(data))


def test_a_program_with_a_zip_behind_it_is_no_zip() -> None:
    with pytest.raises(InvalidDicom, match="not a zip"):
        opened(io.BytesIO(b"MZ" + bytes(100) + to_zip({"a": FILE}).getvalue()))
