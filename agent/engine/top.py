"""`/containers/ID/top`: the node's `ps`, cut down to the processes of one container (those in its cgroups).

Source: moby's daemon/top_unix.go for the rules of the columns; ps(1).
"""

from __future__ import annotations

import re
from typing import Final

import trio

from agent.engine.answers import json_answer
from agent.engine.call import Call
from cluster.model.errors import Internal, InvalidArgument
from cluster.wire.http import Response
from runtime.cgroups import members

DEFAULT: Final = "-ef"
MAX_ARGUMENTS: Final = 32
_RENAMED_PID: Final = re.compile(r"\s+(\S*)=\s*(PID\S*)")


async def top(call: Call) -> Response:
    containers = call.node.containers
    record = containers.find(call.names["id"])
    groups = await containers.groups(record)
    arguments = (call.text("ps_args") or DEFAULT).split()
    if len(arguments) > MAX_ARGUMENTS:
        raise InvalidArgument(f"more than {MAX_ARGUMENTS} arguments for ps")
    if found := _RENAMED_PID.search(" " + " ".join(arguments)):
        raise InvalidArgument(f'specifying "{found[0].strip()}" is not allowed')
    pids = await trio.to_thread.run_sync(members.pids, groups)
    listed = await trio.run_process(["ps", *arguments], capture_stdout=True, capture_stderr=True, check=False)
    if listed.returncode:
        reason = listed.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise Internal(f"ps: {reason or f'exit status {listed.returncode}'}")
    containers.publish("top", record)
    titles, rows = select(listed.stdout.decode(errors="replace"), pids)
    return json_answer({"Titles": titles, "Processes": rows})


def select(listing: str, pids: frozenset[int]) -> tuple[list[str], list[list[str]]]:
    """ps's table without other processes; the last column keeps its spaces. Pure. Raises InvalidArgument without a PID column."""
    lines = listing.splitlines()
    titles = lines[0].split() if lines else []
    if "PID" not in titles:
        raise InvalidArgument("Couldn't find PID field in ps output")
    column = titles.index("PID")
    rows = [line.split(None, len(titles) - 1) for line in lines[1:]]
    return titles, [row for row in rows if len(row) > column and row[column].isdigit() and int(row[column]) in pids]

