"""Puts Festoon on this machine and takes it away: units, group, links to the programs; then everything that a node leaves. Owns the
order of the steps. Each may be interrupted and done again.

Source: systemctl(1), groupadd(8), sd_booted(3).
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Final

import trio

from agent import machine
from agent.install import units
from agent.install.units import NODE_UNIT, STEM_UNIT, Installed
from agent.manager_process import ManagerProcess
from cluster.durable import write_atomically
from cluster.model.errors import Conflict, Internal
from netfabric.apply import open_fabric
from netfabric.view import View
from runtime.client import open_supervisor
from runtime.errors import SupervisorGone
from runtime.kernel import constants as k
from runtime.kernel.libc import call
from runtime.kernel.syscalls import Call

UNITS: Final = Path("/etc/systemd/system")
LINKS: Final = Path("/usr/local/bin")
PROGRAMS: Final = ("festoon", "festoond", "festoon-oci")
GROUP: Final = "festoon"
BOOTED: Final = Path("/run/systemd/system")
MOUNTS: Final = Path("/proc/self/mountinfo")


def here(root: Path, run: Path) -> Installed:
    """This interpreter and the programs beside it."""
    python = Path(sys.executable)
    return Installed(python, python.parent, root.absolute(), run.absolute())


def has_systemd() -> bool:
    """Whether systemd is this machine's init."""
    return BOOTED.is_dir()


def install(installed: Installed) -> None:
    """Group, links and, where systemd runs, units; the node is started, or started anew with the containers going on. Raises Conflict for
    a name in the way, Internal with what a program said."""
    for path in (installed.python, installed.root, installed.run):
        if any(character.isspace() or character in "%$\"'\\" for character in str(path)):
            raise Conflict(f"{path} can't stand in a unit: it has spaces or signs in it")
    for program in PROGRAMS:
        _link(LINKS / program, installed.programs / program)
    if machine.group_id(GROUP) < 0:
        _run("groupadd", "--system", GROUP)
    if not has_systemd():
        return
    for name, text in units.units(installed).items():
        write_atomically(UNITS / name, text.encode())
    _run("systemctl", "daemon-reload")
    _run("systemctl", "enable", "--quiet", NODE_UNIT)
    _run("systemctl", "restart", NODE_UNIT)


def _link(link: Path, target: Path) -> None:
    if link.is_symlink():
        if link.readlink() == target:
            return
        link.unlink()
    elif link.exists():
        raise Conflict(f"{link} exists and is no link: it is not Festoon's")
    link.symlink_to(target)


def uninstall(installed: Installed, *, keep_data: bool) -> None:
    """Ends every container and takes everything away: processes, networks, rules, groups, files (the state with its images and volumes
    stays with `keep_data`). Raises Internal, SupervisorGone or FabricError when something can't be."""
    if has_systemd() and (UNITS / NODE_UNIT).exists():
        _run("systemctl", "disable", "--now", "--quiet", NODE_UNIT)
    _end_node(installed.run / "festoon.sock")
    stem_unit = STEM_UNIT if has_systemd() and (UNITS / STEM_UNIT).exists() else ""
    trio.run(_take_down, installed, stem_unit)
    if stem_unit:
        _run("systemctl", "stop", STEM_UNIT)
    for name in units.units(installed):
        (UNITS / name).unlink(missing_ok=True)
    if has_systemd():
        _run("systemctl", "daemon-reload")
    for program in PROGRAMS:
        if (link := LINKS / program).is_symlink() and link.readlink() == installed.programs / program:
            link.unlink()
    if machine.group_id(GROUP) >= 0:
        _run("groupdel", GROUP)
    for folder in (installed.run, *(() if keep_data else (installed.root,))):
        _remove_tree(folder)


def _end_node(path: Path) -> None:
    """A festoond that nobody else stops, found by its socket. Returns when it has ended."""
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return
        pid = struct.unpack("=iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    pidfd = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGTERM)
        trio.run(trio.lowlevel.wait_readable, pidfd)
    finally:
        os.close(pidfd)


async def _take_down(installed: Installed, stem_unit: str) -> None:
    """What outlives festoond: manager, containers with their parents, networks."""
    manager = ManagerProcess(installed.root, installed.run)
    if manager.adopt():
        await manager.stop()
    if (installed.root / "runtime").is_dir():
        async with open_supervisor(installed.run, installed.root / "runtime", unit=stem_unit) as supervisor:
            await supervisor.shutdown()
    async with open_fabric(str(installed.run)) as fabric:
        await fabric.reconcile(View())


def _remove_tree(folder: Path) -> None:
    """With what is mounted in it let go of first: nothing of the host's is removed through a mount. A mount point stays, empty."""
    below = [line.split()[4] for line in MOUNTS.read_text().splitlines() if line.split()[4].startswith(f"{folder}/")]
    for mount in reversed(below):
        call(Call.UMOUNT2, os.fsencode(mount), k.MNT_DETACH)
    for inner in folder.iterdir() if folder.is_mount() else (folder,):
        if inner.is_dir() and not inner.is_symlink():
            shutil.rmtree(inner)
        else:
            inner.unlink(missing_ok=True)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise Internal(f"{' '.join(command)}: {said[-1] if said else f'status {done.returncode}'}")


def halt(root: Path, run: Path, grace_s: float) -> None:
    """Stops every container for the machine's shutdown; the next boot starts them as their policies say. Nothing happens where none runs."""

    async def body() -> None:
        try:
            async with open_supervisor(run, root / "runtime", start=False) as supervisor:
                await supervisor.halt(grace_s)
        except SupervisorGone:
            return

    trio.run(body)
