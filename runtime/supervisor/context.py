"""What all parts of the supervisor share: the loop, the host's facts, the containers. Owns no behaviour beyond
looking things up and saving them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from runtime.cgroups.detect import Layout
from runtime.cgroups.groups import Parents
from runtime.child.host import Host
from runtime.errors import NoSuchContainer
from runtime.seccomp.filters import Filters
from runtime.supervisor import journal
from runtime.supervisor.births import Births
from runtime.supervisor.chunks import Chunks
from runtime.supervisor.journal import ProcessRecord, StateRecord
from runtime.supervisor.keeper import Keeper
from runtime.supervisor.lists import Lists
from runtime.supervisor.loop import Loop
from runtime.supervisor.messages import Event
from runtime.supervisor.packer import Packer
from runtime.supervisor.places import Places
from runtime.supervisor.reaper import Process, Reaper
from runtime.supervisor.reserve import Reserve
from runtime.supervisor.states import Container


@dataclass(slots=True)
class Context:
    """`home`: this process's pid namespace. `stem`: the parent that started it. `publish` reaches all who
    subscribed."""

    places: Places
    loop: Loop
    reaper: Reaper
    keeper: Keeper
    packer: Packer
    chunks: Chunks
    births: Births
    reserve: Reserve
    layout: Layout
    parents: Parents
    host: Host
    lists: Lists
    filters: Filters
    boot_id: str
    home: int
    stem: int
    publish: Callable[[Event], None]
    containers: dict[str, Container] = field(default_factory=dict)
    halting: bool = False
    kept: dict[str, tuple[int, ...]] = field(default_factory=dict)  # descriptors that the node has asked to be kept, by name (supervisor/shelf.py)

    def container(self, container_id: str) -> Container:
        """Raises NoSuchContainer."""
        found = self.containers.get(container_id)
        if found is None:
            raise NoSuchContainer(f"No such container: {container_id}")
        return found

    def record_of(self, process: Process) -> ProcessRecord:
        return ProcessRecord(process.pid, process.start_time, self.boot_id)

    def save(self, container: Container) -> None:
        """The container's state, before something happens. Raises OSError."""
        journal.append(container.file, self._state(container), durable=False)

    def save_happened(self, container: Container) -> None:
        """The container's state, after something has happened. Only an end must survive the machine: a running
        process does not either."""
        durable = container.exited is not None
        journal.append_if_possible(container.file, self._state(container), durable=durable)

    def _state(self, container: Container) -> StateRecord:
        process = None if container.process is None else self.record_of(container.process)
        return StateRecord(str(container.phase), process, container.started_at_ns, container.start_key, container.exited, container.group)
