"""Encrypted overlays on machines whose kernel can't encrypt: their tasks are kept together on one node, or wait.

Between nodes an encrypted network is never cleartext, so a node without ESP reaches nobody else on it, and a task elsewhere would be cut off. Owns that rule;
asked by scheduler/filters.py. Counts nothing while every node of the cluster encrypts.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.model.ids import NetworkId, NodeId
from cluster.model.objects import Network, Node
from manager.index import Index
from manager.scheduler.usage import holds_node


class Seal:
    """The encrypted networks of some tasks that are being placed, and the nodes that have tasks or containers on them, growing as tasks are placed."""

    __slots__ = ("_index", "_names", "holders")

    def __init__(self, index: Index, names: tuple[str, ...], holders: set[NodeId]) -> None:
        self._index, self._names, self.holders = index, names, holders

    def verdict(self, node: Node) -> str:
        """Why a task on this node would be cut off from others; empty when it would not."""
        others = [self._index.nodes[n] for n in sorted(self.holders - {node.id}) if n in self._index.nodes]
        if not others:
            return ""
        what = f"encrypted network {', '.join(self._names)}"
        if not node.description.encrypts:
            return f"{what}: its kernel has no ESP (esp4, xfrm_user), and others of it are on {_name(others[0])}"
        plain = next((other for other in others if not other.description.encrypts), None)
        return f"{what}: others of it are on {_name(plain)}, whose kernel has no ESP (esp4, xfrm_user)" if plain is not None else ""


def seal_of(index: Index, network_ids: Sequence[NetworkId]) -> Seal | None:
    """None where nothing can be cut off: no encrypted network among these, or no node that can't encrypt."""
    if not network_ids:
        return None
    sealed = {n: index.networks[n] for n in network_ids if n in index.networks and _is_encrypted(index.networks[n])}
    if not sealed or all(node.description.encrypts for node in index.nodes.values()):
        return None
    holders = {task.node_id for task in index.tasks.values() if holds_node(task) and any(n.network_id in sealed for n in task.networks)}
    holders |= {node.id for node in index.nodes.values() if any(c.network_id in sealed and c.address for c in node.containers)}
    return Seal(index, tuple(network.spec.name for network in sealed.values()), holders)


def _is_encrypted(network: Network) -> bool:
    return any(name == "encrypted" for name, _ in network.spec.driver_opts)


def _name(node: Node) -> str:
    return node.description.hostname or node.id
