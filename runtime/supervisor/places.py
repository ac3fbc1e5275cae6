"""Where the runtime keeps its things below a node's run and state folders. Paths only.

`run`: sockets, locks, FIFOs, the folder that roots are attached to; gone with the machine. `state`: one file per
container, exit records; survives.
"""

from __future__ import annotations

import os
from typing import NamedTuple


class Places(NamedTuple):
    run: str
    state: str

    @property
    def folder(self) -> str:
        """0700; everything else of `run` is in here."""
        return os.path.join(self.run, "runtime")

    @property
    def socket(self) -> str:
        return os.path.join(self.folder, "supervisor.sock")

    @property
    def stem_lock(self) -> str:
        return os.path.join(self.folder, "stem.lock")

    @property
    def supervisor_lock(self) -> str:
        return os.path.join(self.folder, "supervisor.lock")

    @property
    def journal(self) -> str:
        """What stem and supervisor write on standard error."""
        return os.path.join(self.folder, "supervisor.log")

    @property
    def mount_point(self) -> str:
        return os.path.join(self.folder, "root")

    @property
    def chunk_note(self) -> str:
        """Where the chunk of output goes that is being written."""
        return os.path.join(self.folder, "chunk")

    @property
    def exits(self) -> str:
        """Exit records of processes that the stem inherited, named <pid>.<start time>."""
        return os.path.join(self.state, "exits")

    @property
    def streams(self) -> str:
        """FIFOs named <container>.<stream>."""
        return os.path.join(self.folder, "streams")

    def stream(self, container_id: str, name: str) -> str:
        return os.path.join(self.streams, f"{container_id}.{name}")

    def container(self, container_id: str) -> str:
        """Its journal."""
        return os.path.join(self.state, container_id)
