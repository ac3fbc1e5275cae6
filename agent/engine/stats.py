"""`/containers/ID/stats`: what a container uses, once or each second, in Docker's form. The numbers are the kernel's (runtime/cgroups/usage.py).

Source: the Engine API's ContainerStats; moby's daemon/stats. Pure but for `stats` and `_sample`.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from typing import Final

import trio

from agent import machine
from agent.engine.answers import json_answer, json_line, stream_answer
from agent.engine.call import Call
from agent.engine.convert import NEVER, Json, time_text
from agent.records import Record
from cluster.model.errors import ClusterError, Conflict, InvalidArgument
from cluster.wire.http import Response
from runtime.cgroups import usage
from runtime.cgroups.usage import BlockIo, Usage
from runtime.errors import RuntimeFault

INTERVAL_S: Final = 1.0
ONE_SHOT_SINCE: Final = (1, 41)
CPU_FIELDS: Final = 8  # user to steal: guest time is in user time already
NS_PER_S: Final = 1_000_000_000
_OLD_NAMES: Final = (
    "io_queue_recursive", "io_service_time_recursive", "io_wait_time_recursive", "io_merged_recursive", "io_time_recursive", "sectors_recursive",
)  # fmt: skip


async def stats(call: Call) -> Response:
    """`stream=0`: one object, whose `precpu_stats` are of a second before unless `one-shot`. A container that does not run has only its name."""
    record = call.node.containers.find(call.names["id"])
    stream, one_shot = call.flag("stream", True), call.version >= ONE_SHOT_SINCE and call.flag("one-shot")
    if stream and one_shot:
        raise InvalidArgument("cannot have stream=true and one-shot=true")
    if not stream:
        before = None if one_shot else await _cpu_of(call, record)
        if before is not None:
            await trio.sleep(INTERVAL_S)  # what Docker's two samples are apart
        return json_answer(await _object(call, record.id, before))

    async def lines() -> AsyncIterator[bytes]:
        before: tuple[str, Json] | None = None
        deadline = trio.current_time()
        while (now := call.node.containers.get(record.id)) is not None:
            found = await _object(call, now.id, before)
            yield json_line(found)
            before = (found["read"], found["cpu_stats"])
            deadline = max(deadline + INTERVAL_S, trio.current_time())
            await trio.sleep_until(deadline)

    return stream_answer(lines())


async def _cpu_of(call: Call, record: Record) -> tuple[str, Json] | None:
    if not call.node.containers.is_running(record):
        return None
    found = await _object(call, record.id, None)
    return found["read"], found["cpu_stats"]


async def _object(call: Call, container_id: str, before: tuple[str, Json] | None) -> Json:
    containers = call.node.containers
    record = containers.find(container_id)
    try:
        groups = await containers.groups(record)
        found = await trio.to_thread.run_sync(usage.read, groups)
        networks = await trio.to_thread.run_sync(_networks, record)
        system_ns = system_cpu_ns(await trio.Path("/proc/stat").read_text())
    except (Conflict, ClusterError, RuntimeFault, OSError):
        return _named(record, NEVER, NEVER, Usage(), {}, {}, {})
    read, cpu = time_text(time.time_ns()), cpu_json(found, system_ns, call.node.description.resources.nano_cpus // NS_PER_S)
    return _named(record, read, before[0] if before else NEVER, found, cpu, before[1] if before else {}, networks)


def _named(record: Record, read: str, preread: str, found: Usage, cpu: Json, precpu: Json, networks: Json) -> Json:
    none = {"cpu_usage": {"total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0},
            "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0}}  # fmt: skip
    out: Json = {
        "read": read, "preread": preread, "pids_stats": _pids(found), "blkio_stats": blkio_json(found), "num_procs": 0, "storage_stats": {},
        "cpu_stats": cpu or none, "precpu_stats": precpu or none, "memory_stats": memory_json(found) if cpu else {}, "name": f"/{record.name}", "id": record.id,
    }  # fmt: skip
    return out | ({"networks": networks} if networks else {})


def _pids(found: Usage) -> Json:
    return ({"current": found.pids} if found.pids else {}) | ({"limit": found.pids_limit} if found.pids_limit else {})


def cpu_json(found: Usage, system_ns: int, processors: int) -> Json:
    per_cpu = {"percpu_usage": list(found.per_cpu_ns)} if found.per_cpu_ns else {}
    return {
        "cpu_usage": {"total_usage": found.cpu_total_ns, **per_cpu, "usage_in_kernelmode": found.cpu_kernel_ns, "usage_in_usermode": found.cpu_user_ns},
        "system_cpu_usage": system_ns,
        "online_cpus": processors,
        "throttling_data": {"periods": found.throttle_periods, "throttled_periods": found.throttled_periods, "throttled_time": found.throttled_ns},
    }


def memory_json(found: Usage) -> Json:
    """Without a limit of its own, the machine's memory is the limit."""
    return {
        "usage": found.memory_bytes, "max_usage": found.memory_peak_bytes, "stats": dict(found.memory_stats), "failcnt": found.memory_failures,
        "limit": found.memory_limit_bytes or machine.memory_bytes(),
    }  # fmt: skip


def blkio_json(found: Usage) -> Json:
    def entries(items: tuple[BlockIo, ...]) -> list[Json]:
        return [{"major": i.major, "minor": i.minor, "op": i.operation, "value": i.value} for i in items]

    return {"io_service_bytes_recursive": entries(found.io_bytes), "io_serviced_recursive": entries(found.io_operations)} | {n: [] for n in _OLD_NAMES}


def system_cpu_ns(text: str) -> int:
    """All processor time since boot, from /proc/stat."""
    ticks = sum(int(word) for word in text.split("\n", 1)[0].split()[1 : 1 + CPU_FIELDS])
    return ticks * NS_PER_S // os.sysconf("SC_CLK_TCK")


def _networks(record: Record) -> Json:
    """The interfaces of its own network namespace; none where it shares the node's."""
    if record.host.network_mode == "host" or not record.state.pid:
        return {}
    with open(f"/proc/{record.state.pid}/net/dev", encoding="ascii") as file:
        return interfaces(file.read())


def interfaces(text: str) -> Json:
    """proc(5), /proc/net/dev: without the loopback."""
    out: Json = {}
    for line in text.splitlines()[2:]:
        name, _, rest = line.partition(":")
        words = [int(word) for word in rest.split()]
        if name.strip() != "lo" and len(words) >= 12:
            names = ("bytes", "packets", "errors", "dropped")
            out[name.strip()] = {f"rx_{n}": words[i] for i, n in enumerate(names)} | {f"tx_{n}": words[8 + i] for i, n in enumerate(names)}
    return out
