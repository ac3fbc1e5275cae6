"""Limits that this node can't keep and that Docker drops with a warning: said in Docker's words, and not asked for. Pure.

Source: moby's daemon/daemon_unix.go (verifyPlatformContainerResources).
"""

from __future__ import annotations

from typing import Final

import msgspec

from agent.container_checks import MIN_MEMORY_BYTES
from agent.engine.fields import Fields
from agent.records import HostConfig
from cluster.model.errors import InvalidArgument

WEIGHT: Final = "Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded."
WEIGHT_DEVICE: Final = "Your kernel does not support Block I/O weight_device or the cgroup is not mounted. Weight-device discarded."
KERNEL_MEMORY: Final = "Specifying a kernel memory limit is deprecated and will be removed in a future release."
NO_OOM_KILLER: Final = (
    "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources."
)


def kept(host: HostConfig, asked: Fields, *, block_weights: bool) -> tuple[HostConfig, tuple[str, ...]]:
    """What remains, and what the user is told. `asked`: the request's HostConfig; `block_weights`: whether the kernel has them."""
    warnings = []
    if 0 < asked.integer("KernelMemory") < MIN_MEMORY_BYTES:
        raise InvalidArgument("Minimum kernel memory limit allowed is 6MB")
    if asked.truthy("KernelMemory"):
        warnings.append(KERNEL_MEMORY)
    if host.oom_kill_disable and not host.memory_bytes:
        warnings.append(NO_OOM_KILLER)
    if host.blkio_weight and not block_weights:
        host = msgspec.structs.replace(host, blkio_weight=0)
        warnings.append(WEIGHT)
    if asked.truthy("BlkioWeightDevice"):
        warnings.append(WEIGHT_DEVICE)
    return host, tuple(warnings)
