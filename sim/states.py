"""What a world looks like at one moment, in lines for people: its managers, and what their leader's store says of the
nodes. Looks only.
"""

from __future__ import annotations

from typing import Final

from manager.raft.ready import NOBODY
from manager.store import Store
from sim.cluster import SimCluster
from sim.manager import Manager
from sim.properties import view_of

MAX_NODES: Final = 12
"""Lines for nodes."""


def lines_of(cluster: SimCluster) -> tuple[str, ...]:
    rows = [_manager(manager) for manager in cluster.managers]
    store = _latest(cluster)
    if store is not None and cluster.control.agents:
        nodes = view_of(store, cluster.world.now_ns).lines()
        rows += nodes[:MAX_NODES]
        if len(nodes) > MAX_NODES:
            rows.append(f"and {len(nodes) - MAX_NODES} more")
    return tuple(rows)


def _manager(manager: Manager) -> str:
    if manager.member is None:
        return f"{manager.name}: down" + (f" ({manager.damage})" if manager.damage else ", its disk lost" if manager.wiped else "")
    raft = manager.member.raft
    log, vote = raft.log, f"voted for m{raft.vote}" if raft.vote != NOBODY else "no vote"
    log_now = f"log to {log.last} (term {log.last_term}), {log.stable} on disk, {log.committed} committed"
    return f"{manager.name}: {raft.role.value} in term {raft.term}, {vote}, {log_now}{', paused' if manager.process.paused else ''}"


def _latest(cluster: SimCluster) -> Store | None:
    """The leader's, or the one that has applied most."""
    leader = cluster.leader()
    if leader is not None:
        return leader.store
    living = [manager for manager in cluster.managers if manager.member is not None]
    return max(living, key=lambda manager: manager.applied).store if living else None
