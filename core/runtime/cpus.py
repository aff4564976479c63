"""How many CPU cores this process may really use."""

from __future__ import annotations

import math
import os
from pathlib import Path

PROC_CGROUP = Path("/proc/self/cgroup")
CGROUP_ROOT = Path("/sys/fs/cgroup")


def usable_cpus(proc_cgroup: Path = PROC_CGROUP, cgroup_root: Path = CGROUP_ROOT) -> int:
    """Cores to plan threads for: the smaller of scheduler affinity and cgroup quota, at least 1.

    ``os.cpu_count()`` names the cores of the host. In a container limited with ``--cpus`` that would start
    far too many threads, which then throttle each other. A quota of 1.5 cores counts as 2: a second runner
    that is throttled now and then wastes less than half a core left idle.
    """
    quota = cgroup_quota(proc_cgroup, cgroup_root)
    cores = _affinity()
    return max(1, cores if quota is None else min(cores, math.ceil(quota)))


def cgroup_quota(proc_cgroup: Path, cgroup_root: Path) -> float | None:
    """CPU quota in cores of this process's cgroup and every group above it; None where there is no limit.

    Reads cgroup v2 (``cpu.max``) and v1 (``cpu.cfs_quota_us``). Inside a container the process's own path is
    often not visible under the mounted root, so the root itself is always looked at, too.
    """
    quotas = [
        quota
        for folder in _group_folders(_read(proc_cgroup), cgroup_root)
        if (quota := _v2_quota(folder) or _v1_quota(folder)) is not None
    ]
    return min(quotas, default=None)


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS has neither affinity nor cgroups


def _group_folders(proc_cgroup: str, root: Path) -> list[Path]:
    folders: list[Path] = []
    for line in proc_cgroup.splitlines():
        fields = line.split(":", 2)  # hierarchy-ID:controllers:path, see cgroups(7)
        if len(fields) != 3:
            continue
        controllers, path = fields[1], fields[2]
        if controllers == "":
            folders += _upwards(root, path)
        elif "cpu" in controllers.split(","):
            folders += _upwards(root / controllers, path) + _upwards(root / "cpu", path)
    return [*folders, root, root / "cpu"]


def _upwards(mount: Path, path: str) -> list[Path]:
    parts = [part for part in path.split("/") if part not in ("", "..")]
    return [mount.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1)]


def _v2_quota(folder: Path) -> float | None:
    fields = _read(folder / "cpu.max").split()
    return _ratio(fields[0], fields[1]) if len(fields) == 2 else None


def _v1_quota(folder: Path) -> float | None:
    return _ratio(_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us"))


def _ratio(quota: str, period: str) -> float | None:
    """Cores; None for "max", -1 (v1's word for no limit) and files that are absent."""
    try:
        quota_us, period_us = int(quota), int(period)
    except ValueError:
        return None
    return quota_us / period_us if quota_us > 0 and period_us > 0 else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""
