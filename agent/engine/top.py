"""`/containers/ID/top`: the node's `ps`, cut down to the processes of one container (those in its cgroups).

Source: moby's daemon/top_unix.go for the rules of the columns; ps(1).
"""

from __future__ import annotations

import re
import subprocess
from typing import Final

import trio

from agent.engine.answers import json_answer
from agent.engine.call import Call
from cluster.model.decimals import is_natural
from cluster.model.errors import Internal, InvalidArgument
from cluster.wire.http import Response
from runtime.cgroups import members

DEFAULT: Final = "-ef"
MAX_ARGUMENTS: Final = 32
MAX_LIST_BYTES: Final = 100_000
"""Of process numbers in one argument, of which Linux takes 128 KiB (execve(2), MAX_ARG_STRLEN)."""
THREAD: Final = "-"
_RENAMED_PID: Final = re.compile(r"\s+(\S*)=\s*(PID\S*)")


async def top(call: Call) -> Response:
    containers = call.node.containers
    record = containers.find(call.names["id"])
    groups = await containers.groups(record)
    arguments = (call.text("ps_args") or DEFAULT).split()
    if len(arguments) > MAX_ARGUMENTS:
        raise InvalidArgument(f"more than {MAX_ARGUMENTS} arguments for ps")
    for renamed in _RENAMED_PID.finditer(" " + " ".join(arguments)):
        if renamed[1] != "pid":
            raise InvalidArgument(f'specifying "{renamed[0].strip()}" is not allowed')
    pids = await trio.to_thread.run_sync(members.pids, groups)
    listed = await _ps([*arguments, *_only(pids)])
    if listed.returncode:  # some options (`f`) can't be asked together with a list
        listed = await _ps(arguments)
    if listed.returncode:
        reason = listed.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise Internal(f"ps: {reason or f'exit status {listed.returncode}'}")
    containers.publish("top", record)
    titles, rows = select(listed.stdout.decode(errors="replace"), pids)
    return json_answer({"Titles": titles, "Processes": rows})


def select(listing: str, pids: frozenset[int]) -> tuple[list[str], list[list[str]]]:
    """ps's table without other processes, with the threads (`-`) that follow one; the last column keeps its spaces. Pure. Raises InvalidArgument
    without a PID column."""
    lines = listing.splitlines()
    titles = lines[0].split() if lines else []
    if "PID" not in titles:
        raise InvalidArgument("Couldn't find PID field in ps output")
    column = titles.index("PID")
    chosen, is_ours = [], False
    for line in lines[1:]:
        row = line.split(None, len(titles) - 1)
        if len(row) <= column:
            continue
        if row[column] != THREAD:
            is_ours = is_natural(row[column]) and int(row[column]) in pids
        if is_ours:
            chosen.append(row)
    return titles, chosen


async def _ps(arguments: list[str]) -> subprocess.CompletedProcess[bytes]:
    return await trio.run_process(["ps", *arguments], capture_stdout=True, capture_stderr=True, check=False)


def _only(pids: frozenset[int]) -> list[str]:
    """What asks ps for these alone: without it `-o` tells only of processes of ps's own user and terminal."""
    numbers = ",".join(map(str, sorted(pids)))
    return ["-q", numbers] if numbers and len(numbers) <= MAX_LIST_BYTES else []

