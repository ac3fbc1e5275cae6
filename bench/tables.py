"""What one endpoint that comes or goes costs a node among ten and among a thousand, the kernel's part left out: the message is taken in, names go and come, the
tables are kept on disk. In turn; the kernel's part is bench/mesh.py's.
"""

from __future__ import annotations

import ipaddress
import tempfile
import time
from pathlib import Path

import trio

from agent.assigned_networks import AssignedNetworks
from agent.events import EventBus
from agent.local_networks import LocalNetworks
from agent.name_service import NameService
from bench.report import Report
from cluster.model.assignments import Backend, BalancerItem, EndpointItem, NetworkItem
from cluster.model.ids import NetworkId, NodeId, ServiceId, TaskId
from cluster.model.objects import Network
from cluster.model.specs import NetworkSpec

CHANGES = 100
SERVICES, PER_SERVICE = 100, 10
NETWORK = NetworkItem(Network(NetworkId("n" * 25), NetworkSpec("net", driver="overlay"), vni=4097, subnet="10.0.0.0/16", gateway="10.0.0.1"), "10.0.0.2/16")


def measure(report: Report, runs: int) -> None:
    trio.run(_measure, report, runs * CHANGES)


async def _measure(report: Report, changes: int) -> None:
    with tempfile.TemporaryDirectory(prefix="festoon-bench-") as folder:
        nodes = {services: _Node(Path(folder) / f"{services}", services) for services in (1, SERVICES)}
        for number in range(changes):
            taken = {}
            for services, node in nodes.items():
                began = time.perf_counter()
                node.take(number % 2)
                taken[services] = (time.perf_counter() - began) * 1e6
                report.add(f"one of {services * PER_SERVICE:,} endpoints (us)", "festoon", taken[services])
            report.add("among 1,000 endpoints, in proportion to the same turn's among 10", "festoon", taken[SERVICES] / taken[1])


class _Node:
    """What a node keeps of the cluster's tables, with so many services' tasks, all of them elsewhere."""

    def __init__(self, folder: Path, services: int) -> None:
        folder.mkdir()
        self._last = services - 1
        self._assigned = AssignedNetworks(folder, EventBus())
        self._assigned.node_id = "here"
        locals_ = LocalNetworks(folder / "networks.json", time.time_ns())
        self._names = NameService(None, locals_, str)  # type: ignore[arg-type]  # no container here asks for names
        everything = (NETWORK, *map(_endpoint, range(services * PER_SERVICE)), *map(_balancer, range(services)))
        self._assigned.take(everything, (), set(), complete=True)
        self._names.publish(self._assigned.tables)
        self._assigned.save()

    def take(self, gone: int) -> None:
        """The last service's last task goes (1) or comes back (0): what agent/networks.py does with the message, without the kernel's part."""
        last = _endpoint(self._last * PER_SERVICE + PER_SERVICE - 1)
        upserts = (_balancer(self._last, gone), *(() if gone else (last,)))
        self._assigned.take(upserts, (last.key,) if gone else (), set(), complete=False)
        self._names.retract(self._assigned.tables)
        self._names.publish(self._assigned.tables)
        self._assigned.save()


def _address(number: int) -> str:
    return str(ipaddress.IPv4Address("10.0.1.0") + number)


def _endpoint(number: int) -> EndpointItem:
    names = (f"s{number // PER_SERVICE}.{number}", f"host{number}")
    return EndpointItem(NETWORK.network.id, f"{_address(number)}/16", NodeId("there"), "192.0.2.2", TaskId(f"t{number}"), names)


def _balancer(service: int, gone: int = 0) -> BalancerItem:
    backends = tuple(Backend(_address(service * PER_SERVICE + task)) for task in range(PER_SERVICE - gone))
    virtual_ip = str(ipaddress.IPv4Address("10.0.200.0") + service)
    return BalancerItem(NETWORK.network.id, ServiceId(f"service{service}"), f"s{service}", virtual_ip, 256 + service, (), backends)
