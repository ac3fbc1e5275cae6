"""What a container uses, as its cgroups count it. Reads only; the numbers' meaning is the kernel's. Source: admin-guide/cgroup-v1, cgroup-v2.rst;
the fields that Docker's API reports.

A counter that this host does not keep is 0 or an empty list.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from runtime.cgroups import files
from runtime.cgroups.groups import Groups

NS_PER_US = 1000
UNLIMITED_V1_BYTES = 1 << 62
"""v1 says "no limit" as a number near 2^63."""


class BlockIo(NamedTuple):
    major: int
    minor: int
    operation: str  # read, write, ...
    value: int


class Usage(NamedTuple):
    """CPU in nanoseconds, memory in bytes. `memory_limit_bytes`, `pids_limit`: 0 for none."""

    cpu_total_ns: int = 0
    cpu_kernel_ns: int = 0
    cpu_user_ns: int = 0
    per_cpu_ns: tuple[int, ...] = ()
    throttle_periods: int = 0
    throttled_periods: int = 0
    throttled_ns: int = 0
    memory_bytes: int = 0
    memory_peak_bytes: int = 0
    memory_failures: int = 0
    memory_limit_bytes: int = 0
    memory_stats: tuple[tuple[str, int], ...] = ()
    pids: int = 0
    pids_limit: int = 0
    io_bytes: tuple[BlockIo, ...] = ()
    io_operations: tuple[BlockIo, ...] = ()


def read(groups: Groups) -> Usage:
    """Now. Groups that are gone count nothing. Raises OSError for a file that can't be read."""
    v2 = bool(groups.unified) and groups.folder_of("memory") in ("", groups.unified) and not groups.folder_of("cpuacct")
    usage = _read_v2(groups.unified) if v2 else _read_v1(groups)
    pids = groups.folder_of("pids")
    return usage._replace(pids=_number(pids, "pids.current"), pids_limit=_number(pids, "pids.max"))


def _read_v1(groups: Groups) -> Usage:
    cpu, cpuacct, memory, blkio = (groups.folder_of(name) for name in ("cpu", "cpuacct", "memory", "blkio"))
    stat, throttled = _pairs(memory, "memory.stat"), dict(_pairs(cpu, "cpu.stat"))
    limit = _number(memory, "memory.limit_in_bytes")
    return Usage(
        cpu_total_ns=_number(cpuacct, "cpuacct.usage"), cpu_kernel_ns=_number(cpuacct, "cpuacct.usage_sys"), cpu_user_ns=_number(cpuacct, "cpuacct.usage_user"),
        per_cpu_ns=tuple(int(word) for word in _text(cpuacct, "cpuacct.usage_percpu").split()),
        throttle_periods=throttled.get("nr_periods", 0), throttled_periods=throttled.get("nr_throttled", 0), throttled_ns=throttled.get("throttled_time", 0),
        memory_bytes=_number(memory, "memory.usage_in_bytes"), memory_peak_bytes=_number(memory, "memory.max_usage_in_bytes"),
        memory_failures=_number(memory, "memory.failcnt"), memory_limit_bytes=limit if limit < UNLIMITED_V1_BYTES else 0, memory_stats=stat,
        io_bytes=_blkio(blkio, "blkio.throttle.io_service_bytes_recursive") or _blkio(blkio, "blkio.throttle.io_service_bytes"),
        io_operations=_blkio(blkio, "blkio.throttle.io_serviced_recursive") or _blkio(blkio, "blkio.throttle.io_serviced"),
    )  # fmt: skip


def _read_v2(folder: str) -> Usage:
    cpu, io = dict(_pairs(folder, "cpu.stat")), _text(folder, "io.stat")
    return Usage(
        cpu_total_ns=cpu.get("usage_usec", 0) * NS_PER_US, cpu_kernel_ns=cpu.get("system_usec", 0) * NS_PER_US,
        cpu_user_ns=cpu.get("user_usec", 0) * NS_PER_US, throttle_periods=cpu.get("nr_periods", 0), throttled_periods=cpu.get("nr_throttled", 0),
        throttled_ns=cpu.get("throttled_usec", 0) * NS_PER_US, memory_bytes=_number(folder, "memory.current"),
        memory_peak_bytes=_number(folder, "memory.peak"), memory_failures=dict(_pairs(folder, "memory.events")).get("max", 0),
        memory_limit_bytes=_number(folder, "memory.max"), memory_stats=_pairs(folder, "memory.stat"),
        io_bytes=io_stat(io, {"rbytes": "read", "wbytes": "write"}), io_operations=io_stat(io, {"rios": "read", "wios": "write"}),
    )  # fmt: skip


def blkio_lines(text: str) -> tuple[BlockIo, ...]:
    """`8:0 Read 4096` lines of v1; totals over all devices are left out. Pure."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3 and ":" in words[0]:
            major, _, minor = words[0].partition(":")
            found.append(BlockIo(int(major), int(minor), words[1].lower(), int(words[2])))
    return tuple(found)


def io_stat(text: str, wanted: dict[str, str]) -> tuple[BlockIo, ...]:
    """`8:0 rbytes=1 wbytes=2 rios=3 …` lines of v2, those of the `wanted` keys under their other names. Pure."""
    found = []
    for line in text.splitlines():
        device, *words = line.split()
        major, _, minor = device.partition(":")
        for word in words:
            key, _, value = word.partition("=")
            if key in wanted and value.isdigit():
                found.append(BlockIo(int(major), int(minor), wanted[key], int(value)))
    return tuple(found)


def _blkio(folder: str, name: str) -> tuple[BlockIo, ...]:
    return blkio_lines(_text(folder, name))


def _text(folder: str, name: str) -> str:
    if not folder:
        return ""
    try:
        return files.read(os.path.join(folder, name))
    except FileNotFoundError:
        return ""


def _number(folder: str, name: str) -> int:
    text = _text(folder, name)
    return int(text) if text.isdigit() else 0


def _pairs(folder: str, name: str) -> tuple[tuple[str, int], ...]:
    words = (line.split() for line in _text(folder, name).splitlines())
    return tuple((pair[0], int(pair[1])) for pair in words if len(pair) == 2 and pair[1].isdigit())
