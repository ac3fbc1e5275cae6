"""Whether a certificate still counts: a node that was removed is turned away however long its certificate holds, and the role that
counts is the one in the store. Pure.

Owns the rule; cluster/wire/permissions.py has looked at the certificate's own role before. A removed node is revoked for ever,
for the store does not know it: nothing has to be remembered until it expires.
"""

from __future__ import annotations

from typing import Final

from cluster.model.changes import Kind
from cluster.model.errors import ClusterError, NodeRemoved, NoManager, NotLeader
from cluster.model.objects import Node
from cluster.model.specs import Role
from cluster.wire import calls
from cluster.wire.peer import Caller
from manager.store import Store

FOLLOW: Final = "raft.follow"
"""A member that is far behind has to answer a leader that it has not heard of yet, or it never hears of it: there the certificate
and Raft's own fence of removed members have to do (manager/peers.py)."""


def admit(store: Store, leader: str | None, caller: Caller, contract: calls.Call) -> None:
    """Return when the caller may make the call, as far as the store tells. `leader`: None when this manager leads, else the
    leader's host:port (empty: not known): who is not known here yet is judged there. Raises NodeRemoved, NoManager, NotLeader."""
    if contract.caller is calls.Caller.ANYONE or not (refusal := _refusal(store, caller, contract)):
        return
    if leader is None:
        raise refusal
    if contract.name != FOLLOW:
        raise NotLeader(leader)


def _refusal(store: Store, caller: Caller, contract: calls.Call) -> ClusterError | None:
    node = store.get(Kind.NODE, caller.node_id)
    if not isinstance(node, Node):
        return NodeRemoved(f"node {caller.node_id} is not of this swarm")
    if contract.caller is calls.Caller.MANAGER and Role.MANAGER not in (node.role, node.spec.role):
        return NoManager(f"{contract.name}: node {caller.node_id} is no manager any more")
    return None
