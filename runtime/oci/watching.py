"""events: what a container uses, at an interval, and that its memory ran out, as lines of JSON until it ends. Owns no group.

Waits for the container's end and for the kernel's notice; the interval is the user's. Source: runc's events command; cgroups(7), eventfd(2), inotify(7).
"""

from __future__ import annotations

import json
import os
import re
import select
import time
from contextlib import ExitStack

from runtime.cgroups import usage
from runtime.cgroups.groups import Groups, notify_oom
from runtime.child.faults import Refused
from runtime.kernel import constants as k
from runtime.kernel.inotify import open_watch, read_changes
from runtime.oci.state import Saved

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(text: str) -> float:
    """`1m30s` -> 90.0. Pure. Raises Refused."""
    parts = re.findall(r"([0-9.]+)(ms|s|m|h)", text)
    try:
        total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    except ValueError:
        total = 0.0
    if "".join(number + unit for number, unit in parts) != text or total <= 0:
        raise Refused(f"duration interval must be greater than 0: {text!r}")
    return total


def reading(saved: Saved) -> str:
    """One line of the kind `stats`. Raises OSError."""
    found = usage.read(saved.groups)
    data = {
        "cpu": {
            "usage": {"total": found.cpu_total_ns, "percpu": list(found.per_cpu_ns), "kernel": found.cpu_kernel_ns, "user": found.cpu_user_ns},
            "throttling": {"periods": found.throttle_periods, "throttledPeriods": found.throttled_periods, "throttledTime": found.throttled_ns},
        },
        "memory": {
            "usage": {
                "usage": found.memory_bytes, "limit": found.memory_limit_bytes, "max": found.memory_peak_bytes, "failcnt": found.memory_failures,
            },
            "raw": dict(found.memory_stats),
        },
        "pids": {"current": found.pids, "limit": found.pids_limit},
        "blkio": {
            "ioServiceBytesRecursive": [each._asdict() for each in found.io_bytes],
            "ioServicedRecursive": [each._asdict() for each in found.io_operations],
        },
    }  # fmt: skip
    return json.dumps({"type": "stats", "id": saved.id, "data": data})


def follow(saved: Saved, interval_s: float) -> None:
    """Prints until the first process has ended. Raises OSError."""
    with ExitStack() as stack:
        try:
            pidfd = os.pidfd_open(saved.pid)
        except ProcessLookupError:
            return
        stack.callback(os.close, pidfd)
        memory = _watch_memory(saved.groups)
        stack.callback(os.close, memory)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.register(memory, select.POLLIN)
        killed = _killed(saved.groups)
        due = time.monotonic() + interval_s
        while True:
            ready = {number for number, _ in poll.poll(max(0.0, due - time.monotonic()) * 1000)}
            if memory in ready:
                _drain(memory, saved.groups)
                if _unified(saved.groups) and killed == (killed := _killed(saved.groups)):
                    continue
                print(json.dumps({"type": "oom", "id": saved.id}), flush=True)
            if pidfd in ready:
                return
            if not ready:
                print(reading(saved), flush=True)
                due = time.monotonic() + interval_s


def _unified(groups: Groups) -> bool:
    return bool(groups.unified) and groups.folder_of("memory") in ("", groups.unified)


def _watch_memory(groups: Groups) -> int:
    """A descriptor that can be read when the memory may have run out."""
    if _unified(groups):
        return open_watch(os.path.join(groups.unified, "memory.events"), k.IN_MODIFY)
    descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    if groups.folder_of("memory"):
        notify_oom(groups, descriptor)
    return descriptor


def _drain(memory: int, groups: Groups) -> None:
    if _unified(groups):
        for _ in read_changes(memory):
            continue
    else:
        os.eventfd_read(memory)


def _killed(groups: Groups) -> int:
    """How often the kernel has killed in the group (cgroup v2)."""
    if not _unified(groups):
        return 0
    from runtime.cgroups import files

    return files.counter(os.path.join(groups.unified, "memory.events"), "oom_kill")
