"""The regions of a brain tumour in a volume: their labels, what lies in what, and what each is drawn between."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

NECROTIC_CORE: Final = 1
OEDEMA: Final = 2
ENHANCING: Final = 3

REGIONS: Final[Mapping[str, tuple[int, ...]]] = {
    "whole_tumor": (NECROTIC_CORE, OEDEMA, ENHANCING),
    "tumor_core": (NECROTIC_CORE, ENHANCING),
    "necrotic_core": (NECROTIC_CORE,),
    "oedema": (OEDEMA,),
    "enhancing": (ENHANCING,),
}
"""Labels by region, in the order of the report. They are what clinicians and the BraTS challenges measure."""

CHANNELS: Final[Mapping[str, str]] = {
    "whole_tumor": "whole_tumor",
    "tumor_core": "tumor_core",
    "enhancing_tumor": "enhancing",
}
"""The channels of a network of volumes, each within the one before it, and the region that each is."""

BETWEEN: Final[Mapping[str, tuple[str, ...]]] = {
    "necrotic_core": ("tumor_core", "enhancing"),
    "oedema": ("whole_tumor", "tumor_core"),
}
"""Regions that no channel draws: what lies in the first of two others and not in the second."""

ENCLOSING: Final[Mapping[int, tuple[str, ...]]] = {
    NECROTIC_CORE: ("necrotic_core", "tumor_core", "whole_tumor"),
    OEDEMA: ("oedema", "whole_tumor"),
    ENHANCING: ("enhancing", "tumor_core", "whole_tumor"),
}
"""The regions that hold a voxel of each label, the smallest first."""

OWN_LABEL: Final[Mapping[str, int]] = {
    "whole_tumor": OEDEMA,
    "tumor_core": NECROTIC_CORE,
    "necrotic_core": NECROTIC_CORE,
    "oedema": OEDEMA,
    "enhancing": ENHANCING,
}
"""The label of a voxel of which no smaller region is known than this one."""

NAMES: Final[Mapping[str, str]] = {
    "whole_tumor": "whole tumour",
    "tumor_core": "tumour core",
    "necrotic_core": "necrotic core",
    "oedema": "oedema",
    "enhancing": "enhancing",
}
"""As people read them."""

COLOURS: Final[Mapping[str, tuple[int, int, int]]] = {
    "whole_tumor": (240, 228, 66),
    "tumor_core": (213, 94, 0),
    "necrotic_core": (213, 94, 0),
    "oedema": (240, 228, 66),
    "enhancing": (86, 180, 233),
}
"""RGB by region, which colour-blind readers tell apart: Okabe and Ito, https://jfly.uni-koeln.de/color/."""
