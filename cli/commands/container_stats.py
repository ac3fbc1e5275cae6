"""`festoon stats`: what containers use, again and again. A frame asks each container once and computes from its own last frame, so many cost little more
than one.

Owns the frames; the numbers are the daemon's. Source: docker/cli's container stats and its formatter.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cli.api import Api, reference
from cli.commands.system import LIST_FORMAT_HELP
from cli.configuration import format_of
from cli.failures import ApiFailure, CliFailure
from cli.flags import option, switch
from cli.listing import Listing
from cli.output import short_id
from cli.units import binary_size, human_size
from cli.usage import command

PERIOD_S: Final = 1.0
HOME, TO_END_OF_LINE, TO_END_OF_SCREEN = "\033[H", "\033[K", "\033[J"
"""A frame is written over the one before, so that nothing flickers."""

ABSENT: Final = "--"
HEADERS: Final = {
    "ID": "CONTAINER ID", "Container": "CONTAINER", "Name": "NAME", "CPUPerc": "CPU %", "MemUsage": "MEM USAGE / LIMIT", "MemPerc": "MEM %",
    "NetIO": "NET I/O", "BlockIO": "BLOCK I/O", "PIDs": "PIDS",
}  # fmt: skip
LISTING: Final = Listing(HEADERS, ("ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"), kind="*container.statsContext")
_NOTHING: Final = {
    "CPUPerc": ABSENT, "MemUsage": f"{ABSENT} / {ABSENT}", "MemPerc": ABSENT, "NetIO": ABSENT, "BlockIO": ABSENT, "PIDs": ABSENT,
}  # fmt: skip
Sample = Mapping[str, Any]


@command("stats", "[CONTAINER...]", summary="Display a live stream of container(s) resource usage statistics", most=None,
         aliases=["container stats", "stats"])  # fmt: skip
@switch("--all", "-a", help="Show all containers (default shows just running)")
@option("--format", help=LIST_FORMAT_HELP, default="")
@switch("--no-stream", help="Disable streaming stats and only pull the first result")
@switch("--no-trunc", help="Do not truncate output")
def stats(api: Api, arguments: tuple[str, ...], **flags: Any) -> int:
    every, trunc, once, form = bool(flags["all"]), not flags["no_trunc"], bool(flags["no_stream"]), format_of(api.settings, "statsFormat", flags["format"])
    names = arguments or _names(api, every=every)
    samples = _first(api, names) if arguments else _samples(api, names)
    if not once:
        _show([_row(samples[name], None, name, trunc=trunc) for name in names if samples[name]], form, first=True)
    while True:
        time.sleep(PERIOD_S)  # what a share of the processor is a share of
        before, names = samples, arguments or _names(api, every=every)
        samples = _samples(api, names)
        rows = [_row(samples[name], before.get(name), name, trunc=trunc) for name in names if arguments or samples[name]]
        samples = {name: samples[name] or before.get(name) for name in names}
        _show(rows, form, first=False, again=not once)
        if once:
            return 0


def _names(api: Api, *, every: bool) -> tuple[str, ...]:
    return tuple(short_id(one["Id"]) for one in api.get("/containers/json", all=every) or ())


def _first(api: Api, names: Sequence[str]) -> dict[str, Sample | None]:
    """Raises CliFailure with every name that is no container's."""
    found: dict[str, Sample | None] = {}
    failures = []
    for name in names:
        try:
            found[name] = _sample(api, name)
        except ApiFailure as e:
            failures.append(e.message)
    if failures:
        raise CliFailure("\n".join(failures))
    return found


def _samples(api: Api, names: Sequence[str]) -> dict[str, Sample | None]:
    """None of one that has gone meanwhile."""
    found: dict[str, Sample | None] = {}
    for name in names:
        try:
            found[name] = _sample(api, name)
        except ApiFailure:
            found[name] = None
    return found


def _sample(api: Api, name: str) -> Sample:
    answer: Sample = api.get(f"/containers/{reference(name, 'container')}/stats", **{"stream": "0", "one-shot": "1"})
    return answer


def _show(rows: Sequence[Mapping[str, Any]], form: str, *, first: bool, again: bool = True) -> None:
    """`again`: more will take its place."""
    text = LISTING.render(rows, form, quiet=False)
    if again and sys.stdout.isatty():
        home = f"{HOME}{TO_END_OF_SCREEN}" if first else HOME
        text = home + text.replace("\n", f"{TO_END_OF_LINE}\n") + TO_END_OF_SCREEN
    print(text, end="", flush=True)


def _row(found: Sample | None, before: Sample | None, name: str, *, trunc: bool) -> dict[str, Any]:
    """Of a container that does not run, zeros; of one that is gone or was never looked at before, what can't be known is `--`."""
    known = found or before or {}
    container_id = known.get("id", "")
    about = {"ID": short_id(container_id) if trunc else container_id, "Container": name, "Name": str(known.get("name", "")).removeprefix("/")}
    if found is None:
        return about | _NOTHING
    used, limit = memory(found.get("memory_stats") or {})
    received = sum(n["rx_bytes"] for n in (found.get("networks") or {}).values())
    sent = sum(n["tx_bytes"] for n in (found.get("networks") or {}).values())
    entries = (found.get("blkio_stats") or {}).get("io_service_bytes_recursive") or ()
    reads, writes = (sum(e["value"] for e in entries if e["op"].lower() == op) for op in ("read", "write"))
    shown = {
        "CPUPerc": ABSENT if before is None else f"{cpu_percent(found, before):.2f}%",
        "MemUsage": f"{binary_size(used)} / {binary_size(limit)}",
        "MemPerc": f"{100 * used / limit if limit else 0:.2f}%", "NetIO": f"{human_size(received)} / {human_size(sent)}",
        "BlockIO": f"{human_size(reads)} / {human_size(writes)}", "PIDs": str((found.get("pids_stats") or {}).get("current", 0)),
    }  # fmt: skip
    return about | shown


def cpu_percent(found: Sample, earlier: Sample) -> float:
    """Of one processor, between the two samples."""
    now, before = found.get("cpu_stats") or {}, earlier.get("cpu_stats") or {}
    used = now.get("cpu_usage", {}).get("total_usage", 0) - before.get("cpu_usage", {}).get("total_usage", 0)
    passed = now.get("system_cpu_usage", 0) - before.get("system_cpu_usage", 0)
    return used / passed * now.get("online_cpus", 1) * 100 if used > 0 and passed > 0 else 0.0


def memory(found: Sample) -> tuple[int, int]:
    """(used without the page cache that can be dropped, limit)."""
    inner, used = found.get("stats") or {}, found.get("usage", 0)
    inactive = inner.get("total_inactive_file", inner.get("inactive_file", 0))
    return used - inactive if inactive < used else used, found.get("limit", 0)
