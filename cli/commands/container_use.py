"""`festoon update` and `port`: containers' limits changed, their ports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from cli.api import Api, reference
from cli.commands.container import named
from cli.failures import CliFailure
from cli.flags import BYTES, DECIMAL, INT, UINT16, option
from cli.output import natural
from cli.run_fields import parse_restart
from cli.run_flags import SWAP
from cli.usage import command

_LIMITS: Final = (
    ("memory", "Memory"), ("memory_swap", "MemorySwap"), ("memory_reservation", "MemoryReservation"), ("cpus", "NanoCpus"), ("cpu_shares", "CpuShares"),
    ("cpu_period", "CpuPeriod"), ("cpu_quota", "CpuQuota"), ("cpuset_cpus", "CpusetCpus"), ("cpuset_mems", "CpusetMems"), ("pids_limit", "PidsLimit"),
    ("blkio_weight", "BlkioWeight"), ("cpu_rt_period", "CpuRealtimePeriod"), ("cpu_rt_runtime", "CpuRealtimeRuntime"), ("kernel_memory", "KernelMemory"),
)  # fmt: skip


@command("update", "CONTAINER [CONTAINER...]", summary="Update configuration of one or more containers", least=1, most=None,
         aliases=["container update", "update"])  # fmt: skip
@option("--blkio-weight", help="Block IO (relative weight), between 10 and 1000, or 0 to disable (default 0)", type=UINT16)
@option("--cpu-period", help="Limit CPU CFS (Completely Fair Scheduler) period", type=INT)
@option("--cpu-quota", help="Limit CPU CFS (Completely Fair Scheduler) quota", type=INT)
@option("--cpu-rt-period", help="Limit the CPU real-time period in microseconds", type=INT)
@option("--cpu-rt-runtime", help="Limit the CPU real-time runtime in microseconds", type=INT)
@option("--cpu-shares", "-c", help="CPU shares (relative weight)", type=INT)
@option("--cpus", help="Number of CPUs", type=DECIMAL)
@option("--cpuset-cpus", help="CPUs in which to allow execution (0-3, 0,1)")
@option("--cpuset-mems", help="MEMs in which to allow execution (0-3, 0,1)")
@option("--kernel-memory", type=BYTES, instead="")
@option("--memory", "-m", help="Memory limit", type=BYTES)
@option("--memory-reservation", help="Memory soft limit", type=BYTES)
@option("--memory-swap", help="Swap limit equal to memory plus swap: -1 to enable unlimited swap", type=SWAP)
@option("--pids-limit", help="Tune container pids limit (set -1 for unlimited)", type=INT)
@option("--restart", help="Restart policy to apply when a container exits")
def update(api: Api, arguments: tuple[str, ...], **flags: Any) -> int:
    body: dict[str, Any] = {name: flags[flag] for flag, name in _LIMITS if flags[flag] is not None}
    try:
        if flags["restart"] is not None:
            body["RestartPolicy"] = parse_restart(flags["restart"])
    except ValueError as e:
        raise CliFailure(str(e)) from e
    if not body:
        raise CliFailure("you must provide one or more flags when using this command")
    if not flags["pids_limit"]:
        body.pop("PidsLimit", None)  # as docker's client, which only sends what changes something

    warnings: list[str] = []

    def act(name: str) -> None:
        warnings.extend((api.post(f"/containers/{reference(name, 'container')}/update", body) or {}).get("Warnings") or ())

    try:
        return named(arguments, act)
    finally:
        print("".join(f"{warning}\n" for warning in warnings), end="")


@command("port", "CONTAINER [PRIVATE_PORT[/PROTO]]", summary="List port mappings or a specific mapping for the container", least=1, most=2,
         aliases=["container port", "port"])  # fmt: skip
def port(api: Api, arguments: tuple[str, ...]) -> int:
    found = api.get(f"/containers/{reference(arguments[0], 'container')}/json")
    ports = (found.get("NetworkSettings") or {}).get("Ports") or {}
    if len(arguments) == 2:
        number, _, protocol = arguments[1].partition("/")
        if not number.isascii() or not number.isdigit():
            raise CliFailure(f'Error: invalid port ({number}): strconv.ParseUint: parsing "{number}": invalid syntax')
        wanted = f"{number}/{protocol or 'tcp'}"
        if not ports.get(wanted):
            raise CliFailure(f"Error: No public port '{arguments[1]}' published for {arguments[0]}")
        lines = [_address(b) for b in ports[wanted]]
    else:
        lines = [f"{name} -> {_address(b)}" for name, bound in ports.items() for b in bound or ()]
    print("".join(f"{line}\n" for line in sorted(lines, key=natural)), end="")
    return 0


def _address(bound: Mapping[str, str]) -> str:
    host = bound["HostIp"]
    return f"[{host}]:{bound['HostPort']}" if ":" in host else f"{host}:{bound['HostPort']}"
