from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sim.cluster import SimCluster
from sim.scenario import Step, What


def _write(cluster: SimCluster, step: Step) -> None:
    client = next((c for c in cluster.clients if c.name == step.who), None)
    if client is not None:
        client.write(step.text, step.amount)


def _read(cluster: SimCluster, step: Step) -> None:
    client = next((c for c in cluster.clients if c.name == step.who), None)
    if client is not None:
        client.read(step.text)


OPERATIONS: Final[dict[What, Callable[[SimCluster, Step], None]]] = {What.WRITE: _write, What.READ: _read}
