"""One node, assembled: what agent/engine serves. Owns nothing itself; agent/daemon.py opens and closes the parts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

    async def fabric_path(self, port: int) -> tuple[Hop, ...]:
        """Each hop that a packet to a published port takes here, read from the kernel. Raises FabricError when nothing is published there."""
        return await self.fabric.path(self.networks.desired(), port)
