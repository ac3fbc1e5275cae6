"""Whether a certificate still counts: a node that was removed is turned away however long its certificate holds, and the role that
counts is the one in the store. Pure.

Owns the rule; cluster/wire/permissions.py has looked at the certificate's own role before. A removed node is revoked for ever,
for the store does not know it: nothing has to be remembered until it expires.
"""

from __future__ import annotations

from cluster.model.changes import Kind
from cluster.model.errors import PermissionDenied
from cluster.model.objects import Node
from cluster.model.specs import Role
from cluster.wire import calls
from cluster.wire.peer import Caller
from manager.store import Store


def admit(store: Store, caller: Caller, contract: calls.Call) -> None:
    """Return when the caller may make the call, as far as the store tells; that of a manager which is joining tells nothing yet. Raises PermissionDenied."""
    if contract.caller is calls.Caller.ANYONE or not store.all(Kind.CLUSTER):
        return
    node = store.get(Kind.NODE, caller.node_id)
    if not isinstance(node, Node):
        raise PermissionDenied(f"node {caller.node_id} is not of this swarm")
    if contract.caller is calls.Caller.MANAGER and Role.MANAGER not in (node.role, node.spec.role):
        raise PermissionDenied(f"{contract.name}: node {caller.node_id} is no manager any more")
