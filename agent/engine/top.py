"""`/containers/ID/top`: the node's `ps`, cut down to the processes of one container (those of its PID namespace).

Source: moby's daemon/top_unix.go for the rules of the columns; ps(1), pid_namespaces(7).
"""

from __future__ import annotations

import os
import re
from typing import Final

import trio

from agent.engine.answers import json_answer
from agent.engine.call import Call
from cluster.model.errors import Conflict, Internal, InvalidArgument
from cluster.wire.http import Response

DEFAULT: Final = "-ef"
MAX_ARGUMENTS: Final = 32
_RENAMED_PID: Final = re.compile(r"\s+(\S*)=\s*(PID\S*)")


async def top(call: Call) -> Response:
    containers = call.node.containers
    record = containers.find(call.names["id"])
    if not containers.is_running(record):
        raise Conflict(f"container {record.id} is not running")
    arguments = (call.text("ps_args") or DEFAULT).split()
    if len(arguments) > MAX_ARGUMENTS:
        raise InvalidArgument(f"more than {MAX_ARGUMENTS} arguments for ps")
    if found := _RENAMED_PID.search(" " + " ".join(arguments)):
        raise InvalidArgument(f'specifying "{found[0].strip()}" is not allowed')
    pids = await trio.to_thread.run_sync(pids_beside, record.state.pid)
    listed = await trio.run_process(["ps", *arguments], capture_stdout=True, capture_stderr=True, check=False)
    if listed.returncode:
        raise Internal(f"error running ps: exit status {listed.returncode}: {listed.stderr.decode(errors='replace').strip()}")
    titles, rows = select(listed.stdout.decode(errors="replace"), pids)
    return json_answer({"Titles": titles, "Processes": rows})


def pids_beside(pid: int, proc: str = "/proc") -> frozenset[int]:
    """The processes in the same PID namespace as `pid`; none when it is gone. A container never shares the node's own:
    a pid found there has been given to somebody else since."""
    try:
        namespace = os.readlink(f"{proc}/{pid}/ns/pid")
    except (FileNotFoundError, PermissionError):
        return frozenset()
    if namespace == os.readlink(f"{proc}/self/ns/pid"):
        return frozenset()
    found = set()
    for name in os.listdir(proc):
        if name.isdigit():
            try:
                if os.readlink(f"{proc}/{name}/ns/pid") == namespace:
                    found.add(int(name))
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue  # it ended in between, or is shielded from us: no container's
    return frozenset(found)


def select(listing: str, pids: frozenset[int]) -> tuple[list[str], list[list[str]]]:
    """ps's table without other processes; the last column keeps its spaces. Pure. Raises InvalidArgument without a PID column."""
    lines = listing.splitlines()
    titles = lines[0].split() if lines else []
    if "PID" not in titles:
        raise InvalidArgument("Couldn't find PID field in ps output")
    column = titles.index("PID")
    rows = [line.split(None, len(titles) - 1) for line in lines[1:]]
    return titles, [row for row in rows if len(row) > column and row[column].isdigit() and int(row[column]) in pids]

