"""Model cards: what the ``CARD.md`` of a bundle tells people about it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from core.errors import NotFound
from core.runtime.bundle import MANIFEST_NAME

CARD_NAME: Final = "CARD.md"


def find_folder(models_dir: Path, address: str) -> Path | None:
    """The bundle ``NAME@VERSION`` below ``models_dir``, whatever its task; None where there is none.

    The address is compared with the folders that are there and never becomes a path itself.
    """
    folders = (manifest.parent for manifest in models_dir.glob(f"*/*/{MANIFEST_NAME}"))
    return next((folder for folder in folders if f"{folder.parent.name}@{folder.name}" == address), None)


def read_card(folder: Path) -> bytes:
    """The card of the bundle in ``folder``, UTF-8 Markdown. Raises NotFound where it has none."""
    try:
        return (folder / CARD_NAME).read_bytes()
    except OSError as error:
        raise NotFound("This model has no card.") from error
