"""`festoon raft status|log|snapshot`: the managers' replicated log, for whoever has to know how it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cli.api import Api
from cli.failures import CliFailure
from cli.flags import INT, option
from cli.output import aligned, short_id
from cli.units import binary_size
from cli.usage import Group, command
from cluster.model.template_functions import as_json

raft = Group(
    "raft",
    summary="Look at the managers' replicated log",
    examples=(
        ("status", "on a manager: who leads, and how far behind the others are"),
        ("log", "what has changed lately"),
        ("snapshot save cluster.snapshot", "the managers' state, to make a cluster of when all of them are lost"),
    ),
    lazy={
        "status": ("cli.commands.raft:status", "Show the leader's term and log, and how far each manager is"),
        "log": ("cli.commands.raft:log", "Show the newest entries of the log, without secrets"),
        "snapshot": ("cli.commands.raft_snapshot:snapshot", "Save the managers' state, and make a cluster of it again"),
    },
)


@command(
    "status",
    summary="Show the leader's term and log, and how far each manager is",
    most=0,
    examples=(
        ("", "on a manager: the leader, and how far behind the others are"),
        ("--format json", "the same for a program"),
    ),
)
@option("--format", help="'json' prints it as JSON", default="")
def status(api: Api, arguments: tuple[str, ...], format: str) -> int:
    return _show(api.get("/festoon/raft/status"), format, _status_lines)


@command(
    "log",
    summary="Show the newest entries of the log, without secrets",
    most=0,
    examples=(
        ("", "the newest twenty entries, one line for each change"),
        ("-n 3 --format json", "the last three with the objects that they carry"),
    ),
)
@option("--tail", "-n", help="Number of entries to show from the end (default 20)", type=INT)
@option("--format", help="'json' prints them whole, as JSON", default="")
def log(api: Api, arguments: tuple[str, ...], tail: int | None, format: str) -> int:
    return _show(api.get("/festoon/raft/log", **({} if tail is None else {"tail": tail})), format, _log_lines)


def _show(found: Mapping[str, Any], format: str, lines: Any) -> int:
    if format not in {"", "json"}:
        raise CliFailure("--format takes only 'json' here")
    print(as_json(found) + "\n" if format else "".join(lines(found)), end="")
    return 0


def _status_lines(found: Mapping[str, Any]) -> Iterator[str]:
    entries = f"entries {found['first']} to {found['last']}, {found['committed']} committed, {found['applied']} applied"
    writes = f"p50 {_milliseconds(found['write_p50_ns'])}, p99 {_milliseconds(found['write_p99_ns'])}"
    yield aligned([
        f"Leader:\t{_leader(found)}",
        f"Term:\t{found['term']}",
        f"Log:\t{entries}; {binary_size(found['log_bytes'])} on disk",
        f"Snapshot:\t{_snapshot(found)}",
        f"Writes:\t{writes} with fdatasync, of the last {found['writes']}",
    ])  # fmt: skip
    yield "\n"
    rows = ["RAFT ID\tNODE\tHOSTNAME\tADDRESS\tSTATE\tREACHABLE\tMATCH\tNEXT"]
    rows += [
        f"{peer['raft_id']}\t{short_id(peer['node_id'])}\t{peer['hostname']}\t{peer['address']}\t{peer['state']}\t{'yes' if peer['reachable'] else 'no'}"
        f"\t{peer['match']}\t{peer['next']}"
        for peer in found["peers"]
    ]
    yield aligned(rows)


def _leader(found: Mapping[str, Any]) -> str:
    said = next((peer for peer in found["peers"] if peer["raft_id"] == found["raft_id"]), None)
    who = f"{said['hostname'] if said else 'this manager'} (Raft id {found['raft_id']})"
    if said and said["state"] == "leader":
        return who
    heard = sum(peer["reachable"] for peer in found["peers"])
    return f"none. This is what {who} knows, which hears {heard} of {len(found['peers'])} managers, itself included"


def _snapshot(found: Mapping[str, Any]) -> str:
    return f"up to entry {found['snapshot']}, {binary_size(found['snapshot_bytes'])}" if found["snapshot"] else "none yet"


def _milliseconds(time_ns: int) -> str:
    return f"{time_ns / 1e6:.2f} ms"


def _log_lines(found: Mapping[str, Any]) -> Iterator[str]:
    rows = ["INDEX\tTERM\tBYTES\tWHAT"]
    for entry in found["entries"]:
        waiting = " (not committed)" if entry["index"] > found["committed"] else ""
        first, *more = _what(entry)
        rows.append(f"{entry['index']}\t{entry['term']}\t{entry['bytes']}\t{first}{waiting}")
        rows += [f"\t\t\t{line}" for line in more]
    yield aligned(rows)


def _what(entry: Mapping[str, Any]) -> list[str]:
    if entry["kind"] == "term":
        return ["a leader opens its term"]
    if entry["kind"] == "membership":
        members = (f"{m['raft_id']} {m['address']}{' (learner)' if m['learner'] else ''}" for m in entry["members"])
        return ["managers: " + ", ".join(members)]
    return [f"{change['op']} {change['kind']} {short_id(change['id'])}{_named(change)}" for change in entry["changes"]] or ["nothing"]


def _named(change: Mapping[str, Any]) -> str:
    shown = change.get("object") or {}
    if change["op"] == "status":
        return f": {shown.get('State', '')}"
    name = (shown.get("Spec") or {}).get("Name") or (shown.get("Description") or {}).get("Hostname") or shown.get("Name") or ""
    return f" {name}" if name else ""
