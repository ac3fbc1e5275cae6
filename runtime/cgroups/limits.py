"""Limits as the files that hold them, for cgroup v1 and v2. Pure. Source: the kernel's admin-guide/cgroup-v1 and
cgroup-v2.rst; Docker's conversions."""

from __future__ import annotations

from typing import NamedTuple

from runtime.spec import Limits

CPU_PERIOD_US = 100_000
NANO_CPUS_PER_CPU = 1_000_000_000

DEFAULT_DEVICES = (
    "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm", "c 5:0 rwm", "c 5:1 rwm", "c 5:2 rwm", "c 136:* rwm",
    "c *:* m", "b *:* m",
)  # fmt: skip
"""Default nodes and terminals may be used; any node may be made (but not opened)."""


class Setting(NamedTuple):
    """One value for one file. `optional`: the file may be missing (Docker goes on without it too). `what`: the
    limit's name in messages."""

    controller: str
    file: str
    value: str
    what: str
    optional: bool = False


def cpu_quota_us(nano_cpus: int) -> int:
    """Microseconds per CPU_PERIOD_US; the kernel takes no less than 1000."""
    return max(1000, nano_cpus * CPU_PERIOD_US // NANO_CPUS_PER_CPU)


def cpu_weight(shares: int) -> int:
    """v1's 2..262144 on v2's 1..10000."""
    return 1 + (max(2, min(shares, 262_144)) - 2) * 9999 // 262_142


def settings_v1(limits: Limits) -> tuple[Setting, ...]:
    """In the order in which they must be written (memory before memory + swap)."""
    found: list[Setting] = []
    if limits.memory_bytes:
        found.append(Setting("memory", "memory.limit_in_bytes", str(limits.memory_bytes), "memory limit"))
    if limits.memory_swap_bytes:
        name = "memory.memsw.limit_in_bytes"
        found.append(Setting("memory", name, str(limits.memory_swap_bytes), "swap limit", optional=True))
    if limits.memory_reservation_bytes:
        name = "memory.soft_limit_in_bytes"
        found.append(Setting("memory", name, str(limits.memory_reservation_bytes), "memory reservation"))
    if limits.nano_cpus:
        found.append(Setting("cpu", "cpu.cfs_period_us", str(CPU_PERIOD_US), "CPU limit"))
        found.append(Setting("cpu", "cpu.cfs_quota_us", str(cpu_quota_us(limits.nano_cpus)), "CPU limit"))
    if limits.cpu_shares:
        found.append(Setting("cpu", "cpu.shares", str(limits.cpu_shares), "CPU shares"))
    if limits.cpuset_cpus:
        found.append(Setting("cpuset", "cpuset.cpus", limits.cpuset_cpus, "cpuset"))
    if limits.pids > 0:
        found.append(Setting("pids", "pids.max", str(limits.pids), "pids limit"))
    return tuple(found)


def settings_v2(limits: Limits) -> tuple[Setting, ...]:
    """The same for the unified hierarchy. v2 counts swap alone, Docker's number is memory and swap together."""
    found: list[Setting] = []
    if limits.memory_bytes:
        found.append(Setting("memory", "memory.max", str(limits.memory_bytes), "memory limit"))
    if limits.memory_swap_bytes:
        swap = max(0, limits.memory_swap_bytes - limits.memory_bytes)
        found.append(Setting("memory", "memory.swap.max", str(swap), "swap limit", optional=True))
    if limits.memory_reservation_bytes:
        found.append(Setting("memory", "memory.low", str(limits.memory_reservation_bytes), "memory reservation"))
    if limits.nano_cpus:
        value = f"{cpu_quota_us(limits.nano_cpus)} {CPU_PERIOD_US}"
        found.append(Setting("cpu", "cpu.max", value, "CPU limit"))
    if limits.cpu_shares:
        found.append(Setting("cpu", "cpu.weight", str(cpu_weight(limits.cpu_shares)), "CPU shares"))
    if limits.cpuset_cpus:
        found.append(Setting("cpuset", "cpuset.cpus", limits.cpuset_cpus, "cpuset"))
    if limits.pids > 0:
        found.append(Setting("pids", "pids.max", str(limits.pids), "pids limit"))
    return tuple(found)
