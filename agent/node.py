"""One node, assembled: what agent/engine serves. Owns nothing itself; agent/daemon.py opens and closes the parts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.model.errors import Conflict, NotFound
from netfabric import capture

if TYPE_CHECKING:
    import socket

    from agent.container_files import ContainerFiles
    from agent.containers import Containers
    from agent.events import EventBus
    from agent.membership import Membership
    from agent.networks import Networks
    from agent.pulls import Pulls
    from agent.tracing import Tracing
    from agent.volumes import Volumes
    from cluster.model.objects import NodeDescription
    from netfabric.apply import Fabric
    from netfabric.diff import Operations
    from netfabric.trace import Hop
    from runtime.images.store import ImageStore


@dataclass(frozen=True, slots=True)
class Node:
    """`started_ns` is when this process began; `description` is what the managers are told."""

    root: Path
    run: Path
    hostname: str
    engine_id: str
    version: str
    started_ns: int
    description: NodeDescription
    containers: Containers
    images: ImageStore
    networks: Networks
    swarm: Membership
    fabric: Fabric
    events: EventBus
    volumes: Volumes
    files: ContainerFiles
    pulls: Pulls
    tracing: Tracing
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def backend(self) -> str:
        """`ipvs` or `nft`: what balances the mesh on this node."""
        return self.fabric.backend

    async def fabric_difference(self) -> Operations:
        """What of this node's networks is not as it should be, as the kernel has it now. Raises OSError."""
        return await self.fabric.difference(self.networks.desired())

    def capture_socket(self, reference: str) -> socket.socket:
        """A socket that hears every packet of a container or task here, or of a network on this node. Raises NotFound, Conflict, OSError."""
        found = next((r for r in self.containers.records() if r.task_id and r.name.rpartition(".")[0] == reference), None)
        try:
            record = found or self.containers.find(reference)
        except NotFound:
            return capture.open_socket(*self.networks.where(reference))
        if not self.containers.is_running(record):
            raise Conflict(f"container {record.id} is not running")
        if not record.attachments:
            raise Conflict(f"container {record.id} has no network of its own")
        return capture.open_socket(self.networks.namespace(record.id), "")

    async def fabric_path(self, port: int) -> tuple[Hop, ...]:
        """Each hop that a packet to a published port takes here, read from the kernel. Raises FabricError when nothing is published there."""
        return await self.fabric.path(self.networks.desired(), port)
