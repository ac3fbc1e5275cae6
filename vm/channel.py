"""The host's side of a guest's agent: waits until it has booted, runs commands.

Owns the framing towards one guest (guest/agent.py defines it). Synchronous: one command at a time, by `run`.
"""

from __future__ import annotations

import json
import os
import select
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vm.errors import VmError
from vm.guest import agent
from vm.machine import Machine

BOOT_TIMEOUT_S = 300.0
"""Eight seconds are usual; a machine that had just been resumed, its memory still on its way, took more than 120."""
INPUT_BYTES = 1 << 15
_ENVIRONMENT_KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "TERM", "PYTHONPATH", "COLUMNS")


class Ended(VmError):
    """The guest hung up: it has ended, or its kernel has."""


def environment() -> dict[str, str]:
    """What of this process's environment a command in a guest gets."""
    return {key: os.environ[key] for key in _ENVIRONMENT_KEPT if key in os.environ} | {"HOME": "/root"}


class Channel:
    """Frames over one stream to an agent."""

    def __init__(self, stream: socket.socket) -> None:
        self.stream = stream
        self._buffer = bytearray()
        self._frames: list[tuple[int, int, bytes]] = []

    def send(self, kind: int, session: int, payload: bytes = b"") -> None:
        self.stream.sendall(agent.frame(kind, session, payload))

    def receive(self, timeout_s: float | None = None) -> tuple[int, int, bytes]:
        """The next frame. Raises TimeoutError, Ended."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._frames:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            readable, _, _ = select.select([self.stream], [], [], left)
            if not readable:
                raise TimeoutError
            data = self.stream.recv(1 << 16)
            if not data:
                raise Ended("the guest has ended")
            self._buffer += data
            self._frames = agent.parse(self._buffer)
        return self._frames.pop(0)

    @property
    def buffered(self) -> bool:
        return bool(self._frames)


def wait_ready(machine: Machine, timeout_s: float = BOOT_TIMEOUT_S) -> Channel:
    """Until the guest has booted. Raises VmError with what its console said."""
    channel = Channel(machine.port)
    try:
        kind, _, _ = channel.receive(timeout_s)
    except TimeoutError:
        raise VmError(f"the guest did not boot within {timeout_s:.0f} s; its console:\n{machine.console()}") from None
    except (Ended, ConnectionError):
        machine.end()
        raise VmError(f"the guest did not boot; its console:\n{machine.console()}") from None
    assert kind == agent.READY
    return channel


def start(
    channel: Channel, argv: Sequence[str], *, cwd: str, env: Mapping[str, str], tty: tuple[int, int] | None = None, session: int = 1, node: str = "",
) -> None:  # fmt: skip
    """Ask for a command. `tty`: rows and columns of the terminal that it gets; `node`: which machine, where a keeper listens."""
    request: dict[str, Any] = {"argv": list(argv), "cwd": cwd, "env": dict(env), "tty": tty}
    if node:
        request["node"] = node
    channel.send(agent.START, session, json.dumps(request).encode())


def run(
    channel: Channel, argv: Sequence[str], *, cwd: str = "/", env: Mapping[str, str], stdin: int | None = None, tty: tuple[int, int] | None = None,
    output: Callable[[int, bytes], None], node: str = "",
) -> int:  # fmt: skip
    """A command's exit status; `output(1 or 2, bytes)` gets what it writes as it comes; `stdin` is a descriptor that it reads.
    Raises Ended.
    """
    start(channel, argv, cwd=cwd, env=env, tty=tty, node=node)
    if stdin is None:
        channel.send(agent.INPUT, 1)
    may_send = stdin is not None
    while True:
        if not channel.buffered and stdin is not None and may_send:
            link = channel.stream.fileno()
            readable, _, _ = select.select([link, stdin], [], [])
            if stdin in readable:
                data = os.read(stdin, INPUT_BYTES)
                channel.send(agent.INPUT, 1, data)
                may_send = False
                if not data:
                    stdin = None
            if link not in readable:
                continue
        kind, _, payload = channel.receive()
        if kind == agent.EXIT:
            return payload[0]
        if kind == agent.TAKEN:
            may_send = True
        elif kind in (agent.OUTPUT, agent.ERROR):
            output(1 if kind == agent.OUTPUT else 2, payload)
