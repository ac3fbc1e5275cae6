"""Peers over real TLS on the loopback: who may call, what crosses, what happens when the other side goes."""

from __future__ import annotations

import datetime as dt
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from cluster.identity import certificates, keys, tls
from cluster.model.assignments import SessionState
from cluster.model.errors import ClusterError, Conflict, InvalidArgument, OutOfSequence, PermissionDenied, Unavailable
from cluster.model.ids import NodeId
from cluster.model.objects import NodeDescription
from cluster.model.specs import Role
from cluster.wire import calls, peer, rpc
from cluster.wire.peer import Caller, Handler

NOTHING = calls.Nothing()
HELLO = calls.OpenSession(NodeDescription(hostname="h"))


class Authority:
    """A root, and contexts of nodes with certificates of it."""

    def __init__(self) -> None:
        self.now = dt.datetime.now(dt.UTC)
        self.root, self.key = certificates.new_root(self.now)

    def _node(self, name: str, role: Role) -> tuple[str, str]:
        key = keys.new_key()
        expiry = dt.timedelta(days=1)
        csr = certificates.make_csr(key)
        return certificates.issue(self.root, self.key, csr, name, role, "c1", self.now, expiry), key

    def server(self, role: Role = Role.MANAGER) -> ssl.SSLContext:
        return tls.server_context(*self._node("m1", role), self.root)

    def client(self, role: Role) -> ssl.SSLContext:
        return tls.client_context(*self._node("n1", role), self.root)


def run(
    handlers: Mapping[str, Handler], body: Callable[[Authority, str], Awaitable[None]], **options: Any
) -> None:
    """Serve the handlers with a manager's certificate while body(authority, address) runs; at most 10 seconds."""

    async def main() -> None:
        authority = Authority()
        async with serving(authority, handlers, **options) as address:
            with trio.fail_after(10):
                await body(authority, address)

    trio.run(main)


@asynccontextmanager
async def serving(authority: Authority, handlers: Mapping[str, Handler], **options: Any) -> AsyncIterator[str]:
    context = options.pop("context", None) or authority.server()
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(peer.serve, "127.0.0.1", 0, lambda _: context, handlers, **options))
        yield f"127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


async def root_of(caller: Caller, request: Any) -> calls.Text:
    return calls.Text(f"{caller.node_id}/{caller.role}/{caller.cluster_id}/{caller.address}")


async def nothing(caller: Caller, request: Any) -> None:
    return None


def test_a_handler_knows_who_calls_from_the_certificate() -> None:
    async def body(authority: Authority, address: str) -> None:
        async with peer.connect(address, authority.client(Role.WORKER)) as one:
            assert (await one.call("ca.root", NOTHING)).text == "n1/worker/c1/127.0.0.1"
            assert (one.caller.node_id, one.caller.role) == ("m1", Role.MANAGER)
        async with peer.connect(address, tls.bootstrap_context()) as stranger:
            assert (await stranger.call("ca.root", NOTHING)).text == "/None//127.0.0.1"

    run({"ca.root": root_of}, body)


def test_each_call_is_only_for_those_that_the_table_names() -> None:
    async def body(authority: Authority, address: str) -> None:
        async with peer.connect(address, tls.bootstrap_context()) as stranger:
            for name, request in (("agent.leave", NOTHING), ("control.stop", NOTHING)):
                with pytest.raises(PermissionDenied, match="certificate"):
                    await stranger.call(name, request)
        async with peer.connect(address, authority.client(Role.WORKER)) as worker:
            assert await worker.call("agent.leave", NOTHING) == NOTHING
            with pytest.raises(PermissionDenied, match="only managers"):
                await worker.call("control.stop", NOTHING)
        async with peer.connect(address, authority.client(Role.MANAGER)) as manager:
            assert await manager.call("control.stop", NOTHING) == NOTHING

    run({"agent.leave": nothing, "control.stop": nothing}, body)


def test_an_unknown_call_and_a_malformed_body_are_clean_errors() -> None:
    async def body(authority: Authority, address: str) -> None:
        async with peer.connect(address, authority.client(Role.MANAGER)) as one:
            with pytest.raises(InvalidArgument, match=r"unknown call agent\.leave"):
                await one.call("agent.leave", NOTHING)
            with pytest.raises(InvalidArgument, match="malformed Why"):
                await one.call("control.why", NOTHING)
            assert (await one.call("ca.root", NOTHING)).text

    run({"ca.root": root_of, "control.why": nothing}, body)


@pytest.mark.parametrize("error", [Conflict("taken"), OutOfSequence(), Unavailable("no leader")])
def test_errors_cross_the_wire_as_themselves(error: ClusterError) -> None:
    async def fails(caller: Caller, request: Any) -> None:
        raise error

    async def body(authority: Authority, address: str) -> None:
        async with peer.connect(address, authority.client(Role.WORKER)) as one:
            with pytest.raises(type(error), match=error.message):
                await one.call("agent.leave", NOTHING)

    run({"agent.leave": fails}, body)


def test_a_stream_flows_no_faster_than_it_is_read_and_ends_with_its_block() -> None:
    sent: list[int] = []
    closed = trio.Event()

    async def session(caller: Caller, request: calls.OpenSession) -> AsyncIterator[SessionState]:
        try:
            for i in range(10_000):
                sent.append(i)
                yield SessionState(NodeId(request.description.hostname), (), i)
        finally:
            closed.set()

    async def body(authority: Authority, address: str) -> None:
        async with peer.connect(address, authority.client(Role.WORKER)) as one:
            async with one.stream("agent.session", HELLO) as items:
                assert (await anext(items)) == SessionState(NodeId("h"), (), 0)
                await trio.testing.wait_all_tasks_blocked(0.01)
                assert len(sent) <= rpc.STREAM_CREDIT_ITEMS + 2
            await closed.wait()

    run({"agent.session": session}, body)


def test_the_server_calls_back_over_the_connection_that_the_client_opened() -> None:
    async def session(caller: Caller, request: Any) -> AsyncIterator[SessionState]:
        async with caller.peer.stream("node.logs", calls.LogsOf(tasks=("t",))) as lines:
            async for line in lines:
                yield SessionState(NodeId(line.data.decode()), (), 1)

    async def logs(caller: Caller, request: calls.LogsOf) -> AsyncIterator[calls.LogLine]:
        assert caller.role is Role.MANAGER
        for word in (b"one", b"two"):
            yield calls.LogLine(request.tasks[0], "s", "n", 1, 0, word)

    async def body(authority: Authority, address: str) -> None:
        async with peer.connect(address, authority.client(Role.WORKER), {"node.logs": logs}) as one:
            async with one.stream("agent.session", HELLO) as items:
                assert [item.node_id async for item in items] == ["one", "two"]

    run({"agent.session": session}, body)


def test_a_call_that_is_given_up_is_cancelled_at_the_other_side() -> None:
    begun, cancelled = trio.Event(), trio.Event()

    async def waits(caller: Caller, request: Any) -> None:
        begun.set()
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    async def body(authority: Authority, address: str) -> None:
        async with peer.connect(address, authority.client(Role.WORKER)) as one:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one.call, "agent.leave", NOTHING)
                await begun.wait()
                nursery.cancel_scope.cancel()
            await cancelled.wait()
            assert (await one.call("ca.root", NOTHING)).text  # the connection goes on

    run({"agent.leave": waits, "ca.root": root_of}, body)


def test_a_call_in_flight_fails_when_the_server_goes() -> None:
    async def main() -> None:
        authority = Authority()
        begun = trio.Event()

        async def waits(caller: Caller, request: Any) -> None:
            begun.set()
            await trio.sleep_forever()

        async with trio.open_nursery() as servers:
            context = authority.server()
            start = partial(peer.serve, "127.0.0.1", 0, lambda _: context, {"agent.leave": waits})
            listeners = await servers.start(start)
            address = f"127.0.0.1:{listeners[0].socket.getsockname()[1]}"
            async with peer.connect(address, authority.client(Role.WORKER)) as one:

                async def call() -> None:
                    with pytest.raises(Unavailable, match="is lost"):
                        await one.call("agent.leave", NOTHING)

                with trio.fail_after(5):
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(call)
                        await begun.wait()
                        servers.cancel_scope.cancel("the server goes")
                        with trio.CancelScope(shield=True):
                            await one.closed.wait()
                            with pytest.raises(Unavailable):
                                await one.call("agent.leave", NOTHING)

    trio.run(main)


def test_what_the_block_raises_is_what_its_caller_hears_also_while_it_is_cancelled() -> None:
    """A manager ended by this: it lost the connection to a member at the moment at which it was to listen to it no more."""

    async def body(authority: Authority, address: str) -> None:
        async def lose(scope: trio.CancelScope) -> None:
            async with peer.connect(address, authority.client(Role.MANAGER)):
                scope.cancel()
                raise Unavailable("lost")

        with trio.CancelScope() as scope:
            with pytest.raises(Unavailable, match="lost"):
                await lose(scope)
            await trio.lowlevel.checkpoint()
        assert scope.cancelled_caught

    run({}, body)


def test_a_peer_that_says_nothing_for_three_intervals_is_dead() -> None:
    async def body(authority: Authority, address: str) -> None:
        forward = Forwarder(address)
        async with trio.open_nursery() as nursery:
            middle = await nursery.start(forward.run)
            context = authority.client(Role.WORKER)
            async with peer.connect(middle, context, keepalive_s=0.05) as one:
                assert (await one.call("ca.root", NOTHING)).text
                with trio.move_on_after(0.4):
                    await one.closed.wait()
                assert not one.closed.is_set(), "pings keep an idle connection"
                forward.frozen = True
                with trio.fail_after(5):
                    await one.closed.wait()
                with pytest.raises(Unavailable, match="nothing heard"):
                    await one.call("ca.root", NOTHING)
            nursery.cancel_scope.cancel()

    run({"ca.root": root_of}, body)


class Forwarder:
    """A TCP connection in the middle that can stop to carry, as a cable does."""

    def __init__(self, address: str) -> None:
        self.frozen = False
        self._target = peer.split_address(address)

    async def run(self, *, task_status: trio.TaskStatus[str]) -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        task_status.started(f"127.0.0.1:{listeners[0].socket.getsockname()[1]}")
        await trio.serve_listeners(self._carry, listeners)

    async def _carry(self, left: trio.SocketStream) -> None:
        async with await trio.open_tcp_stream(*self._target) as right, trio.open_nursery() as nursery:
            nursery.start_soon(self._copy, left, right)
            nursery.start_soon(self._copy, right, left)

    async def _copy(self, source: trio.SocketStream, sink: trio.SocketStream) -> None:
        try:
            async for data in source:
                if not self.frozen:
                    await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return


def test_a_server_that_is_no_manager_or_of_another_root_is_refused() -> None:
    async def main() -> None:
        ours, theirs = Authority(), Authority()
        for context in (ours.server(Role.WORKER), theirs.server()):
            async with serving(ours, {}, context=context) as address:
                with pytest.raises(PermissionDenied, match="certificate is refused"):
                    async with peer.connect(address, ours.client(Role.WORKER)):
                        pass

    trio.run(main)


def test_a_client_certificate_of_another_root_gets_nothing() -> None:
    async def body(authority: Authority, address: str) -> None:
        stranger = Authority()
        context = tls.client_context(*stranger._node("n1", Role.MANAGER), authority.root)
        with pytest.raises((Unavailable, PermissionDenied)):
            async with peer.connect(address, context) as one:
                await one.call("ca.root", NOTHING)

    run({"ca.root": root_of}, body)


@pytest.mark.parametrize(("address", "why"), [
    ("127.0.0.1:1", r"^dial tcp 127\.0\.0\.1:1: connect: connection refused$"), ("a..b:1", r"^dial tcp: lookup a\.\.b: no such host$"),
])  # fmt: skip
def test_nobody_listening_is_unavailable_in_the_systems_words(address: str, why: str) -> None:
    async def main() -> None:
        with pytest.raises(Unavailable, match=why):
            async with peer.connect(address, tls.bootstrap_context()):
                pass

    trio.run(main)


def test_connections_beyond_the_limit_are_closed() -> None:
    async def body(authority: Authority, address: str) -> None:
        context = authority.client(Role.WORKER)
        async with peer.connect(address, context) as one:
            with pytest.raises(Unavailable):
                async with peer.connect(address, context) as other:
                    await other.call("ca.root", NOTHING)
            assert (await one.call("ca.root", NOTHING)).text

    run({"ca.root": root_of}, body, max_connections=1)


@pytest.mark.parametrize("text", ["", "host", "host:", ":2377", "host:x", "host:0", "host:65536"])
def test_what_is_no_address_is_invalid(text: str) -> None:
    with pytest.raises(InvalidArgument):
        peer.split_address(text)


def test_addresses_have_a_host_and_a_port() -> None:
    assert peer.split_address("10.0.0.1:2377") == ("10.0.0.1", 2377)
    assert peer.split_address("[fd00::1]:2377") == ("fd00::1", 2377)
