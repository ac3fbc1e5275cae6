"""`python -m vm.keeper`: the process that a cluster of guests lives in. When it ends, however it ends, the cluster is gone.

Owns the cluster's network namespace, its machines, and one listening socket in the abstract name space of the host: no file
and no named namespace is made. Callers (cluster.py) speak the agent's frames; the keeper hands them on to the machine that
START names, with session numbers of its own. Machines are booted together; each runs festoond as its first session.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import sys
from collections.abc import AsyncIterator
from typing import Any

import trio

from lab import layout as layouts
from lab.layout import LabError
from vm import images, kernel, machine, network
from vm.errors import VmError
from vm.guest import agent
from vm.machine import Cgroup, Machine, Settings

SOCKET_PREFIX = "\0festoon-vm/"
BACKLOG = 16
FRAMES_QUEUED = 256  # of a session whose caller is slow: then its machine waits
BOOT_TIMEOUT_S = 600.0
NOT_THERE_STATUS = 125
CONTROL = 0
"""The session of READY."""

FESTOOND = """
mkdir -p /var/lib/festoon /var/log
cp -a "$1" /var/lib/festoon/images
ln -sfn festoon/festoon.sock /run/docker.sock
"$2" -I -m agent --ready-fd 1 2>/var/log/festoond.log
status=$?
tail -n 5 /var/log/festoond.log
exit $status
"""
_CREDENTIALS = struct.Struct("=iII")

Frame = tuple[int, int, bytes]


class Node:
    """One machine of the cluster: its agent's port, and who waits for which session's frames."""

    def __init__(self, guest: Machine) -> None:
        self.guest = guest
        self._stream = trio.SocketStream(trio.socket.from_stdlib_socket(guest.port))
        self._sending = trio.Lock()
        self._sessions: dict[int, trio.MemorySendChannel[Frame]] = {}
        self._last = CONTROL - 1

    async def send(self, kind: int, session: int, payload: bytes = b"") -> None:
        async with self._sending:
            await self._stream.send_all(agent.frame(kind, session, payload))

    def open_session(self) -> tuple[int, trio.MemoryReceiveChannel[Frame]]:
        """A number that was never used, and what the agent says in it; it ends when the machine does."""
        self._last += 1
        sender, receiver = trio.open_memory_channel[Frame](FRAMES_QUEUED)
        self._sessions[self._last] = sender
        return self._last, receiver

    async def pump(self) -> None:
        """Hands frames from the agent to their sessions until the machine ends."""
        async for kind, session, payload in frames(self._stream):
            waiting = self._sessions.get(session)
            if waiting is None:
                continue
            try:
                await waiting.send((kind, session, payload))
            except trio.BrokenResourceError:  # its caller has gone
                del self._sessions[session]
        for waiting in self._sessions.values():
            waiting.close()


async def frames(stream: trio.abc.ReceiveStream) -> AsyncIterator[Frame]:
    """The frames of a stream until it ends. Raises ValueError on a frame that is too long."""
    buffer = bytearray()
    try:
        async for data in stream:
            buffer += data
            for frame in agent.parse(buffer):
                yield frame
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return


async def boot(node: Node, environment: dict[str, str], store: str) -> None:
    """Until festoond on the machine is ready. Raises VmError with what was said instead."""
    name = node.guest.settings.name
    _, control = node.open_session()
    try:
        await control.receive()
    except trio.EndOfChannel:
        raise VmError(f"{name} did not boot; its console:\n{node.guest.console()}") from None
    number, said = node.open_session()
    argv = ["/bin/sh", "-c", FESTOOND, "festoond", store, sys.executable]
    await node.send(agent.START, number, json.dumps({"argv": argv, "env": environment, "cwd": "/", "tty": None}).encode())
    output = b""
    async for kind, _, payload in said:
        if kind == agent.EXIT:
            raise VmError(f"{name}: festoond ended with {payload[0]} before it was ready: {output.decode(errors='replace')}")
        output += payload
        if b"ready\n" in output:
            said.close()
            return
    raise VmError(f"{name} ended before festoond was ready")


async def call(stream: trio.SocketStream, nodes: dict[str, Node]) -> None:
    """One caller: its START names a machine; then frames in both directions, until the command ends or the caller goes (which
    kills the command).
    """
    async with stream:
        asked = frames(stream)
        first = await anext(asked, None)
        if first is None or first[0] != agent.START:
            return
        request: dict[str, Any] = json.loads(first[2])
        node = nodes.get(request.pop("node"))
        if node is None:
            await stream.send_all(agent.frame(agent.ERROR, 1, f"vm: no such machine: there are {', '.join(nodes)}\n".encode()))
            await stream.send_all(agent.frame(agent.EXIT, 1, bytes([NOT_THERE_STATUS])))
            return
        number, answers = node.open_session()
        await node.send(agent.START, number, json.dumps(request).encode())
        async with answers, trio.open_nursery() as nursery:

            async def answer() -> None:
                async for kind, _, payload in answers:
                    await stream.send_all(agent.frame(kind, 1, payload))
                    if kind == agent.EXIT:
                        break
                nursery.cancel_scope.cancel()

            nursery.start_soon(answer)
            try:
                async for kind, _, payload in asked:
                    await node.send(kind, number, payload)
                await node.send(agent.SIGNAL, number, bytes([signal.SIGKILL]))
            except trio.BrokenResourceError:
                pass
            nursery.cancel_scope.cancel()


async def accept(listener: socket.socket, nodes: dict[str, Node]) -> None:
    """Callers, as long as the cluster lives; only root's."""

    async def handle(stream: trio.SocketStream) -> None:
        peer = stream.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        if _CREDENTIALS.unpack(bytes(peer))[1] != os.getuid():
            await stream.aclose()
            return
        try:
            await call(stream, nodes)
        except (trio.BrokenResourceError, ValueError):  # the caller went in the middle, or is none of ours
            pass

    await trio.serve_listeners(handle, [trio.SocketListener(trio.socket.from_stdlib_socket(listener))])


async def live(listener: socket.socket, guests: list[Machine], environment: dict[str, str], store: str) -> None:
    """Boot all, say so, serve until SIGTERM. Raises VmError."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async with trio.open_nursery() as nursery:
            nodes = {guest.settings.name: Node(guest) for guest in guests}
            for node in nodes.values():
                nursery.start_soon(node.pump)

            async def boot_all() -> None:
                try:
                    with trio.fail_after(BOOT_TIMEOUT_S):
                        async with trio.open_nursery() as booting:
                            for node in nodes.values():
                                booting.start_soon(boot, node, environment, store)
                except trio.TooSlowError:
                    raise VmError(f"the machines were not ready within {BOOT_TIMEOUT_S:.0f} s") from None
                nursery.start_soon(accept, listener, nodes)
                print("up", flush=True)
                if await trio.to_thread.run_sync(os.read, 0, 1, abandon_on_cancel=True) != b"k":
                    raise VmError("the caller has gone")
                _detach()

            nursery.start_soon(boot_all)
            async for _ in signals:
                nursery.cancel_scope.cancel()
                break


def _detach() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(null, descriptor)
    os.close(null)


def main(arguments: list[str]) -> int:
    """One argument: JSON of name, subnet, nodes, managers, cgroup, memory_mib, cpus, environment."""
    asked = json.loads(arguments[0])
    guests: list[Machine] = []
    try:
        layout = layouts.plan(asked["nodes"], asked["managers"], asked["subnet"], asked["name"])
        store = str(images.prepared())
        kernel.ready()  # it may have to be fetched, which the machines' own network can't
        listener = socket.socket(socket.AF_UNIX)
        try:
            listener.bind(SOCKET_PREFIX + layout.name)
        except OSError:
            raise VmError(f"there is a cluster {layout.name} already: `vm down` takes it away") from None
        listener.listen(BACKLOG)
        links = network.enter(layout)
        for one in layout.machines:
            settings = Settings(
                name=one.name, memory_mib=asked["memory_mib"], cpus=asked["cpus"], cgroup=Cgroup(asked["cgroup"]), link=links[one.name],
            )  # fmt: skip
            guests.append(machine.start(settings))
        trio.run(live, listener, guests, asked["environment"], store)
    except (VmError, LabError, ExceptionGroup) as error:
        reason = _first(error)
        if not isinstance(reason, VmError | LabError):
            raise
        print(reason, file=sys.stderr, flush=True)
        return 1
    finally:
        for guest in guests:
            guest.end()
    return 0


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
