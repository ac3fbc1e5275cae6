"""One member of a Raft group of three as a process of its own, for bench/raft.py: the manager's real driver, log, store and connections, without
the rest of a manager. Serves a unix socket: a request is a big-endian length and a payload, its answer one byte once the entry is applied.

    python -m bench.raft_member FOLDER NUMBER PORT SOCKET LEADER-PORT store|log     (FOLDER has NUMBER.crt, NUMBER.key and root.crt)

`log`: the log alone. An entry is any bytes, and nothing comes of it.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import trio

from cluster.identity import tls
from cluster.identity.contexts import Contexts
from cluster.identity.folder import Credentials
from cluster.model.changes import Change, created
from cluster.model.errors import FailedPrecondition
from cluster.model.ids import NetworkId
from cluster.model.objects import Network
from cluster.model.specs import NetworkSpec
from cluster.wire.calls import JoinedManagers, JoinManagers
from cluster.wire.peer import Peer, connect, serve
from manager import collector
from manager.peers import Peers
from manager.raft import member
from manager.raft.driver import FOUNDER, Driver, open_driver
from manager.raft.effects import Answer
from manager.raft.membership import Member, Membership
from manager.store import Batch, Store

LENGTH = struct.Struct("!I")
READ_BYTES = 256 * 1024
RETRY_S = 0.1


async def _joined(peer: Peer, address: str) -> JoinedManagers:
    """One change of the managers is made at a time: the one before may be under way."""
    while True:
        try:
            joined: JoinedManagers = await peer.call("raft.join", JoinManagers(address))
        except FailedPrecondition:
            await trio.sleep(RETRY_S)
        else:
            return joined


def _without_store() -> None:
    """Have entries be bytes as they came, never read, and applied by nobody."""
    nothing = Batch(0, ())
    member.encode_changes = lambda changes: changes
    member.decode_changes = lambda data: ()
    Store.apply = lambda self, index, changes: nothing


async def main(folder: Path, number: int, port: int, path: Path, leader_port: int, what: str) -> None:
    pems = ((folder / f"{number}.crt").read_text(), (folder / f"{number}.key").read_text(), (folder / "root.crt").read_text())
    address, raft_id, known = f"127.0.0.1:{port}", FOUNDER, ()
    if number > 1:
        async with connect(f"127.0.0.1:{leader_port}", tls.client_context(*pems)) as peer:
            joined = await _joined(peer, address)
        raft_id, known = joined.raft_id, tuple(Member(*member) for member in joined.members)
    contexts = Contexts(Credentials(*pems))
    async with open_driver(folder / f"raft{number}", Store(), raft_id=raft_id) as driver, trio.open_nursery() as nursery:
        peers = Peers(driver, contexts, known)
        await nursery.start(partial(serve, "127.0.0.1", port, contexts.server, {"raft.follow": peers.follow, "raft.join": peers.join}))
        nursery.start_soon(peers.run)
        if number == 1:
            await driver.wait_leader()
            await driver.change_membership(partial(_founded, address=address))
            nursery.start_soon(_promote, driver)
        collector.calm()  # as the manager's daemon does
        listener = trio.socket.socket(trio.socket.AF_UNIX)
        await listener.bind(str(path))
        listener.listen()
        proposal = bytes if what == "log" else partial(_network, count())
        await trio.serve_listeners(partial(_serve, driver, proposal), [trio.SocketListener(listener)])


def _founded(known: Membership, address: str) -> Membership:
    return msgspec.structs.replace(known, members=(msgspec.structs.replace(known.members[0], node_id="1", address=address),))


async def _promote(driver: Driver) -> None:
    """Give both learners their vote when they have caught up."""
    while len(driver.membership.voters) < 3:
        learner = next((m.raft_id for m in driver.membership.members if m.learner and driver.has_caught_up(m.raft_id)), None)
        if learner is None:
            await trio.sleep(0.05)
        else:
            await driver.change_membership(lambda known, learner=learner: known.promoted(learner))


def _network(numbers: count[int], payload: memoryview) -> tuple[Change, ...]:
    name = f"n{next(numbers)}"
    return (created(Network(NetworkId(name), NetworkSpec(name, labels=(("value", str(payload, "ascii")),)))),)


async def _serve(driver: Driver, proposal: Callable[[memoryview], Any], stream: trio.SocketStream) -> None:
    """What came together is proposed together; an answer leaves when it is there."""
    plain = socket.socket(fileno=os.dup(stream.socket.fileno()))

    def answer(answers: Sequence[Answer]) -> None:
        assert all(isinstance(each, Batch) for each in answers), answers
        assert plain.send(b"." * len(answers)) == len(answers), "a byte for each caller has room"

    with plain:
        data = b""
        while more := await stream.receive_some(READ_BYTES):
            data += more
            start = 0
            group = []
            while len(data) - start >= LENGTH.size:
                (size,) = LENGTH.unpack_from(data, start)
                if len(data) - start < LENGTH.size + size:
                    break
                group.append(proposal(memoryview(data)[start + LENGTH.size : start + LENGTH.size + size]))
                start += LENGTH.size + size
            driver.submit(group, answer)
            data = data[start:]


if __name__ == "__main__":
    if sys.argv[6] == "log":
        _without_store()
    trio.run(main, Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]), int(sys.argv[5]), sys.argv[6])
