"""The CPU quota, read from cgroup trees as kernels lay them out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.runtime.cpus import cgroup_quota, usable_cpus


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    return tmp_path / "proc_self_cgroup"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cgroup"


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(os, "sched_getaffinity"):
        monkeypatch.setattr(os, "cpu_count", lambda: 8)
    else:
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))


def test_v2_quota_in_a_container_lies_at_the_root(proc: Path, root: Path) -> None:
    write(proc, "0::/\n")
    write(root / "cpu.max", "150000 100000\n")
    assert cgroup_quota(proc, root) == 1.5


def test_v2_quota_of_the_own_group(proc: Path, root: Path) -> None:
    write(proc, "0::/system.slice/falx.service\n")
    write(root / "system.slice/falx.service/cpu.max", "200000 100000\n")
    write(root / "system.slice/cpu.max", "max 100000\n")
    assert cgroup_quota(proc, root) == 2.0


def test_the_tightest_group_above_counts(proc: Path, root: Path) -> None:
    write(proc, "0::/pods/one/main\n")
    write(root / "pods/one/main/cpu.max", "400000 100000")
    write(root / "pods/one/cpu.max", "300000 100000")
    write(root / "pods/cpu.max", "1600000 100000")
    assert cgroup_quota(proc, root) == 3.0


def test_path_of_the_host_is_not_visible_in_a_container(proc: Path, root: Path) -> None:
    write(proc, "0::/../../docker/0123abcd\n")
    write(root / "cpu.max", "50000 100000\n")
    assert cgroup_quota(proc, root) == 0.5


@pytest.mark.parametrize("controllers", ["cpu", "cpu,cpuacct"])
def test_v1_quota(proc: Path, root: Path, controllers: str) -> None:
    write(proc, f"5:memory:/docker/abc\n4:{controllers}:/docker/abc\n3:cpuset:/\n")
    write(root / controllers / "docker/abc/cpu.cfs_quota_us", "250000\n")
    write(root / controllers / "docker/abc/cpu.cfs_period_us", "100000\n")
    assert cgroup_quota(proc, root) == 2.5


def test_v1_quota_in_a_container_lies_at_the_mount(proc: Path, root: Path) -> None:
    write(proc, "4:cpu,cpuacct:/docker/abc\n")
    write(root / "cpu,cpuacct/cpu.cfs_quota_us", "100000\n")
    write(root / "cpu,cpuacct/cpu.cfs_period_us", "100000\n")
    assert cgroup_quota(proc, root) == 1.0


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cpu.max", "max 100000\n"),
        ("cpu.max", ""),
        ("cpu.max", "lots of cores\n"),
        ("cpu.max", "100000 0\n"),
        ("cpu.cfs_quota_us", "-1\n"),
    ],
)
def test_no_limit_or_nonsense_is_no_quota(proc: Path, root: Path, name: str, text: str) -> None:
    write(proc, "0::/\n")
    write(root / name, text)
    write(root / "cpu.cfs_period_us", "100000\n")
    assert cgroup_quota(proc, root) is None


def test_without_cgroups_affinity_counts(tmp_path: Path, eight_cores: None) -> None:
    assert usable_cpus(tmp_path / "absent", tmp_path / "absent") == 8


@pytest.mark.parametrize(("quota", "cores"), [("50000", 1), ("100000", 1), ("150000", 2), ("1600000", 8)])
def test_quota_and_affinity_together(proc: Path, root: Path, eight_cores: None, quota: str, cores: int) -> None:
    write(proc, "0::/\n")
    write(root / "cpu.max", f"{quota} 100000\n")
    assert usable_cpus(proc, root) == cores


def test_systems_without_affinity_use_their_core_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 10)
    assert usable_cpus(tmp_path / "absent", tmp_path / "absent") == 10
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cpus(tmp_path / "absent", tmp_path / "absent") == 1


def test_this_machine_has_at_least_one() -> None:
    assert 1 <= usable_cpus() <= (os.cpu_count() or 1)
