"""Addresses of users' containers on the cluster's attachable overlays: asked of the managers, held as long as the container has them, given up.

Owns which of them this node holds. The managers make and keep them (an attachment is part of its node's object).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Protocol

from agent.assigned_networks import AssignedNetworks
from agent.leases import Wanted
from agent.local_networks import LocalNetworks
from agent.records import NetworkWish
from cluster.model.errors import NotFound, PermissionDenied
from cluster.model.ids import ID_RANDOM_BYTES, make_id
from cluster.wire.calls import Attach, Attached


class Attacher(Protocol):
    """The cluster, which gives containers of one's own their addresses on attachable overlays."""

    async def attach(self, request: Attach) -> Attached: ...

    def detach(self, attachment_id: str) -> None: ...


class Attachments:
    """State: the ids of the attachments that containers of users here have, or wait for."""

    def __init__(self, locals_: LocalNetworks, assigned: AssignedNetworks) -> None:
        self._locals, self._assigned = locals_, assigned
        self._held: set[str] = set()
        self.cluster: Attacher | None = None

    def held(self) -> tuple[str, ...]:
        return tuple(self._held)

    def hold(self, attachment_id: str) -> None:
        """A container that runs already has it."""
        self._held.add(attachment_id)

    async def find_all(self, container_id: str, names: tuple[str, ...], wishes: tuple[NetworkWish, ...]) -> tuple[Wanted, ...]:
        """The networks asked for; on an overlay without an address of the cluster's, one is asked for. `names`: what the container answers to there.
        Raises NotFound, what the cluster says; nothing is held then."""
        found: list[Wanted] = []
        try:
            for wish in wishes:
                found += [await self._find(container_id, names, wish)]
        except BaseException:
            self.give_up(one.task_id for one in found)
            raise
        return tuple(found)

    async def _find(self, container_id: str, names: tuple[str, ...], wish: NetworkWish) -> Wanted:
        item = self._assigned.get(wish.network)
        if item is not None and (wish.assigned or "/" in wish.address):
            return Wanted(wish, item)
        if wish.assigned:  # it is gone, and its task is about to go
            raise NotFound(f"network {wish.network} not found")
        try:
            local = self._locals.find(wish.network, whole=bool(self._assigned.node_id))
        except NotFound:
            if self.cluster is None or not self._assigned.node_id:
                raise
            local = None
        if local is not None and local.config_only:
            raise PermissionDenied("cannot create endpoint on configuration-only network")
        if local is not None and not local.swarm:
            return Wanted(wish, local)
        if self.cluster is None:
            raise NotFound(f"network {wish.network} not found")
        attachment_id = make_id(os.urandom(ID_RANDOM_BYTES))
        self._held.add(attachment_id)
        try:
            aliases = tuple(dict.fromkeys((*names, *wish.aliases)))
            asked = Attach(attachment_id, container_id, wish.network, wish.address.partition("/")[0], aliases, wish.address6)
            given = await self.cluster.attach(asked)
            item = await self._assigned.wait(given.network_id)
        except NotFound:
            self.give_up((attachment_id,))
            return Wanted(wish, self._locals.find(wish.network))  # no name: a part of an id of this node's own
        except BaseException:
            self.give_up((attachment_id,))
            raise
        return Wanted(wish, item, attachment_id, given.address)

    def give_up(self, attachment_ids: Iterable[str]) -> None:
        """These are over; the cluster is told now, or when the next session begins."""
        for attachment_id in attachment_ids:
            if attachment_id in self._held:
                self._held.discard(attachment_id)
                if self.cluster is not None:
                    self.cluster.detach(attachment_id)
