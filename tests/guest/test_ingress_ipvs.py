"""The routing mesh on IPVS, with three nodes in namespaces of the guest: what the seed shows, by the kernel's own tools."""

from __future__ import annotations

import itertools
import re
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from netfabric.audit import AUDIT_S
from netfabric.netlink import netns
from tests.node import netfabric_world as w

TASKS = (w.Task("aaaaaaaaaaaa", 1, 1), w.Task("bbbbbbbbbbbb", 2, 2))
A, B = TASKS


@pytest.fixture
def world() -> Iterator[w.World]:
    made = w.build()
    try:
        yield made
    finally:
        made.close()


async def serve(namespace: int, name: str, *, task_status: trio.TaskStatus[None]) -> None:
    """On port 80: answers each byte with the task's name, for as long as the client likes."""

    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            async for asked in stream:
                await stream.send_all(name.encode() * len(asked))

    with netns.in_namespace(namespace):
        listener = trio.socket.socket()
    await listener.bind(("0.0.0.0", 80))
    listener.listen()
    await trio.serve_listeners(answer, [trio.SocketListener(listener)], task_status=task_status)


async def connect(world: w.World, node: int) -> trio.SocketStream:
    """From outside to the published port of a node."""
    sock = w.stream_socket(world.client)
    with trio.fail_after(10):
        await sock.connect((w.vtep(node), 8080))
    return trio.SocketStream(sock)


async def who(stream: trio.SocketStream) -> str:
    with trio.fail_after(10):
        await stream.send_all(b"?")
        answer = b""
        while len(answer) < len(A.id):
            answer += await stream.receive_some()
    return answer.decode()


async def names(world: w.World, node: int, times: int) -> list[str]:
    """Who answers new connections, one after the other."""
    found = []
    for _ in range(times):
        async with await connect(world, node) as stream:
            found.append(await who(stream))
    return found


def serve_and(world: w.World, story: Callable[[], Awaitable[None]]) -> None:
    """Both tasks serve on all three nodes by IPVS while `story` looks around."""

    async def main() -> None:
        async with world.open(backend="ipvs"):
            await world.reconcile(TASKS)
            with world.sandbox(A.node, A.id) as one, world.sandbox(B.node, B.id) as two:
                async with trio.open_nursery() as nursery:
                    await nursery.start(serve, one, A.id)
                    await nursery.start(serve, two, B.id)
                    await story()
                    nursery.cancel_scope.cancel()

    trio.run(main)


async def ipvsadm(world: w.World, node: int, *options: str) -> str:
    with world.sandbox(node, "ingress_sbox") as sandbox:
        return await w.output(sandbox, "ipvsadm", "-L", "-n", *options)


def test_ipvsadm_reads_as_in_the_seed(world: w.World) -> None:
    async def story() -> None:
        assert (await ipvsadm(world, 1)).splitlines()[1:] == [
            "Prot LocalAddress:Port Scheduler Flags",
            "  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn",
            "FWM  256 rr",
            f"  -> {A.on_ingress}:0                  Masq    1      0          0         ",
            f"  -> {B.on_ingress}:0                  Masq    1      0          0         ",
        ]

    serve_and(world, story)


def test_every_node_answers_from_both_tasks_in_turn(world: w.World) -> None:
    async def story() -> None:
        for node in w.NODES:  # the third has no task
            seen = await names(world, node, 4)
            assert set(seen) == {A.id, B.id}
            assert all(one != two for one, two in itertools.pairwise(seen)), seen

    serve_and(world, story)


def test_a_drained_task_keeps_its_connections_and_gets_no_new_one(world: w.World) -> None:
    async def story() -> None:
        async with await connect(world, 3) as one, await connect(world, 3) as two:
            held = one if await who(one) == A.id else two
            assert await who(held) == A.id
            await world.reconcile(TASKS, draining=(A.id,))
            assert re.search(rf"{A.on_ingress}:0 +Masq +0 ", await ipvsadm(world, 3))
            assert set(await names(world, 3, 4)) == {B.id}
            assert await who(held) == A.id
            await world.reconcile(TASKS)
            assert set(await names(world, 3, 4)) == {A.id, B.id}

    serve_and(world, story)


BY_HAND = {
    "a server goes": f"-d -f 256 -r {A.on_ingress}:0",
    "a weight": f"-e -f 256 -r {A.on_ingress}:0 -m -w 0",
    "a server comes": "-a -f 256 -r 10.0.0.99:0 -m",
    "the service": "-D -f 256",
    "how it chooses": "-E -f 256 -s sh",
    "the timeouts": "--set 900 120 300",
}


@pytest.mark.parametrize("what", BY_HAND)
def test_what_is_changed_by_hand_is_repaired_in_time(world: w.World, what: str) -> None:
    """The kernel tells nobody: it is looked for every AUDIT_S."""

    async def main() -> None:
        async with world.open(1, backend="ipvs"):
            fabric, view = world.fabrics[1], w.view(1, TASKS)
            await fabric.reconcile(view)
            with world.sandbox(1, "ingress_sbox") as sandbox:
                await w.output(sandbox, "ipvsadm", *BY_HAND[what].split())
            assert await fabric.difference(view) != ()
            clock.jump(AUDIT_S)
            await trio.testing.wait_all_tasks_blocked(0.2)
            assert await fabric.difference(view) == ()

    clock = trio.testing.MockClock(rate=1.0)
    trio.run(main, clock=clock)


def test_the_servers_of_a_service_are_right_after_its_next_change(world: w.World) -> None:
    async def story() -> None:
        with world.sandbox(1, "ingress_sbox") as sandbox:
            for command in ("a server comes", "a weight"):
                await w.output(sandbox, "ipvsadm", *BY_HAND[command].split())
        await world.reconcile(TASKS, draining=(B.id,))
        shown = {line.split()[1]: line.split()[3] for line in (await ipvsadm(world, 1)).splitlines() if ":0 " in line}
        assert shown == {f"{A.on_ingress}:0": "1", f"{B.on_ingress}:0": "0"}

    serve_and(world, story)


def test_a_removed_service_leaves_nothing_in_the_table(world: w.World) -> None:
    async def story() -> None:
        await world.reconcile(TASKS, published=False)
        await world.reconcile(())
        assert "FWM" not in await ipvsadm(world, 1)

    serve_and(world, story)


def test_the_kernels_modules_are_loaded_before_the_first_view(world: w.World) -> None:
    async def main() -> None:
        async with world.open(1, backend="auto"):
            there = {line.split()[0] for line in Path("/proc/modules").read_text().splitlines()}
            assert {"vxlan", "nft_nat", "nft_numgen", "ip_vs_rr"} <= there

    trio.run(main)
