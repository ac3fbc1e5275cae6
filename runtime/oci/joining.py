"""exec: one more process in a running container. Owns it until it runs."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from typing import NamedTuple

from runtime.cgroups.groups import open_procs
from runtime.child.faults import Refused
from runtime.errors import RuntimeFault, StartFailed
from runtime.kernel.detached import open_container_ptmx, open_terminal
from runtime.kernel.userns import Mappings, read_map
from runtime.oci import bundle as bundles
from runtime.oci import console, fields, forking, opening, state
from runtime.oci.compile import FLAGS, Opened, compile_joining
from runtime.oci.launch import CONFIG_MAX_BYTES, write_pid_file
from runtime.oci.values import CapabilitySets, Json, Process


class Asked(NamedTuple):
    """What the command line says in place of, or beside, a process file."""

    process_file: str = ""
    argv: tuple[str, ...] = ()
    cwd: str = ""
    env: tuple[str, ...] = ()
    user: str = ""
    groups: tuple[int, ...] = ()
    capabilities: tuple[str, ...] = ()
    terminal: bool = False
    no_new_privileges: bool = False
    apparmor: str = ""
    console_socket: str = ""
    pid_file: str = ""
    preserved: int = 0
    detached: bool = False
    paused_too: bool = False


def join(root: str, container_id: str, asked: Asked) -> tuple[int, int]:
    """(pid, the terminal's master or -1) of a process that runs. Raises RuntimeFault, Refused, OSError."""
    folder = state.folder_of(root, container_id)
    saved = state.read(root, container_id)
    current = state.status(root, saved)
    if current == "paused" and not asked.paused_too:
        raise RuntimeFault("cannot exec in a paused container (use --ignore-paused to override)")
    if current not in ("running", "created", "paused"):
        raise RuntimeFault("cannot exec in a stopped container")
    config = state.read_config(folder)
    process = _process(config, asked)
    console.check(process, asked.console_socket, asked.detached)
    with ExitStack() as stack:
        init = opening.keep(stack, os.pidfd_open(saved.pid))
        if not state.alive(saved):
            raise RuntimeFault("cannot exec in a stopped container")
        uids, gids = _maps(config, saved.pid)
        master, slave = _terminal(saved.pid, process, uids, gids, stack)
        kinds = {fields.text(entry, "type", "") for entry in fields.parts(fields.part(config, "linux", ""), "namespaces", "linux.")}
        opened = Opened(
            last_capability=opening.last_capability(),
            held=opening.EVERY_CAPABILITY if uids else opening.held_capabilities(),
            cgroups=tuple(opening.keep(stack, descriptor) for descriptor in open_procs(saved.groups)),
            terminal=slave,
            preserved=asked.preserved,
            seccomp=opening.compile_filter(fields.part(fields.part(config, "linux", ""), "seccomp", "linux."), process, state.filters_of(root)),
            apparmor=opening.check_profile(process.apparmor_profile),
        )
        flags = sum(FLAGS[kind] for kind in kinds if kind != "pid")
        staged = compile_joining(process, opened, init, flags)
        reader, report = os.pipe2(os.O_CLOEXEC)
        opening.keep(stack, reader)
        try:
            pid = forking.fork(staged, process, forking.Pauses(report), forking.Later(), init if "pid" in kinds else forking.SAME_PIDS)
        finally:
            os.close(report)
        _hear_all(reader, pid)
        if asked.console_socket:
            console.send(asked.console_socket, master)
        write_pid_file(asked.pid_file, pid)
        return pid, os.dup(master) if master >= 0 and not asked.detached else -1


def _hear_all(reader: int, pid: int) -> None:
    """Ready, then the end of the pipe: it runs."""
    try:
        while forking.hear(reader):
            continue
    except StartFailed:
        os.waitid(os.P_PID, pid, os.WEXITED)
        raise


def _maps(config: Json, init: int) -> tuple[Mappings, Mappings]:
    """Of the container's user namespace; empty when it has none."""
    linux = fields.part(config, "linux", "")
    if not any(fields.text(entry, "type", "") == "user" for entry in fields.parts(linux, "namespaces", "linux.")):
        return (), ()
    return read_map(init, "uid_map"), read_map(init, "gid_map")


def _terminal(init: int, process: Process, uids: Mappings, gids: Mappings, stack: ExitStack) -> tuple[int, int]:
    if not process.terminal:
        return -1, -1
    master = opening.keep(stack, open_container_ptmx(init))
    slave = opening.keep(stack, open_terminal(master))
    console.dress(master, slave, process, uids, gids)
    return master, slave


def _process(config: Json, asked: Asked) -> Process:
    """The process file's, or the container's own with what the command line says. Raises Refused."""
    if asked.process_file:
        with open(asked.process_file, "rb") as file:
            data = file.read(CONFIG_MAX_BYTES)
        try:
            source = json.loads(data)
        except ValueError as error:
            raise Refused(f"{asked.process_file} is no JSON: {error}") from error
        if not isinstance(source, dict):
            raise Refused(f"{asked.process_file} must be an object")
        process = bundles.parse_process(source, "process.")
        return process._replace(terminal=process.terminal or asked.terminal)
    if not asked.argv:
        raise Refused("exec needs a command or --process")
    process = bundles.parse_process(fields.part(config, "process", ""), "process.")
    held = process.capabilities
    if asked.capabilities:
        more = asked.capabilities
        held = CapabilitySets(held.bounding + more, held.effective + more, held.permitted + more, held.inheritable, held.ambient)
    uid, gid = _user(asked.user, process)
    return process._replace(
        argv=asked.argv,
        cwd=asked.cwd or process.cwd,
        env=process.env + asked.env,
        uid=uid,
        gid=gid,
        groups=process.groups + asked.groups,
        capabilities=held,
        terminal=asked.terminal,
        no_new_privileges=process.no_new_privileges or asked.no_new_privileges,
        apparmor_profile=asked.apparmor or process.apparmor_profile,
    )


def _user(text: str, process: Process) -> tuple[int, int]:
    if not text:
        return process.uid, process.gid
    uid, _, gid = text.partition(":")
    if not uid.isdigit() or (gid and not gid.isdigit()):
        raise Refused(f"parsing {text} as int for uid[:gid] failed")
    return int(uid), int(gid) if gid else process.gid
