"""When a namespace's servers have nothing more to do for anybody."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import trio
import trio.testing

from netfabric.netlink import netns
from netfabric.netlink.messages import set_link
from netfabric.netlink.netns import in_namespace
from netfabric.netlink.socket import SyncNetlink
from netfabric.netlink.sockets import wait_quiet

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
PORT, LOOPBACK = 80, 1
MORE_THAN_ANY_BUFFER = bytes(64 * 1024 * 1024)
FAMILIES = {
    "IPv4": (socket.AF_INET, "0.0.0.0", "127.0.0.1"),
    "IPv6": (socket.AF_INET6, "::", "::1"),
    "IPv4 at an IPv6 socket": (socket.AF_INET6, "::", "127.0.0.1"),
}


@pytest.fixture
def namespace() -> Iterator[int]:
    made = netns.create_anonymous()
    with SyncNetlink(made) as netlink:
        netlink.request(set_link(LOOPBACK, up=True))
    yield made
    os.close(made)


@contextmanager
def connected(namespace: int, family: str = "IPv4") -> Iterator[tuple[socket.socket, socket.socket, socket.socket]]:
    """(listener, the server's end, the client's end), all of the namespace."""
    kind, bound, reached = FAMILIES[family]
    with in_namespace(namespace):
        listener = socket.create_server((bound, PORT), family=kind, dualstack_ipv6=kind == socket.AF_INET6)
        client = socket.create_connection((reached, PORT))
    with listener, client:
        server, _ = listener.accept()
        with server:
            yield listener, server, client


def waited_for(namespace: int, ends: Callable[[], object]) -> None:
    """It is waited for until `ends`, and no longer."""

    async def main() -> None:
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                quiet = False

                async def wait() -> None:
                    nonlocal quiet
                    await wait_quiet(namespace)
                    quiet = True

                nursery.start_soon(wait)
                await trio.testing.wait_all_tasks_blocked(0.01)
                assert not quiet
                ends()

    trio.run(main)


def quiet_at_once(namespace: int) -> None:
    async def main() -> None:
        with trio.fail_after(10):
            await wait_quiet(namespace)

    trio.run(main)


def test_a_server_that_nobody_is_connected_to_is_quiet(namespace: int) -> None:
    with in_namespace(namespace), socket.create_server(("0.0.0.0", PORT)):
        quiet_at_once(namespace)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_connection_is_waited_for_until_it_ends(namespace: int, family: str) -> None:
    with connected(namespace, family) as (_, server, client):

        def end() -> None:
            client.close()
            server.close()

        waited_for(namespace, end)


def test_a_connection_that_is_not_accepted_yet_is_waited_for(namespace: int) -> None:
    with connected(namespace) as (listener, server, client), in_namespace(namespace), socket.create_connection(("127.0.0.1", PORT)) as waiting:
        client.close()
        server.close()

        def end() -> None:
            waiting.close()
            listener.accept()[0].close()

        waited_for(namespace, end)


def test_an_answer_is_waited_for_until_it_has_arrived(namespace: int) -> None:
    """Also when its server has closed the connection."""
    with connected(namespace) as (_, server, client):
        server.setblocking(False)
        server.send(MORE_THAN_ANY_BUFFER)
        server.close()

        def take_all() -> None:
            while client.recv(1024 * 1024):
                pass

        waited_for(namespace, take_all)


def test_a_connection_made_elsewhere_is_not_waited_for(namespace: int) -> None:
    with connected(namespace) as (listener, _, _):
        listener.close()
        quiet_at_once(namespace)
