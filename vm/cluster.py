"""A cluster of guests, as its users see it: up, exec, ssh, down.

Owns the calls to the keeper (keeper.py), which owns everything else. A cluster is found by the keeper's socket in the abstract
name space, and its keeper by who listens there (SO_PEERCRED).
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import tty
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vm import channel
from vm.channel import Channel
from vm.errors import VmError
from vm.keeper import SOCKET_PREFIX
from vm.machine import Cgroup

DOWN_TIMEOUT_S = 20.0
_CREDENTIALS = struct.Struct("=iII")


@dataclass(frozen=True, slots=True)
class Plan:
    name: str
    nodes: int
    managers: int
    subnet: str
    cgroup: Cgroup = Cgroup.V2
    memory_mib: int = 1024
    cpus: int = 1


def up(plan: Plan) -> None:
    """Until festoond is ready on every machine. Raises VmError; then nothing of the cluster is left, nor when this process is
    killed before.
    """
    request = json.dumps({
        "name": plan.name, "nodes": plan.nodes, "managers": plan.managers, "subnet": plan.subnet, "cgroup": plan.cgroup,
        "memory_mib": plan.memory_mib, "cpus": plan.cpus, "environment": environment(),
    })  # fmt: skip
    keeper = subprocess.Popen(
        [sys.executable, "-m", "vm.keeper", request], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert keeper.stdin
    assert keeper.stdout
    assert keeper.stderr
    if keeper.stdout.readline() != "up\n":
        words = keeper.stderr.read().strip()
        keeper.wait()
        raise VmError(words or f"the cluster's keeper ended with {keeper.returncode}")
    keeper.stdin.write("k")
    keeper.stdin.close()


def down(name: str) -> bool:
    """End the cluster and wait until its processes have; False when there was none. Raises VmError."""
    try:
        with _connect(name) as link:
            pid = _CREDENTIALS.unpack(link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))[0]
            keeper = os.pidfd_open(pid)
            try:
                signal.pidfd_send_signal(keeper, signal.SIGTERM)
                if not select.select([keeper], [], [], DOWN_TIMEOUT_S)[0]:
                    signal.pidfd_send_signal(keeper, signal.SIGKILL)
                    select.select([keeper], [], [])
            finally:
                os.close(keeper)
    except ConnectionRefusedError:
        return False
    return True


def run(name: str, node: str, argv: Sequence[str], output: Callable[[int, bytes], None]) -> int:
    """A command on a machine, with this process's input; its exit status. Raises VmError."""
    with _open(name) as link:
        return channel.run(Channel(link), argv, cwd=os.getcwd(), env=environment(), stdin=0, output=output, node=node)


def shell(name: str, node: str, argv: Sequence[str], output: Callable[[int, bytes], None]) -> int:
    """The same on a terminal of its own as big as ours, which passes keys on as they are. Raises VmError."""
    if not os.isatty(0):
        return run(name, node, argv, output)
    rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8)))
    before = termios.tcgetattr(0)
    with _open(name) as link:
        tty.setraw(0)
        try:
            return channel.run(
                Channel(link), argv, cwd=os.getcwd(), env=environment(), stdin=0, output=output, tty=(rows, columns), node=node,
            )  # fmt: skip
        finally:
            termios.tcsetattr(0, termios.TCSADRAIN, before)


def environment() -> dict[str, str]:
    """A command's environment on a machine: this interpreter's programs come first, as on a lab's machines."""
    own = os.path.dirname(sys.executable)
    kept = channel.environment()
    return kept | {"PATH": f"{own}:{kept.get('PATH', os.defpath)}"}


def _open(name: str) -> socket.socket:
    try:
        return _connect(name)
    except ConnectionRefusedError:
        raise VmError(f"there is no cluster {name}: `vm cluster up` makes one") from None


def _connect(name: str) -> socket.socket:
    link = socket.socket(socket.AF_UNIX)
    try:
        link.connect(SOCKET_PREFIX + name)
    except BaseException:
        link.close()
        raise
    return link
