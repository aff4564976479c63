"""What comes in the place of a NIfTI file again and again, told by its first bytes, and what to do about it."""

from __future__ import annotations

from typing import Final

_AS_STUDY: Final = "send a whole study as a zip in the part dicom"
_AS_SLICE: Final = "send single slices to /v1/segmentations"
_TO_NIFTI: Final = "save the volume as .nii.gz"

# Where the signature stands, the signature, what it says, what to do.
_BINARY: Final = (
    (128, b"DICM", "DICOM", _AS_STUDY),
    (257, b"ustar", "a tar archive", "unpack it and send the .nii.gz file in it"),
    (0, b"\x1f\x8b", "gzip within gzip, so it was compressed twice", "decompress it once"),
    (0, b"NRRD", "NRRD", _TO_NIFTI),
    (0, b"\0\0\0\1", "MGH or MGZ, the format of FreeSurfer", "convert it: mri_convert volume.mgz volume.nii.gz"),
    (0, b"PK", "a zip archive", f"unpack it and send the .nii.gz file in it, or, where it holds DICOM, {_AS_STUDY}"),
    (0, b"\x08\0", "DICOM without a preamble", _AS_STUDY),
    (0, b"\x02\0\0\0UL", "DICOM without a preamble", _AS_STUDY),
    (0, b"\x89HDF", "HDF5, as MINC 2 and MATLAB files are", _TO_NIFTI),
    (0, b"CDF", "NetCDF, as MINC 1 files are", _TO_NIFTI),
    (0, b"\x93NUMPY", "a NumPy array", "save it with its affine as .nii.gz"),
    (0, b"\x89PNG", "a PNG image", _AS_SLICE),
    (0, b"\xff\xd8\xff", "a JPEG image", _AS_SLICE),
    (0, b"II*\0", "a TIFF image", _TO_NIFTI),
    (0, b"MM\0*", "a TIFF image", _TO_NIFTI),
    (0, b"%PDF", "a PDF document", _TO_NIFTI),
    (0, b"BZh", "compressed with bzip2", "decompress it, or compress it with gzip"),
    (0, b"\xfd7zXZ", "compressed with xz", "decompress it, or compress it with gzip"),
    (0, b"\x28\xb5\x2f\xfd", "compressed with Zstandard", "decompress it, or compress it with gzip"),
    (0, b"7z\xbc\xaf", "a 7z archive", "unpack it and send the .nii.gz file in it"),
)
# Texts, told by how they begin behind white space, in lower case.
_TEXTS: Final = (
    (b"version https://git-lfs", "a Git LFS pointer to the file", "fetch the file itself with git lfs pull"),
    (b"/annex/objects/", "a git-annex pointer to the file", "fetch the file itself with datalad get or git annex get"),
    (b"<!doctype html", "an HTML page, as of a failed download", "download the file again and look at it first"),
    (b"<html", "an HTML page, as of a failed download", "download the file again and look at it first"),
    (b"<", "XML", _TO_NIFTI),
    (b"{", "JSON, as in the sidecar of a volume", "send the .nii.gz file that lies beside it"),
    (b"objecttype", "the header of a MetaImage (.mha, .mhd)", _TO_NIFTI),
)
_WHITE: Final = b"\xef\xbb\xbf \t\r\n"


def what_it_is(start: bytes) -> str:
    """The end of "The file is not NIfTI", by the first bytes of the file; never quotes them.

    540 bytes show everything that is known here, fewer may show less.
    """
    if not start:
        return ": it is empty."
    for at, signature, name, remedy in _BINARY:
        if start[at : at + len(signature)] == signature:
            return f" but {name}: {remedy}."
    text = start.lstrip(_WHITE).lower()
    for words, name, remedy in _TEXTS:
        if text.startswith(words):
            return f" but {name}: {remedy}."
    return ": it does not begin with the size of a NIfTI header."
