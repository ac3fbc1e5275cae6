"""Why a manager does not leave its swarm without `--force`. Pure. Source: moby daemon/cluster/swarm.go, Leave."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from cluster.model.ids import NodeId
from cluster.model.objects import Node

MANAGER: Final = "You are attempting to leave the swarm on a node that is participating as a manager. "
LAST: Final = "Removing the last manager erases all current state of the swarm. Use `--force` to ignore this message. "
NO_LEADER: Final = "Doing so may lose the consensus of your cluster. "
RESTORE: Final = (
    "The only way to restore a swarm that has lost consensus is to reinitialize it with `--force-new-cluster`. Use `--force` to suppress this message."
)


def refusal(nodes: Iterable[Node] | None, own: NodeId) -> str:
    """The sentence for the manager `own` of this cluster; `nodes` is None when nobody could be asked."""
    if nodes is None:
        return MANAGER + NO_LEADER + RESTORE
    managers = {node.id: node.manager for node in nodes if node.manager is not None}
    left = sum(manager.reachable for id_, manager in managers.items() if id_ != own)  # Docker counts this one as reachable, whose own disk may have failed
    if left * 2 > len(managers):
        return MANAGER + RESTORE
    if len(managers) == 1:
        return MANAGER + LAST
    lost = f"Removing this node leaves {left} managers out of {len(managers)}. Without a Raft quorum your swarm will be inaccessible. "
    return MANAGER + lost + RESTORE
