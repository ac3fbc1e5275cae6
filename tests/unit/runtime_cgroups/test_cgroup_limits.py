"""Docker's limits as the files of both cgroup versions, and their sentences when they can't be kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.cgroups.groups import Groups, apply_limits
from runtime.cgroups.limits import cpu_quota_us, cpu_weight, settings_v1, settings_v2
from runtime.errors import StartFailed
from runtime.spec import Limits

ALL = Limits(1 << 20, 3 << 20, 1 << 19, 1_500_000_000, 1024, "0-1", 64)


def test_v1_files() -> None:
    assert [(s.file, s.value) for s in settings_v1(ALL)] == [
        ("memory.limit_in_bytes", "1048576"),
        ("memory.memsw.limit_in_bytes", "3145728"),
        ("memory.soft_limit_in_bytes", "524288"),
        ("cpu.cfs_period_us", "100000"),
        ("cpu.cfs_quota_us", "150000"),
        ("cpu.shares", "1024"),
        ("cpuset.cpus", "0-1"),
        ("pids.max", "64"),
    ]


def test_v2_files() -> None:
    assert [(s.file, s.value) for s in settings_v2(ALL)] == [
        ("memory.max", "1048576"),
        ("memory.swap.max", "2097152"),
        ("memory.low", "524288"),
        ("cpu.max", "150000 100000"),
        ("cpu.weight", "39"),
        ("cpuset.cpus", "0-1"),
        ("pids.max", "64"),
    ]


def test_no_limit_writes_nothing() -> None:
    assert settings_v1(Limits()) == settings_v2(Limits()) == ()


def test_conversions_at_their_ends() -> None:
    assert [cpu_weight(shares) for shares in (0, 2, 262_144, 10**9)] == [1, 1, 10_000, 10_000]
    assert [cpu_quota_us(nano) for nano in (1, 10_000_000, 1_500_000_000)] == [0, 1000, 150_000]


def test_a_limit_without_its_controller_is_a_sentence() -> None:
    with pytest.raises(StartFailed, match="the memory limit can't be kept: the memory cgroup is not available on this node"):
        apply_limits(Groups((), (), ""), settings_v1(Limits(memory_bytes=1)))


def test_optional_settings_may_lack_their_file(tmp_path: Path) -> None:
    (tmp_path / "memory.limit_in_bytes").touch()
    groups = Groups((str(tmp_path),), (("memory", str(tmp_path)),), "")
    apply_limits(groups, settings_v1(Limits(memory_bytes=5, memory_swap_bytes=9)))
    assert (tmp_path / "memory.limit_in_bytes").read_text() == "5"
    assert not (tmp_path / "memory.memsw.limit_in_bytes").exists()
