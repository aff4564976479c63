"""A series that holds several volumes, split into them: magnitude and phase, echoes of different times."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import Final

from core.imaging.dicom.series import SAME_POSITION_MM, Plane

# More volumes than this make a map of relaxation times or a course over time, not images of several weightings.
_MAX_PARTS: Final = 4
# Echo times closer than this are of one echo: scanners write 10.0 on some slices and 10.0004 on others.
_SAME_ECHO_MS: Final = 0.5
_SAME_ECHO: Final = 0.02


def parts_of(planes: Sequence[Plane]) -> list[list[Plane]]:
    """``planes`` by volume. Where no place comes twice they are one, whatever their echo times say."""
    for key in (_kind, _echo_of(planes)):
        if not _repeats(planes):
            break
        groups: dict[Hashable, list[Plane]] = defaultdict(list)
        for plane in planes:
            groups[key(plane)].append(plane)
        if 1 < len(groups) <= _MAX_PARTS:
            return [part for group in groups.values() for part in parts_of(group)]
    return [list(planes)]


def _repeats(planes: Sequence[Plane]) -> bool:
    """Whether two planes that are no copies of each other lie at one place, all angles being alike."""
    images = {(plane.instance or str(plane.source), plane.frame, _place(plane)) for plane in planes}
    return len({place for *_, place in images}) < len(images)


def _place(plane: Plane) -> tuple[int, ...]:
    return tuple(
        round(float(value) / SAME_POSITION_MM) for value in (*plane.position, *100 * plane.orientation.ravel())
    )


def _kind(plane: Plane) -> Hashable:
    return plane.acquisition.image_type, plane.acquisition.component


def _echo_of(planes: Sequence[Plane]) -> Callable[[Plane], Hashable]:
    """Which echo a plane is of: times that differ by less than scanners' rounding are one."""
    times = sorted({plane.acquisition.echo_ms for plane in planes if plane.acquisition.echo_ms is not None})
    echoes: dict[float | None, int] = {None: -1}
    for index, time in enumerate(times):
        earlier = times[index - 1] if index else time
        apart = time - earlier > max(_SAME_ECHO_MS, _SAME_ECHO * time)
        echoes[time] = echoes.get(earlier, 0) + apart
    return lambda plane: echoes[plane.acquisition.echo_ms]
