from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sim.cluster import SimCluster
    from sim.manager import Manager


class ControlPlane:
    def __init__(self, cluster: SimCluster) -> None:
        self._cluster = cluster

    def start(self) -> None: ...
    def agent_names(self) -> list[str]:
        return []

    def missing(self, leader: Manager) -> str:
        return ""

    def changed(self, manager: Manager) -> None: ...
    def follow(self, manager: Manager) -> None: ...
