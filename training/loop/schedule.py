"""Where a training stands: which phase, which learning rate. Pure functions of progress."""

from __future__ import annotations

import math

from training.config import Phase, ScheduleConfig


def _cost(phase: Phase) -> float:
    # Work grows with the area of the input.
    return float(phase.images * phase.size**2)


def progress_at(config: ScheduleConfig, images_seen: int, elapsed_s: float) -> float:
    """Share of the schedule done, 0 to 1: by work, or by time where a time limit is further on."""
    done, left = 0.0, images_seen
    for phase in config.phases:
        shown = min(left, phase.images)
        done += shown * phase.size**2
        left -= shown
    progress = done / sum(map(_cost, config.phases))
    if config.time_limit_min is not None:
        progress = max(progress, elapsed_s / (60 * config.time_limit_min))
    return min(1.0, progress)


def phase_at(config: ScheduleConfig, progress: float) -> Phase:
    """The phase at a progress of 0 to 1."""
    total, end = sum(map(_cost, config.phases)), 0.0
    for phase in config.phases:
        end += _cost(phase) / total
        if progress < end:
            return phase
    return config.phases[-1]


def learning_rate_at(config: ScheduleConfig, progress: float) -> float:
    """One cycle: a cosine rise from 1/25 of the peak over ``warm_up``, then a cosine fall to 1/1000 of it.

    With ``constant_rate`` the peak throughout.
    """
    peak = config.learning_rate
    if config.constant_rate:
        return peak
    if progress < config.warm_up:
        start, stop, position = peak / 25, peak, progress / config.warm_up
    else:
        start, stop, position = peak, peak / 1000, (progress - config.warm_up) / (1 - config.warm_up)
    return stop + (start - stop) * (1 + math.cos(math.pi * position)) / 2
