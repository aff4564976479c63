"""What a file may cost before a single pixel of it is decoded."""

from __future__ import annotations

from dataclasses import dataclass

from core.errors import DecompressionBomb, InputTooLarge, UnusableImage


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """Bounds on one uploaded file.

    ``max_bytes`` is the size as uploaded; ``max_inflated_bytes`` that of a deflated DICOM data set once inflated.
    ``max_pixels``, ``max_side`` and ``min_side`` bound one frame in pixels, ``max_frames`` the number of frames.
    """

    max_bytes: int = 32 * 1024 * 1024
    max_inflated_bytes: int = 64 * 1024 * 1024
    max_pixels: int = 24_000_000
    max_side: int = 16_384
    min_side: int = 16
    max_frames: int = 4_096

    def check_bytes(self, size: int) -> None:
        """Raise ``InputTooLarge`` for a file of more than ``max_bytes``."""
        if size > self.max_bytes:
            raise InputTooLarge(f"The file has {size} bytes, the limit is {self.max_bytes}.")

    def check_size(self, height: int, width: int) -> None:
        """Judge the size that a header declares, in pixels.

        Raises ``DecompressionBomb`` above ``max_side`` or ``max_pixels``, ``UnusableImage`` below ``min_side``.
        """
        if max(height, width) > self.max_side:
            raise DecompressionBomb(
                f"The image is {width}x{height}, the longest side allowed is {self.max_side} pixels."
            )
        if height * width > self.max_pixels:
            raise DecompressionBomb(
                f"The image is {width}x{height} = {height * width} pixels, the limit is {self.max_pixels} pixels."
            )
        if min(height, width) < self.min_side:
            raise UnusableImage(f"The image is {width}x{height}, each side must have at least {self.min_side} pixels.")

    def check_frames(self, frames: int) -> None:
        """Raise ``DecompressionBomb`` for a file that declares more than ``max_frames`` frames."""
        if frames > self.max_frames:
            raise DecompressionBomb(f"The file declares {frames} frames, the limit is {self.max_frames} frames.")
