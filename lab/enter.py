"""Entering a machine: its cgroups, its namespaces, then the command in this process's place. `festoon lab exec`.

Called hundreds of times, so it imports next to nothing; main() never returns when the command could be started. Source:
setns(2), pidfd_open(2).
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from netfabric.netlink import libc

ROOT = "/var/lib/festoon-lab"
DEFAULT_NAME = "lab"
LEAF = "festoon.self"
"""cgroup v2: where processes of a group stand whose children have controllers (the runtime's name for it)."""

USAGE = "Usage:  festoon lab exec [--name LAB] NODE -- COMMAND [ARGUMENT...]"
CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWNET = 0x20000, 0x2000000, 0x4000000, 0x40000000
_EBUSY = 16
NOT_STARTED_STATUS, NOT_EXECUTABLE_STATUS, NOT_FOUND_STATUS = 125, 126, 127  # as docker exec


class NotThere(Exception):
    """No such machine, or it does not run; one sentence."""


def main(arguments: list[str]) -> int:
    """`[--name LAB] NODE [--] COMMAND [ARGUMENT...]`. Returns only when the command could not be started: 125, 126 or
    127.
    """
    name, rest = DEFAULT_NAME, arguments
    while rest and rest[0].startswith("--name"):
        name, rest = (rest[0][7:], rest[1:]) if rest[0].startswith("--name=") else (rest[1] if rest[1:] else "", rest[2:])
    if len(rest) > 1 and rest[1] == "--":
        rest = [rest[0], *rest[2:]]
    if rest[:1] in (["--help"], ["-h"]):
        print(USAGE)
        return 0
    if len(rest) < 2 or rest[0].startswith("-"):
        print(USAGE, file=sys.stderr)
        return NOT_STARTED_STATUS
    try:
        machine(name, rest[0])
    except (NotThere, OSError) as error:
        print(f"festoon lab exec: {error}", file=sys.stderr)
        return NOT_STARTED_STATUS
    return run(rest[1:])


def machine(lab: str, node: str) -> None:
    """Move this process, which has one thread, into a machine. Raises NotThere or OSError; then it may stand half
    inside and should end.
    """
    folder = f"{ROOT}/{lab}/{node}"
    holder = _holder(folder, lab, node)
    here = os.getcwd()
    try:
        for group in groups(folder):
            enter_group(group)
        libc.setns(holder, CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWNET | CLONE_NEWCGROUP)
    finally:
        os.close(holder)
    try:
        os.chdir(here)
    except OSError:
        os.chdir("/")


def run(command: list[str]) -> int:
    """Become the command, found with the environment's own bin folder first. Returns the exit status when that
    fails.
    """
    own = os.path.dirname(sys.executable)
    os.environ["PATH"] = f"{own}:{os.environ.get('PATH', os.defpath)}"
    try:
        _become(command)
    except FileNotFoundError:
        print(f"festoon lab exec: {command[0]}: executable file not found in $PATH", file=sys.stderr)
        return NOT_FOUND_STATUS
    except OSError as error:
        print(f"festoon lab exec: {command[0]}: {error.strerror}", file=sys.stderr)
        return NOT_EXECUTABLE_STATUS


def groups(folder: str) -> list[str]:
    """The machine's cgroups, as `up` wrote them down."""
    with open(f"{folder}/cgroups", encoding="utf-8") as file:
        return file.read().split("\n")[:-1]


def enter_group(folder: str) -> None:
    """Put this process into a cgroup, or into its leaf where v2 takes none in the group itself. Raises OSError."""
    try:
        _write(f"{folder}/cgroup.procs")
    except OSError as error:
        if error.errno != _EBUSY:
            raise
        leaf = f"{folder}/{LEAF}"
        os.makedirs(leaf, exist_ok=True)
        _write(f"{leaf}/cgroup.procs")


def _become(command: list[str]) -> NoReturn:
    sys.stdout.flush()
    os.execvp(command[0], command)  # noqa: S606 (to become it is the point)


def _holder(folder: str, lab: str, node: str) -> int:
    """A pidfd of the process that holds the namespaces, certainly the one that `up` started."""
    try:
        with open(f"{folder}/holder", encoding="utf-8") as file:
            pid, started = file.read().split()
    except FileNotFoundError:
        raise NotThere(_missing(lab, node)) from None
    gone = f"{node} is down: `festoon lab up` revives it with its state"
    try:
        holder = os.pidfd_open(int(pid))
    except ProcessLookupError:
        raise NotThere(gone) from None
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    if fields[19] != started or fields[0] in "ZX":
        os.close(holder)
        raise NotThere(gone)
    return holder


def _missing(lab: str, node: str) -> str:
    folder = f"{ROOT}/{lab}"
    if not os.path.isdir(folder):
        others = sorted(os.listdir(ROOT)) if os.path.isdir(ROOT) else []
        return f"there is no lab {lab!r}" + (f" (there are {', '.join(others)})" if others else "") + ": `festoon lab up` makes one"
    there = sorted(n for n in os.listdir(folder) if os.path.isdir(f"{folder}/{n}/state"))
    return f"no machine {node} in the lab: there are {', '.join(there)}"


def _write(path: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, b"0")
    finally:
        os.close(fd)
