"""The names of a node that is started again, from sockets that a real supervisor kept."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

import dns.message
import pytest
import trio

from agent.local_networks import LocalNetworks
from agent.name_service import SHELF, NameService
from agent.records import Attachment, Config, HostConfig, LocalNetwork, Record, State
from cluster.model.specs import NetworkSpec
from runtime.client import Supervisor
from tests.node.runtime.machine import machine_in

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a supervisor needs root")
NAMES = ("asker", "first", "second", "third", "peer")


def record(number: int, network: LocalNetwork) -> Record:
    attachment = Attachment(network_id=network.id, network_name=network.name, interface="eth0", address=f"10.9.0.{number + 1}/24")
    return Record(
        id=f"{number:064x}", name=NAMES[number], created_at_ns=0, image_id="", path="", args=(), config=Config(image=""), host=HostConfig(), state=State(),
        attachments=(attachment,),
    )  # fmt: skip


async def keep_sockets(supervisor: Supervisor, container_id: str) -> tuple[str, int]:
    """As a node that has died since has left them; returns where questions go."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams, socket.socket(socket.AF_INET, socket.SOCK_STREAM) as streams:
        for sock in (datagrams, streams):
            sock.bind(("127.0.0.1", 0))
        streams.listen()
        await supervisor.keep(SHELF + container_id, (datagrams.fileno(), streams.fileno()))
        host, port = datagrams.getsockname()
        return host, port


def test_a_question_that_has_waited_is_answered_with_all_names_whatever_the_order_of_the_containers(tmp_path: Path) -> None:
    async def body(supervisor: Supervisor) -> None:
        locals_ = LocalNetworks(tmp_path / "networks.json", 0)
        network = locals_.create(NetworkSpec(name="here", driver="bridge"), 0, ())
        records = tuple(record(number, network) for number in range(len(NAMES)))
        asked, *_ = [await keep_sockets(supervisor, one.id) for one in records]
        names = NameService(supervisor, locals_, lambda _: "")
        with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            await client.connect(asked)
            await client.send(dns.message.make_query("peer", "A").to_wire())
            async with trio.open_nursery() as nursery:
                await nursery.start(names.run)
                await names.adopt(records)
                answer = dns.message.from_wire(await client.recv(65535))
                nursery.cancel_scope.cancel()
        assert [item.to_text() for found in answer.answer for item in found] == [f"10.9.0.{len(NAMES)}"]

    with machine_in(Path(tempfile.mkdtemp(prefix="festoon-names-")), "/bin/busybox") as machine:
        machine.run(body)
