"""`festoon stats`, `update` and `port`: what containers use, their limits changed, their ports."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final

from cli.api import Api, reference
from cli.commands.container import named
from cli.commands.system import LIST_FORMAT_HELP
from cli.failures import CliFailure
from cli.flags import BYTES, DECIMAL, INT, UINT16, option, switch
from cli.listing import Listing
from cli.output import short_id
from cli.run_fields import parse_restart
from cli.run_flags import SWAP
from cli.units import binary_size, human_size
from cli.usage import command

CLEAR: Final = "\033[2J\033[H"
HEADERS: Final = {
    "ID": "CONTAINER ID", "Container": "CONTAINER", "Name": "NAME", "CPUPerc": "CPU %", "MemUsage": "MEM USAGE / LIMIT", "MemPerc": "MEM %",
    "NetIO": "NET I/O", "BlockIO": "BLOCK I/O", "PIDs": "PIDS",
}  # fmt: skip
LISTING: Final = Listing(HEADERS, ("ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"), kind="*container.statsContext")
_LIMITS: Final = (
    ("memory", "Memory"), ("memory_swap", "MemorySwap"), ("memory_reservation", "MemoryReservation"), ("cpus", "NanoCpus"), ("cpu_shares", "CpuShares"),
    ("cpu_period", "CpuPeriod"), ("cpu_quota", "CpuQuota"), ("cpuset_cpus", "CpusetCpus"), ("cpuset_mems", "CpusetMems"), ("pids_limit", "PidsLimit"),
    ("blkio_weight", "BlkioWeight"), ("cpu_rt_period", "CpuRealtimePeriod"), ("cpu_rt_runtime", "CpuRealtimeRuntime"), ("kernel_memory", "KernelMemory"),
)  # fmt: skip


@command("stats", "[CONTAINER...]", summary="Display a live stream of container(s) resource usage statistics", most=None,
         aliases=["container stats", "stats"])  # fmt: skip
@switch("--all", "-a", help="Show all containers (default shows just running)")
@option("--format", help=LIST_FORMAT_HELP, default="")
@switch("--no-stream", help="Disable streaming stats and only pull the first result")
@switch("--no-trunc", help="Do not truncate output")
def stats(api: Api, arguments: tuple[str, ...], **flags: Any) -> int:
    while True:
        names = arguments or tuple(c["Id"] for c in api.get("/containers/json", all=bool(flags["all"])) or ())
        found = [api.get(f"/containers/{reference(name)}/stats", stream="0") for name in names]
        rows = [_row(shown, name, trunc=not flags["no_trunc"]) for shown, name in zip(found, names, strict=True)]
        text = LISTING.render(rows, flags["format"], quiet=False)
        if not flags["no_stream"] and sys.stdout.isatty():
            text = CLEAR + text
        print(text, end="", flush=True)
        if flags["no_stream"]:
            return 0


def _row(found: Mapping[str, Any], name: str, *, trunc: bool) -> dict[str, Any]:
    """Of a container that does not run, zeros."""
    used, limit = memory(found.get("memory_stats") or {})
    received = sum(n["rx_bytes"] for n in (found.get("networks") or {}).values())
    sent = sum(n["tx_bytes"] for n in (found.get("networks") or {}).values())
    entries = (found.get("blkio_stats") or {}).get("io_service_bytes_recursive") or ()
    reads, writes = (sum(e["value"] for e in entries if e["op"].lower() == op) for op in ("read", "write"))
    shown = {
        "CPUPerc": f"{cpu_percent(found):.2f}%", "MemUsage": f"{binary_size(used)} / {binary_size(limit)}",
        "MemPerc": f"{100 * used / limit if limit else 0:.2f}%", "NetIO": f"{human_size(received)} / {human_size(sent)}",
        "BlockIO": f"{human_size(reads)} / {human_size(writes)}", "PIDs": str((found.get("pids_stats") or {}).get("current", 0)),
    }  # fmt: skip
    container_id = found.get("id", "")
    about = {"ID": short_id(container_id) if trunc else container_id, "Container": name, "Name": str(found.get("name", "")).removeprefix("/")}
    return about | shown


def cpu_percent(found: Mapping[str, Any]) -> float:
    """Of one processor, between the two samples."""
    now, before = found.get("cpu_stats") or {}, found.get("precpu_stats") or {}
    used = now.get("cpu_usage", {}).get("total_usage", 0) - before.get("cpu_usage", {}).get("total_usage", 0)
    passed = now.get("system_cpu_usage", 0) - before.get("system_cpu_usage", 0)
    return used / passed * now.get("online_cpus", 1) * 100 if used > 0 and passed > 0 else 0.0


def memory(found: Mapping[str, Any]) -> tuple[int, int]:
    """(used without the page cache that can be dropped, limit)."""
    inner, used = found.get("stats") or {}, found.get("usage", 0)
    inactive = inner.get("total_inactive_file", inner.get("inactive_file", 0))
    return used - inactive if inactive < used else used, found.get("limit", 0)


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
        if flags["restart"]:
            body["RestartPolicy"] = parse_restart(flags["restart"])
    except ValueError as e:
        raise CliFailure(str(e)) from e
    if not body:
        raise CliFailure("you must provide one or more flags when using this command")

    def act(name: str) -> None:
        for warning in (api.post(f"/containers/{reference(name)}/update", body) or {}).get("Warnings") or ():
            print(warning)

    return named(arguments, act)


@command("port", "CONTAINER [PRIVATE_PORT[/PROTO]]", summary="List port mappings or a specific mapping for the container", least=1, most=2,
         aliases=["container port", "port"])  # fmt: skip
def port(api: Api, arguments: tuple[str, ...]) -> int:
    found = api.get(f"/containers/{reference(arguments[0])}/json")
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
    print("".join(f"{line}\n" for line in sorted(lines)), end="")
    return 0


def _address(bound: Mapping[str, str]) -> str:
    host = bound["HostIp"]
    return f"[{host}]:{bound['HostPort']}" if ":" in host else f"{host}:{bound['HostPort']}"
