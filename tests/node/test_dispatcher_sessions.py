"""Sessions of agents with a real manager process: one that is cut goes on where it stopped, and one that does not read slows nobody."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from agent.reporter import Reporter
from agent.session import LOST, Session, Told
from cluster.identity import tls
from cluster.identity.contexts import Contexts
from cluster.identity.folder import Credentials
from cluster.model.assignments import Assignments, SessionState, TaskItem
from cluster.model.changes import Kind
from cluster.model.errors import Unavailable
from cluster.model.objects import NodeDescription
from cluster.model.specs import Placement, Platform, Resources
from cluster.wire.calls import Applied, Describe, Query, ServiceWrite
from cluster.wire.peer import Peer, connect
from tests.node.manager_lab import FakeAgent, ManagerLab, service_spec

PATIENCE_S = 20.0
SERVICES = 50
"""More than an agent that does not read is sent (rpc.STREAM_CREDIT_ITEMS), one commit each."""

TOGETHER = 12
"""Writes of one object at once; each is tried more often than that (server.NODE_UPDATE_TRIES)."""

STOPPED_AGENT = """
import sys, trio
from pathlib import Path
from tests.node.manager_lab import FakeAgent, ManagerLab
folder, port, certificate, key, root = sys.argv[1:]
agent = FakeAgent(ManagerLab(Path(folder), int(port)), (certificate, key, root), "slow")

async def main():
    async with trio.open_nursery() as nursery:
        await nursery.start(agent.run)
        print("open", flush=True)

trio.run(main)
"""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[ManagerLab]:
    made = ManagerLab(tmp_path)
    try:
        yield made
    finally:
        made.close()


class Wire:
    """A TCP forwarder in front of the manager, whose connections can be cut."""

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self._open: list[trio.SocketStream] = []
        self.refuses = False

    async def serve(self, *, task_status: trio.TaskStatus[int]) -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        async with trio.open_nursery() as nursery:
            await nursery.start(trio.serve_listeners, self._accepted, listeners)
            task_status.started(int(listeners[0].socket.getsockname()[1]))
            await trio.sleep_forever()

    async def _accepted(self, stream: trio.SocketStream) -> None:
        if self.refuses:
            return
        other = await trio.open_tcp_stream("127.0.0.1", self._to_port)
        self._open += [stream, other]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_pour, stream, other, nursery.cancel_scope)
            nursery.start_soon(_pour, other, stream, nursery.cancel_scope)

    async def cut(self) -> None:
        self.refuses = True
        for stream in self._open:
            await trio.aclose_forcefully(stream)
        self._open.clear()


async def _pour(source: trio.SocketStream, target: trio.SocketStream, scope: trio.CancelScope) -> None:
    try:
        while data := await source.receive_some(65536):
            await target.send_all(data)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    scope.cancel()


class Agent:
    """The product's own session, and what it was told."""

    def __init__(self, credentials: tuple[str, str, str], address: str) -> None:
        description = NodeDescription("cut", Platform("x86_64", "linux"), Resources(4_000_000_000, 8 << 30))
        self.session = Session(Contexts(Credentials(*credentials)), (address,), description, "127.0.0.1")
        self.told: list[Assignments] = []
        self.managers: tuple[str, ...] = ()
        self.heard: list[Assignments] = []
        self.free = trio.Event()  # not set: its kernel is busy
        self.free.set()
        self._changed = trio.Event()

    async def run(self) -> None:
        await self.session.run(Told(self._on_state, self._on_heard, self._on_assignments), Reporter(), {}, lambda: None)

    async def _on_state(self, state: SessionState) -> None:
        self.managers = state.managers

    def _on_heard(self, message: Assignments) -> None:
        self.heard.append(message)
        self._say_changed()

    async def _on_assignments(self, message: Assignments) -> None:
        await self.free.wait()
        self.told.append(message)
        self._say_changed()

    def _say_changed(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until this is true of what was told."""
        with trio.fail_after(PATIENCE_S):
            while not holds():
                await self._changed.wait()

    def tasks(self, messages: list[Assignments] | None = None) -> set[str]:
        """Of what was applied, or of these."""
        found: set[str] = set()
        for message in self.told if messages is None else messages:
            if message.complete:
                found.clear()
            found |= {item.task.id for item in message.upserts if isinstance(item, TaskItem)}
            found -= {key.removeprefix("task/") for key in message.removals}
        return found


async def _token(peer: Peer) -> str:
    return str((await peer.call("control.query", Query(Kind.CLUSTER))).clusters[0].join_tokens.worker)


@asynccontextmanager
async def _one_that_can_be_cut(lab: ManagerLab) -> AsyncIterator[tuple[Peer, Wire, Agent]]:
    """The manager as its users ask it, and an agent that has heard from it over a wire."""
    async with lab.control() as peer, trio.open_nursery() as nursery:
        _, credentials = await lab.join(await _token(peer), "cut")
        wire = Wire(lab.port)
        port = await nursery.start(wire.serve)
        agent = Agent(credentials, f"127.0.0.1:{port}")
        nursery.start_soon(agent.run)
        await agent.until(lambda: bool(agent.told))
        yield peer, wire, agent
        nursery.cancel_scope.cancel()


def _on(hostname: str) -> Placement:
    return Placement(constraints=(f"node.hostname=={hostname}",))


def test_an_agent_whose_connection_is_cut_is_told_only_what_it_missed(lab: ManagerLab) -> None:
    lab.start(bootstrap={"hostname": "one"})

    async def main() -> None:
        async with _one_that_can_be_cut(lab) as (peer, wire, agent):
            assert agent.told[0].complete
            await peer.call("control.service_create", ServiceWrite(service_spec("before", 2, placement=_on("cut"))))
            await agent.until(lambda: len(agent.tasks()) == 2)
            before = len(agent.told)
            await wire.cut()
            await peer.call("control.service_create", ServiceWrite(service_spec("meanwhile", 1, placement=_on("cut"))))
            await agent.until(lambda: len(agent.tasks()) == 3)
            began, *rest = agent.told[before:]
            assert not began.complete
            assert began == Assignments(False, agent.told[before - 1].results_in, agent.told[before - 1].results_in)
            assert {item.task.service_name for message in rest for item in message.upserts if isinstance(item, TaskItem)} == {"meanwhile"}

    trio.run(main)


def test_a_busy_agent_hears_what_follows_and_goes_on_from_what_it_has_applied(lab: ManagerLab) -> None:
    lab.start(bootstrap={"hostname": "one"})

    async def main() -> None:
        async with _one_that_can_be_cut(lab) as (peer, wire, agent):
            agent.free = trio.Event()
            for name in ("first", "second", "third"):
                known = len(agent.tasks(agent.heard))
                await peer.call("control.service_create", ServiceWrite(service_spec(name, 1, placement=_on("cut"))))
                await agent.until(lambda: len(agent.tasks(agent.heard)) > known)  # noqa: B023  waited for here
            assert agent.tasks() == set()
            await wire.cut()
            wire.refuses = False
            agent.free.set()
            await agent.until(lambda: len(agent.tasks()) == 3)
            changes = [message for message in agent.told if message.results_in > message.applies_to]
            assert [message.results_in for message in changes] == list(range(1, len(changes) + 1))  # each once, in order

    trio.run(main)


def test_who_asked_for_a_change_as_the_connection_broke_hears_that_nobody_knows_whether_it_was_made(lab: ManagerLab) -> None:
    lab.start(bootstrap={"hostname": "one"})

    async def main() -> None:
        async with _one_that_can_be_cut(lab) as (_, wire, agent):
            assert lab.process is not None
            os.kill(lab.process.pid, signal.SIGSTOP)
            try:
                said: list[str] = []

                async def ask() -> None:
                    try:
                        await agent.session.call("agent.applied", Applied(0))
                    except Unavailable as error:
                        said.append(error.message)

                async with trio.open_nursery() as asking:
                    asking.start_soon(ask)
                    await trio.testing.wait_all_tasks_blocked()
                    await wire.cut()
            finally:
                os.kill(lab.process.pid, signal.SIGCONT)
            assert said == [LOST]

    trio.run(main)


def test_an_agent_that_is_stopped_slows_nobody(lab: ManagerLab) -> None:
    lab.start(bootstrap={"hostname": "one"})

    async def main() -> None:
        async with lab.control() as peer, trio.open_nursery() as nursery:
            stack = ExitStack()
            _, slow_credentials = await lab.join(await _token(peer), "slow")
            _, credentials = await lab.join(await _token(peer), "quick")
            argv = [sys.executable, "-c", STOPPED_AGENT, str(lab.folder), str(lab.port), *slow_credentials]
            slow = stack.enter_context(subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]))
            try:
                assert slow.stdout is not None
                assert await trio.to_thread.run_sync(slow.stdout.readline) == b"open\n"
                os.kill(slow.pid, signal.SIGSTOP)
                quick = FakeAgent(lab, credentials, "quick")
                await nursery.start(quick.run)
                for number in range(SERVICES):
                    for host in ("slow", "quick"):
                        await peer.call("control.service_create", ServiceWrite(service_spec(f"{host}{number}", 1, placement=_on(host))))
                await quick.until(lambda: len(quick.tasks) == SERVICES)
                assert slow.poll() is None
            finally:
                slow.kill()
                stack.close()
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_writes_of_the_managers_own_that_meet_are_made_again(lab: ManagerLab) -> None:
    lab.start(bootstrap={"hostname": "one"})

    async def main() -> None:
        async with lab.control() as peer:
            issued, credentials = await lab.join(await _token(peer), "many")
            async with connect(lab.address, tls.client_context(*credentials)) as agent, trio.open_nursery() as nursery:
                for number in range(TOGETHER):  # each sees the same version of the node's object: one of them at a time is in time
                    nursery.start_soon(agent.call, "agent.describe", Describe(NodeDescription(f"many{number}")))
            nodes = (await peer.call("control.query", Query(Kind.NODE))).nodes
            (node,) = (node for node in nodes if node.id == issued.node_id)
            assert node.description.hostname.startswith("many")

    trio.run(main)
