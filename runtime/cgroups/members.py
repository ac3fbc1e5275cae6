"""Which processes are in a container's groups, nested groups included; and the end of all of them. Owns no group. Source: cgroups(7)."""

from __future__ import annotations

import os

from runtime.cgroups import files, v2
from runtime.cgroups.groups import Groups
from runtime.kernel.processes import send_signal

SIGKILL = 9
GROUPS_MAX = 4096
"""Nested groups looked at."""


def pids(groups: Groups) -> frozenset[int]:
    """As this process's pid namespace numbers them; empty for groups that are gone."""
    found: set[int] = set()
    if not groups.folders:
        return frozenset()
    top = groups.unified or groups.folder_of("pids") or groups.folders[0]
    for count, (folder, _, _) in enumerate(os.walk(top)):
        if count >= GROUPS_MAX:
            break
        try:
            found.update(int(pid) for pid in files.read_all(os.path.join(folder, "cgroup.procs")).split())
        except FileNotFoundError:
            continue
    return frozenset(found - {0})


def kill(groups: Groups) -> None:
    """SIGKILL to every process, at once where the kernel can (5.14)."""
    if groups.unified and v2.kill(groups.unified):
        return
    for pid in pids(groups):
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            send_signal(pidfd, SIGKILL)
        finally:
            os.close(pidfd)
