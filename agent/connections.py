"""A container's networks changed after it was made: connect and disconnect, while it runs or not, one change at a time.

Beside agent/containers.py and agent/container_runs.py the only module that changes a Record. Decides nothing about the kernel (agent/networks.py does).
Source: moby's daemon/container_operations.go and runconfig/errors.go for the rules and their sentences.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from typing import Final

import msgspec
import trio

from agent import container_spec
from agent.container_registry import Registry
from agent.container_wiring import CONTAINER, Wiring, check_addresses
from agent.events import Event, EventBus
from agent.local_networks import PREDEFINED
from agent.networks import Networks
from agent.records import Attachment, NetworkWish, Record
from cluster.model.errors import ClusterError, NotFound, PermissionDenied

SHARED: Final = "container sharing network namespace with another container or host cannot be connected to any other network"
HOST: Final = "container cannot be disconnected from host network or connected to host network"
NONE: Final = "container cannot be connected to multiple networks with one of the networks in private (none) mode"
LIVE: Final = frozenset({"running", "paused"})
replace = msgspec.structs.replace


class Connections:
    """State: whose turn it is with each container's networks. Its start and what clears up after its end take turns with the changes here, so that none
    of them works on a record that another is about to replace."""

    def __init__(self, registry: Registry, wiring: Wiring, networks: Networks, events: EventBus) -> None:
        self._registry, self._wiring, self._networks, self._events = registry, wiring, networks, events
        self._turns: dict[str, trio.Lock] = {}

    async def connect(self, reference: str, wish: NetworkWish) -> None:
        """Put a container on a network. Raises NotFound, PermissionDenied, InvalidArgument, Conflict or FabricError; it is as before then."""
        check_addresses(wish, "Invalid", ")")
        container_id = self._registry.find(reference).id
        async with self.turn(container_id):
            record = self._registry.find(container_id)
            wanted = self._wiring.wished(wish)
            if not wanted.network_id and not self._networks.assigned.node_id and record.state.status in LIVE:
                raise NotFound(f"network {wish.network} not found")
            self._networks.check_wish(wish)
            if wish.aliases and wanted.network_name in PREDEFINED:
                raise PermissionDenied("network-scoped alias is supported only for containers in user defined networks")
            self._refuse(record, wanted.network_name)
            there = any(a.network_id and a.network_id == wanted.network_id for a in record.attachments if not a.hidden)
            if record.state.status not in LIVE:
                others = tuple(a for a in record.attachments if not (a.network_id == wanted.network_id and a.network_name == wanted.network_name))
                self._registry.put(replace(record, attachments=(*others, wanted)))
                return
            if there and self._networks.assigned.get(wanted.network_id) is not None:
                raise PermissionDenied(f"{record.name} is already attached to network {wanted.network_name}")
            if there:
                raise PermissionDenied(f"endpoint with name {record.name} already exists in network {wanted.network_name}")
            connected = replace(record, attachments=await self._networks.connect(record, wish))
            try:
                connected = replace(connected, ports=self._wiring.ports(connected))
            except BaseException:
                await self._networks.disconnect(connected, {wanted.network_id})
                raise
            await self._changed(container_id, connected)
        self.say("connect", connected, connected.attachments[-1:])

    async def disconnect(self, network: str, reference: str, *, force: bool = False) -> None:
        """Take a container off a network. Raises NotFound or PermissionDenied."""
        if not force:
            self._must_be_known(network)
        try:
            container_id = self._registry.find(reference).id
        except NotFound:
            if force and (item := self._networks.assigned.find_or_none(network)) is not None and reference == f"{item.network.spec.name}-endpoint":
                return  # its balancer's, which goes with the network: who removes one takes off whatever is shown to be on it
            if force:
                raise NotFound(f"endpoint {reference} not found") from None
            raise
        async with self.turn(container_id):
            record = self._registry.find(container_id)
            wanted = self._wiring.wished(NetworkWish(network=self._whole_id(network)))
            mine = [a for a in record.attachments if not a.hidden and wanted.network_name == a.network_name]
            if record.state.status in LIVE and record.host.network_mode == "host" and wanted.network_name == "host":
                raise PermissionDenied(HOST)
            if not mine:
                article = "" if record.state.status in LIVE and wanted.network_id else "the "
                raise PermissionDenied(f"container {record.id} is not connected to {article}network {wanted.network_name}")
            if record.state.status in LIVE and mine[0].interface:
                await self._take_off(record, {mine[0].network_id})
            else:
                self._registry.put(replace(record, attachments=tuple(a for a in record.attachments if a not in mine)))
        self.say("disconnect", record, mine)

    async def leave_cluster(self) -> None:
        """Take every running container off the cluster's networks: its node leaves the swarm, and they end here. It goes on with what it has left."""
        for container_id in [record.id for record in self._registry.all()]:
            async with self.turn(container_id):
                record = self._registry.get(container_id)
                if record is None or record.state.status not in LIVE:
                    continue
                theirs = [a for a in record.attachments if a.interface and not self._networks.locals.own(a.network_id)]
                if theirs:
                    await self._take_off(record, {a.network_id for a in theirs})
            self.say("disconnect", record, theirs)

    async def _take_off(self, record: Record, network_ids: Set[str]) -> None:
        left = replace(record, attachments=await self._networks.disconnect(record, network_ids))
        await self._changed(record.id, replace(left, ports=self._wiring.ports(left)))

    async def _changed(self, container_id: str, record: Record) -> None:
        """The record, /etc/hosts, names and published ports follow the change; of a container that has ended meanwhile only the record."""
        now = self._registry.get(container_id)
        if now is None or now.state.status not in LIVE:
            await self._networks.detach(record)
            if (ended := self._registry.get(container_id)) is not None:
                self._registry.put(replace(ended, attachments=self._wiring.detached(record).attachments))
            return
        record = replace(now, attachments=record.attachments, ports=record.ports)
        self._registry.put(record)
        self._wiring.change_files(record)
        self._networks.names.open(record)
        if record.ports or now.ports:
            await self._networks.publish(record.id, container_spec.host_ports(record))

    def _refuse(self, record: Record, network_name: str) -> None:
        mode = record.host.network_mode
        attached = {a.network_name for a in record.attachments}
        if mode.startswith(CONTAINER) or "host" in attached:
            raise PermissionDenied(SHARED if network_name != "host" else HOST)
        if network_name == "host":
            raise PermissionDenied(HOST)
        if (network_name == "none" and attached - {"none"}) or ("none" in attached and network_name != "none"):
            raise PermissionDenied(NONE)

    def _whole_id(self, network: str) -> str:
        """Of one that is known here, also by a part of its id; any other as it is."""
        if (item := self._networks.assigned.find_or_none(network)) is not None:
            return item.network.id
        try:
            return self._networks.locals.find(network).id
        except ClusterError:
            return network

    def _must_be_known(self, network: str) -> None:
        if self._networks.assigned.find_or_none(network) is None:
            self._networks.locals.find(network)

    def turn(self, container_id: str) -> trio.Lock:
        """Held by who changes the container's networks."""
        self._turns = {i: lock for i, lock in self._turns.items() if lock.locked() or lock.statistics().tasks_waiting}
        return self._turns.setdefault(container_id, trio.Lock())

    def say(self, action: str, record: Record, attachments: Iterable[Attachment]) -> None:
        """The event of a container that comes to networks or leaves them, for each on which it has been."""
        for one in attachments:
            if not one.hidden:
                about = (("container", record.id), ("name", one.network_name), ("type", self._networks.driver(one.network_id)))
                self._events.publish(Event("network", action, one.network_id, about))
