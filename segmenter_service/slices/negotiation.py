"""Which representation of a segmentation a caller gets: ``Accept`` of RFC 9110, and the query's ``render``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from core.contracts.operations.slices import Rendered
from core.errors import NotAcceptable


class Representation(Enum):
    """What can be sent, in the server's order of preference; the value is the media type of the answer."""

    JSON = "application/json"
    MASK = "image/png"
    OVERLAY = "image/png; profile=overlay"
    IMAGE = "image/png; profile=image"


@dataclass(frozen=True, slots=True)
class _MediaRange:
    """One entry of ``Accept``: ``kind`` may hold wildcards, ``quality`` is in [0, 1]."""

    kind: str
    parameters: Mapping[str, str]
    quality: float

    def precision(self, representation: Representation) -> int | None:
        """How closely the range names ``representation`` (larger is closer), None when it does not."""
        kind, parameters = _split(representation.value)
        if any(parameters.get(name) != value for name, value in self.parameters.items()):
            return None
        if self.kind == kind:
            return 2 + len(self.parameters)
        if self.kind == kind.partition("/")[0] + "/*":
            return 1
        return 0 if self.kind == "*/*" else None


_RENDERED: Final[Mapping[Rendered, Representation]] = {
    "overlay": Representation.OVERLAY,
    "image": Representation.IMAGE,
}
# Parameters that callers add out of habit and that choose nothing here.
_IGNORED_PARAMETERS: Final = frozenset({"charset"})


def _split(entry: str) -> tuple[str, dict[str, str]]:
    kind, *parts = (part.strip() for part in entry.split(";"))
    pairs = (part.partition("=") for part in parts if part)
    return kind.lower(), {name.strip().lower(): value.strip().strip('"').lower() for name, _, value in pairs}


def _parse(accept: str) -> list[_MediaRange]:
    """The readable entries of the header; one with an unreadable quality is passed over."""
    ranges = []
    for entry in accept.split(","):
        kind, parameters = _split(entry)
        try:
            quality = float(parameters.pop("q", "1"))
        except ValueError:
            continue
        if kind and 0.0 <= quality <= 1.0:
            wanted = {name: value for name, value in parameters.items() if name not in _IGNORED_PARAMETERS}
            ranges.append(_MediaRange(kind, wanted, quality))
    return ranges


def _quality(ranges: list[_MediaRange], representation: Representation) -> float:
    """The quality that the closest range gives to ``representation``; 0 when none names it."""
    closest, quality = -1, 0.0
    for media_range in ranges:
        precision = media_range.precision(representation)
        if precision is not None and precision > closest:
            closest, quality = precision, media_range.quality
    return quality


def negotiate(
    accept: str | None, render: Rendered | None = None, offered: Sequence[Representation] = tuple(Representation)
) -> Representation:
    """The representation to send for an ``Accept`` header and the query's ``render``.

    ``render`` (``overlay`` or ``image``) decides alone: an address that names its picture works in a browser and in an
    image tag. Otherwise the highest quality wins and, among equals, JSON before the mask before the overlay before the
    image. No header means JSON. ``offered`` are those that there are. Raises ``NotAcceptable`` (406), which
    lists them.
    """
    if render is not None:
        return _RENDERED[render]
    if accept is None or not accept.strip():
        return Representation.JSON
    ranges = _parse(accept)
    best = max(offered, key=lambda representation: _quality(ranges, representation))
    if _quality(ranges, best) <= 0.0:
        available = ", ".join(representation.value for representation in offered)
        raise NotAcceptable(f"This address answers as {available}; Accept names none of them.")
    return best
