"""What all parts of the supervisor share: the loop, the host's facts, the containers. Owns no behaviour beyond looking things up and saving them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from runtime.cgroups.detect import Layout
from runtime.cgroups.groups import Parents
from runtime.child.host import Host
from runtime.errors import NoSuchContainer
from runtime.supervisor import journal
from runtime.supervisor.journal import ProcessRecord, StateRecord
from runtime.supervisor.keeper import Keeper
from runtime.supervisor.loop import Loop
from runtime.supervisor.messages import Event
from runtime.supervisor.places import Places
from runtime.supervisor.reaper import Process, Reaper
from runtime.supervisor.states import Container


@dataclass(slots=True)
class Context:
    """`home`: this process's pid namespace. `stem`: the parent that started it. `publish` reaches all who subscribed."""

    places: Places
    loop: Loop
    reaper: Reaper
    keeper: Keeper
    layout: Layout
    parents: Parents
    host: Host
    boot_id: str
    home: int
    stem: int
    publish: Callable[[Event], None]
    containers: dict[str, Container] = field(default_factory=dict)

    def container(self, container_id: str) -> Container:
        """Raises NoSuchContainer."""
        found = self.containers.get(container_id)
        if found is None:
            raise NoSuchContainer(f"No such container: {container_id}")
        return found

    def record_of(self, process: Process) -> ProcessRecord:
        return ProcessRecord(process.pid, process.start_time, self.boot_id)

    def save(self, container: Container) -> None:
        """The container's state. Only an end must survive the machine as well as this process: a running one does not. Raises OSError."""
        process = None if container.process is None else self.record_of(container.process)
        phase, key = str(container.phase), container.start_key
        record = StateRecord(phase, process, container.started_at_ns, key, container.exited)
        journal.write(container.folder, journal.STATE, record, durable=container.exited is not None)
