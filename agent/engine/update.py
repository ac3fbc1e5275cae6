"""`/containers/ID/update`: other limits or another restart policy for a container, running or not. Pure but for `update`.

Source: moby's container/container_unix.go (UpdateContainer): zero leaves a limit as it is.
"""

from __future__ import annotations

import msgspec

from agent import machine
from agent.container_checks import RESTARTS, check_limits
from agent.engine import limit_warnings, unread_fields
from agent.engine.answers import json_answer
from agent.engine.call import Call
from agent.engine.convert_resources import resources_of
from agent.engine.fields import Fields
from agent.records import NO_PIDS_LIMIT, HostConfig
from cluster.model.errors import Conflict, Internal, InvalidArgument
from cluster.wire.http import Response
from runtime.errors import StartFailed

UPDATABLE = (
    "memory_bytes", "memory_swap_bytes", "memory_reservation_bytes", "nano_cpus", "cpu_shares", "cpu_period_us", "cpu_quota_us", "cpuset_cpus",
    "cpuset_mems", "pids_limit", "blkio_weight",
)  # fmt: skip

PIDS_LIMIT = (1, 40)  # before it an update did not read one


async def update(call: Call) -> Response:
    record = call.node.containers.find(call.names["id"])
    fields = await call.fields()
    asked = HostConfig(**resources_of(fields))
    if call.version < PIDS_LIMIT:
        asked = msgspec.structs.replace(asked, pids_limit=0)
    elif not asked.pids_limit and fields.optional_integer("PidsLimit") is not None:
        asked = msgspec.structs.replace(asked, pids_limit=NO_PIDS_LIMIT)
    unread_fields.checked(fields, unread_fields.FIXED)
    asked, warnings = limit_warnings.kept(asked, fields, block_weights=asked.blkio_weight > 0 and machine.has_block_weights())
    restart = _restart_of(fields)
    check_limits(asked, machine.resources(), updating=True)
    try:
        wanted = updated(record.host, asked, restart)
        await call.node.containers.update(record.id, wanted)
    except Conflict as error:
        raise Conflict(f"Cannot update container {record.id}: {error.message}") from error
    except StartFailed as error:
        raise Internal(f"Cannot update container {record.id}: {error}") from error
    return json_answer({"Warnings": list(warnings)})


def _restart_of(fields: Fields) -> tuple[str, int]:
    policy = fields.section("RestartPolicy")
    name, count = policy.text("Name"), policy.integer("MaximumRetryCount")
    if name not in RESTARTS:
        raise InvalidArgument(f"invalid restart policy '{name}'")
    if count and name != "on-failure":
        raise InvalidArgument(f"maximum retry count cannot be used with restart policy '{name}'")
    return name, count


def updated(host: HostConfig, asked: HostConfig, restart: tuple[str, int]) -> HostConfig:
    """Raises Conflict in Docker's words for what does not go together with what is set already."""
    for one, other, names in (
        (asked.nano_cpus, host.cpu_period_us, ("Nano CPUs", "CPU Period")),
        (asked.nano_cpus, host.cpu_quota_us, ("Nano CPUs", "CPU Quota")),
        (asked.cpu_period_us, host.nano_cpus, ("CPU Period", "NanoCPUs")),
        (asked.cpu_quota_us, host.nano_cpus, ("CPU Quota", "NanoCPUs")),
    ):
        if one > 0 and other > 0:
            raise Conflict(f"Conflicting options: {names[0]} cannot be updated as {names[1]} has already been set")
    swap = host.memory_swap_bytes
    if swap != -1 and asked.memory_bytes > swap and asked.memory_swap_bytes == 0:
        raise Conflict("Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time")
    name, count = restart
    if name and host.auto_remove and name != "no":
        raise Conflict("Restart policy cannot be updated because AutoRemove is enabled for the container")
    changes = {field: value for field in UPDATABLE if (value := getattr(asked, field))}
    policy = {"restart": name, "restart_max": count} if name else {}
    return msgspec.structs.replace(host, **changes, **policy)
