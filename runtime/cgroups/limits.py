"""Limits as the files that hold them, for cgroup v1 and v2. Pure. Source: the kernel's admin-guide/cgroup-v1 and
cgroup-v2.rst; Docker's conversions."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from runtime.spec import Limits


CPU_PERIOD_US = 100_000
NANO_CPUS_PER_CPU = 1_000_000_000
SWAP_FILE_V1 = "memory.memsw.limit_in_bytes"
V2_THROTTLES = {"read_bps": "rbps", "write_bps": "wbps", "read_iops": "riops", "write_iops": "wiops"}

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
    """Microseconds per CPU_PERIOD_US; the kernel takes no less than 1000. 0, no limit, for less than one, as Docker has it."""
    return nano_cpus * CPU_PERIOD_US // NANO_CPUS_PER_CPU


def cpu_bandwidth(limits: Limits) -> tuple[int, int]:
    """(period, quota) in microseconds; 0: not asked for."""
    if limits.nano_cpus:
        return CPU_PERIOD_US, cpu_quota_us(limits.nano_cpus)
    return limits.cpu_period_us, limits.cpu_quota_us


def cpu_weight(shares: int) -> int:
    """v1's 2..262144 on v2's 1..10000."""
    return 1 + (max(2, min(shares, 262_144)) - 2) * 9999 // 262_142


def settings_v1(limits: Limits) -> tuple[Setting, ...]:
    """In the order in which they must be written (memory before memory + swap)."""
    found: list[Setting] = []
    if limits.memory_bytes:
        found.append(Setting("memory", "memory.limit_in_bytes", str(limits.memory_bytes), "memory limit"))
    if limits.memory_swap_bytes:  # -1 is v1's own word for no limit
        found.append(Setting("memory", SWAP_FILE_V1, str(limits.memory_swap_bytes), "swap limit", optional=True))
    if limits.memory_reservation_bytes:
        name = "memory.soft_limit_in_bytes"
        found.append(Setting("memory", name, str(limits.memory_reservation_bytes), "memory reservation"))
    if limits.swappiness >= 0:
        found.append(Setting("memory", "memory.swappiness", str(limits.swappiness), "swappiness", optional=True))
    if limits.oom_kill_disable:
        found.append(Setting("memory", "memory.oom_control", "1", "OOM killer's absence", optional=True))
    period, quota = cpu_bandwidth(limits)
    if period:
        found.append(Setting("cpu", "cpu.cfs_period_us", str(period), "CPU limit"))
    if quota:
        found.append(Setting("cpu", "cpu.cfs_quota_us", str(quota), "CPU limit"))
    if limits.cpu_shares:
        found.append(Setting("cpu", "cpu.shares", str(limits.cpu_shares), "CPU shares"))
    if limits.cpuset_cpus:
        found.append(Setting("cpuset", "cpuset.cpus", limits.cpuset_cpus, "cpuset"))
    if limits.cpuset_mems:
        found.append(Setting("cpuset", "cpuset.mems", limits.cpuset_mems, "cpuset"))
    if limits.pids:
        found.append(Setting("pids", "pids.max", str(limits.pids) if limits.pids > 0 else "max", "pids limit"))
    if limits.blkio_weight:
        found.append(Setting("blkio", "blkio.bfq.weight", str(limits.blkio_weight), "block IO weight", optional=True))
    for kind, device, rate in limits.throttles:
        way, _, unit = kind.partition("_")
        found.append(Setting("blkio", f"blkio.throttle.{way}_{unit}_device", f"{device} {rate}", "block IO limit"))
    return tuple(found)


def settings_v2(limits: Limits) -> tuple[Setting, ...]:
    """The same for the unified hierarchy. v2 counts swap alone, Docker's number is memory and swap together."""
    found: list[Setting] = []
    if limits.memory_bytes:
        found.append(Setting("memory", "memory.max", str(limits.memory_bytes), "memory limit"))
    if limits.memory_swap_bytes:
        swap = "max" if limits.memory_swap_bytes < 0 else str(max(0, limits.memory_swap_bytes - limits.memory_bytes))
        found.append(Setting("memory", "memory.swap.max", swap, "swap limit", optional=True))
    if limits.memory_reservation_bytes:
        found.append(Setting("memory", "memory.low", str(limits.memory_reservation_bytes), "memory reservation"))
    period, quota = cpu_bandwidth(limits)
    if period or quota:
        value = f"{quota if quota > 0 else 'max'} {period or CPU_PERIOD_US}"
        found.append(Setting("cpu", "cpu.max", value, "CPU limit"))
    if limits.cpu_shares:
        found.append(Setting("cpu", "cpu.weight", str(cpu_weight(limits.cpu_shares)), "CPU shares"))
    if limits.cpuset_cpus:
        found.append(Setting("cpuset", "cpuset.cpus", limits.cpuset_cpus, "cpuset"))
    if limits.cpuset_mems:
        found.append(Setting("cpuset", "cpuset.mems", limits.cpuset_mems, "cpuset"))
    if limits.pids:
        found.append(Setting("pids", "pids.max", str(limits.pids) if limits.pids > 0 else "max", "pids limit"))
    if limits.blkio_weight:
        found.append(Setting("io", "io.bfq.weight", str(limits.blkio_weight), "block IO weight", optional=True))
    for kind, device, rate in limits.throttles:
        found.append(Setting("io", "io.max", f"{device} {V2_THROTTLES[kind]}={rate}", "block IO limit"))
    return tuple(found)


def changed(before: Limits, after: Limits, *, unified: bool) -> tuple[Setting, ...]:
    """What has to be written to go from one to the other, in an order that the kernel takes: memory never above memory and swap together."""
    from runtime.spec import Limits  # here: only the supervisor comes by, and msgspec costs the OCI command line 38 ms

    kept = {name: getattr(after, name) for name in Limits.__struct_fields__ if getattr(after, name) != getattr(before, name)}
    if unified:
        if "memory_swap_bytes" in kept or "memory_bytes" in kept:
            kept["memory_bytes"], kept["memory_swap_bytes"] = after.memory_bytes, after.memory_swap_bytes
        return settings_v2(Limits(**kept))
    found = settings_v1(Limits(**kept))
    grows = before.memory_swap_bytes > 0 and (after.memory_swap_bytes < 0 or after.memory_swap_bytes > before.memory_swap_bytes)
    swap = tuple(s for s in found if s.file == SWAP_FILE_V1)
    return swap + tuple(s for s in found if s not in swap) if grows else found
