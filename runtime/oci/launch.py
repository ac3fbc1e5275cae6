"""create, start and run: from a bundle to its program. Owns a container's start; leaves nothing behind when it fails.

The order: the state folder, the groups, the fork; the child enters its namespaces and stops; the state is written, prestart and createRuntime hooks
run; the child builds its tree and stops at the gate, a FIFO that `start` writes to. Source: the OCI runtime specification, runtime.md ("Lifecycle").
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import ExitStack
from typing import NamedTuple

from runtime.cgroups.groups import Groups, read_layout
from runtime.child.faults import Refused
from runtime.errors import RuntimeFault, StartFailed
from runtime.kernel.processes import boot_id, start_time
from runtime.oci import bundle as bundles
from runtime.oci import console, forking, freezing, hooks, opening, placing, state
from runtime.oci.compile import compile_bundle
from runtime.oci.forking import NEW_PIDS, SAME_PIDS, Later, Pauses
from runtime.oci.state import Saved
from runtime.oci.values import Bundle

CONFIG_MAX_BYTES = 16 * 1024 * 1024
FIFO = os.O_RDWR | os.O_CLOEXEC


class Wishes(NamedTuple):
    """What the command line asks of create and run."""

    bundle: str = "."
    console_socket: str = ""
    pid_file: str = ""
    preserved: int = 0
    pivot: bool = True
    new_keyring: bool = True
    detached: bool = True


class Made(NamedTuple):
    """`master`: the terminal's, open, when nobody was given it."""

    saved: Saved
    master: int


def read_bundle(path: str) -> tuple[Bundle, bytes]:
    """The checked configuration and its bytes. Raises Refused."""
    try:
        with open(os.path.join(path, "config.json"), "rb") as file:
            data = file.read(CONFIG_MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise Refused("JSON specification file config.json not found") from error
    if len(data) > CONFIG_MAX_BYTES:
        raise Refused(f"config.json is larger than {CONFIG_MAX_BYTES} bytes")
    try:
        config = json.loads(data)
    except ValueError as error:
        raise Refused(f"config.json is no JSON: {error}") from error
    if not isinstance(config, dict):
        raise Refused("config.json must be an object")
    bundle = bundles.parse(config, path)
    if not os.path.isdir(bundle.root):
        raise Refused(f"root.path {bundle.root} is no folder")
    return bundle, data


def create(root: str, container_id: str, wishes: Wishes) -> Made:
    """Raises RuntimeFault, Refused, OSError; then nothing of the container is left."""
    path = os.path.realpath(wishes.bundle)
    bundle, data = read_bundle(path)
    console.check(bundle.process, wishes.console_socket, wishes.detached)
    folder = state.make(root, container_id)
    undo = ExitStack()
    undo.callback(state.remove, folder)
    try:
        with ExitStack() as stack:
            held = opening.keep(stack, state.lock(folder))
            with open(os.path.join(folder, state.CONFIG), "xb") as file:
                file.write(data)
            made = _make(folder, container_id, path, bundle, wishes, stack, undo, held)
        undo.pop_all()
    except (RuntimeFault, Refused, OSError):
        undo.close()
        raise
    return made


def _make(folder: str, container_id: str, path: str, bundle: Bundle, wishes: Wishes, stack: ExitStack, undo: ExitStack, held: int) -> Made:
    layout = read_layout()
    groups = placing.make(layout, bundle.cgroups_path, container_id, bundle.resources)
    undo.callback(_discard_groups, groups)
    pids = bundle.namespace("pid")
    now_ns = time.time_ns()
    saved = Saved(
        id=container_id, pid=0, start_time=0, boot=boot_id(), bundle=path, root=bundle.root, owner=os.geteuid(), annotations=bundle.annotations,
        created=time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now_ns // 10**9)) + f".{now_ns % 10**9:09d}Z",
        groups=groups, shared_pids=pids is None or bool(pids.path),
    )  # fmt: skip
    state.write(folder, saved)
    opened, master = opening.open_bundle(bundle, groups, layout, state.filters_of(os.path.dirname(folder)), stack)
    opened = opened._replace(preserved=wishes.preserved, new_keyring=wishes.new_keyring, pivot=wishes.pivot)
    staged = compile_bundle(bundle, opened)
    reader, report = os.pipe2(os.O_CLOEXEC)
    opening.keep(stack, reader)
    proceed_reader, proceed = (opening.keep(stack, end) for end in os.pipe2(os.O_CLOEXEC))
    pauses = Pauses(report, proceed_reader, _fifo(folder, state.GATE, stack), _fifo(folder, state.REPORT, stack), (proceed, held))
    entered = SAME_PIDS if pids is None else next((descriptor for kind, descriptor in opened.joined if kind == "pid"), NEW_PIDS)
    try:
        pid = forking.fork(staged, bundle.process, pauses, _later(bundle, saved), entered)
    finally:
        os.close(report)
    undo.callback(_discard_child, pid)
    if forking.hear(reader) != forking.SEPARATED:
        raise StartFailed("the container's first process ended before its namespaces were made")
    saved = saved._replace(pid=pid, start_time=start_time(pid))
    state.write(folder, saved)
    creating = state.encode(saved, "creating")
    for name in ("prestart", "createRuntime"):
        hooks.run_all(name, bundle.hooks.get(name, ()), creating)
    os.write(proceed, b"\1")
    if forking.hear(reader) != forking.READY:
        raise StartFailed("the container's first process ended while its file system was made")
    if wishes.console_socket:
        console.send(wishes.console_socket, master)
    write_pid_file(wishes.pid_file, pid)
    return Made(saved, -1 if master < 0 or wishes.detached else os.dup(master))


def _later(bundle: Bundle, saved: Saved) -> Later:
    """The child fills its own pid in between the halves."""
    halves = []
    for current in ("creating", "created"):
        head, mark, tail = json.dumps({**state.shown(saved, current), "pid": -1}).partition('"pid": -1')
        halves.append((head.encode() + mark[:-2].encode(), tail.encode()))
    return Later(bundle.hooks.get("createContainer", ()), bundle.hooks.get("startContainer", ()), halves[0], halves[1])


def _fifo(folder: str, name: str, stack: ExitStack) -> int:
    """Open for both ways: the child waits for a word, not for somebody to open it."""
    path = os.path.join(folder, name)
    os.mkfifo(path, 0o600)
    return opening.keep(stack, os.open(path, FIFO))


def _discard_groups(groups: Groups) -> None:
    freezing.kill_all(groups)
    freezing.remove_groups(groups)
    placing.remove_default_parents(groups)


def _discard_child(pid: int) -> None:
    try:
        os.kill(pid, 9)
    except ProcessLookupError:
        return
    os.waitid(os.P_PID, pid, os.WEXITED)


def write_pid_file(path: str, pid: int) -> None:
    """Whole at once: its reader may be waiting for it."""
    if not path:
        return
    folder, name = os.path.split(path)
    new = os.path.join(folder, f".{name}")
    with open(new, "w", encoding="ascii") as file:
        file.write(str(pid))
    os.rename(new, path)


def start(root: str, container_id: str) -> Saved:
    """Opens the gate; returns when the program runs. Raises RuntimeFault."""
    folder = state.folder_of(root, container_id)
    with ExitStack() as stack:
        opening.keep(stack, state.lock(folder))
        saved = state.read(root, container_id)
        current = state.status(root, saved)
        if current == "stopped":
            raise RuntimeFault("cannot start a container that has stopped")
        if current != "created":
            raise RuntimeFault("cannot start an already running container")
        gate, report = os.path.join(folder, state.GATE), os.path.join(folder, state.REPORT)
        reader = opening.keep(stack, os.open(report, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        writer = opening.keep(stack, os.open(gate, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        os.write(writer, b"\1")
        os.unlink(gate)
        os.unlink(report)
        os.set_blocking(reader, True)
        try:
            forking.hear(reader)
        except StartFailed:
            freezing.wait_end(saved.pid)
            raise
        bundle = bundles.parse(state.read_config(folder), saved.bundle)
    for hook in bundle.hooks.get("poststart", ()):
        try:
            hooks.run_all("poststart", (hook,), state.encode(saved, "running"))
        except StartFailed as error:  # the program runs already: the specification wants a warning
            sys.stderr.write(f"festoon-oci: warning: {error}\n")
    return saved


