"""Of which type the samples of a TIFF are, and as which the decoder must read them so that they come out right.

Pillow reads some types wrongly without a word: signed bytes as unsigned, 32 unsigned bits as signed, and compressed
32-bit samples of big-endian files with their bytes reversed. It refuses others as if the file were broken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from core.errors import UnusableImage

UNSIGNED: Final = 1
SIGNED: Final = 2
FLOAT: Final = 3
_NAMES: Final = {UNSIGNED: "uint", SIGNED: "int", FLOAT: "float", 5: "complex int", 6: "complex"}
_WORDS: Final = {UNSIGNED: "unsigned integers", SIGNED: "signed integers", FLOAT: "floats"}
_UNCOMPRESSED: Final = 1
_GREY: Final = frozenset(
    {(UNSIGNED, bits) for bits in (1, 2, 4, 8, 12, 16, 32)} | {(SIGNED, bits) for bits in (8, 16, 32)} | {(FLOAT, 32)}
)
_READABLE: Final = "grey of 1 to 16 bits, int8, int16, int32, uint32 and float32, and colour of 8 or 16 bits"


@dataclass(frozen=True, slots=True)
class Samples:
    """``bits`` and ``formats`` (TIFF's SampleFormat) of every sample of a pixel; ``planar`` where planes are apart."""

    bits: tuple[int, ...]
    formats: tuple[int, ...]
    compression: int
    planar: bool
    big_endian: bool

    @property
    def name(self) -> str:
        """The type of the first sample as NumPy calls it, ``uint16`` for one."""
        return f"{_NAMES.get(self.formats[0], 'unknown ')}{self.bits[0]}"

    @property
    def dtype(self) -> str | None:
        """The type to see the decoder's values as; None where they are right as they come."""
        if len(self.bits) > 1 or self.name not in ("int8", "int16", "int32", "uint32", "float32"):
            return None
        return self.name

    @property
    def decoded_as(self) -> int:
        """The SampleFormat that makes the decoder keep all bits."""
        return {"int16": UNSIGNED, "uint32": SIGNED}.get(self.name, self.formats[0])

    @property
    def swapped(self) -> bool:
        """Whether the decoder's values have their bytes reversed."""
        return self.big_endian and self.bits == (32,) and self.compression != _UNCOMPRESSED

    def check(self) -> None:
        """Raise ``UnusableImage``, which names the type, for samples that are not read, or that are read wrongly."""
        if len(self.bits) == 1:
            fits = (self.formats[0], self.bits[0]) in _GREY and not (self.big_endian and self.bits == (12,))
            self._require(fits, "")
            return
        self._require(set(self.formats) == {UNSIGNED} and set(self.bits) in ({8}, {16}), " in several channels")
        sixteen = self.bits[0] == 16
        self._require(not sixteen or len(self.bits) > 2, " in two channels")
        self._require(not sixteen or not self.planar or self.compression != _UNCOMPRESSED, " in separate planes")

    def _require(self, fits: bool, how: str) -> None:
        if not fits:
            words = f"{self.bits[0]}-bit {_WORDS.get(self.formats[0], 'samples of another kind')}"
            raise UnusableImage(
                f"The TIFF holds {words} ({self.name}){how}, which are not read. Readable are {_READABLE}."
            )
