"""The containers that the supervisor knows and the table of their phases. Only `move` changes a phase.

created --start--> starting --executed--> running --ended--> exited --start--> starting
                       `--failed--> created
whatever phase --remove--> removing, and then the container is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from runtime.cgroups.groups import Groups
from runtime.errors import RuntimeFault
from runtime.spec import ContainerSpec, ContainerState, ExecSpec, Exited
from runtime.supervisor.output import Output
from runtime.supervisor.reaper import Process


class Phase(StrEnum):
    CREATED = "created"
    STARTING = "starting"
    RUNNING = "running"
    EXITED = "exited"
    REMOVING = "removing"


class Happening(StrEnum):
    START = "start"
    EXECUTED = "executed"
    FAILED = "failed"
    ENDED = "ended"
    REMOVE = "remove"


TRANSITIONS: dict[tuple[Phase, Happening], Phase] = {
    (Phase.CREATED, Happening.START): Phase.STARTING,
    (Phase.EXITED, Happening.START): Phase.STARTING,
    (Phase.STARTING, Happening.EXECUTED): Phase.RUNNING,
    (Phase.STARTING, Happening.FAILED): Phase.CREATED,
    (Phase.RUNNING, Happening.ENDED): Phase.EXITED,
    (Phase.CREATED, Happening.REMOVE): Phase.REMOVING,
    (Phase.STARTING, Happening.REMOVE): Phase.REMOVING,
    (Phase.RUNNING, Happening.REMOVE): Phase.REMOVING,
    (Phase.EXITED, Happening.REMOVE): Phase.REMOVING,
    (Phase.REMOVING, Happening.REMOVE): Phase.REMOVING,
    (Phase.REMOVING, Happening.EXECUTED): Phase.REMOVING,
    (Phase.REMOVING, Happening.FAILED): Phase.REMOVING,
    (Phase.REMOVING, Happening.ENDED): Phase.REMOVING,
}

OnEnd = Callable[[Exited], None]
OnStart = Callable[[RuntimeFault | None], None]
"""Called once: None when the program runs."""


@dataclass(slots=True)
class RunningExec:
    """A process that joined a container. `exited` once it has ended."""

    spec: ExecSpec | None
    process: Process | None
    terminal: int = -1  # our duplicate of the pty's master
    exited: Exited | None = None
    waiters: list[OnEnd] = field(default_factory=list)


@dataclass(slots=True)
class Container:
    spec: ContainerSpec
    file: str  # its journal
    phase: Phase = Phase.CREATED
    process: Process | None = None
    started_at_ns: int = 0
    start_key: str = ""
    exited: Exited | None = None
    output: Output | None = None
    master: int = -1  # terminal: the pty's master, read by `output` through a duplicate
    slave: int = -1  # terminal: kept open, so that the master never hangs up before its time
    devpts: int = -1  # terminal: the detached devpts mount of the next start
    stdin_keeper: int = -1  # open_stdin: while it is open the container's input does not end
    stdin_ended: bool = False  # let go of the input as soon as the container has it
    paused: bool = False
    group: str = ""  # the groups' name in the present or the last run; empty: from the id
    groups: Groups | None = None
    leaving: int = 0  # groups of ended runs that are still there
    oom_watch: int = -1
    oom_told: bool = False  # since the watch began
    oom_kills_before: int = 0  # the watch
    execs: dict[str, RunningExec] = field(default_factory=dict)
    waiters: list[OnEnd] = field(default_factory=list)
    when_started: list[OnStart] = field(default_factory=list)
    when_idle: list[Callable[[], None]] = field(default_factory=list)
    when_left: list[Callable[[], None]] = field(default_factory=list)  # once no groups are leaving

    @property
    def group_name(self) -> str:
        return self.group or self.spec.id[:12]

    def move(self, happening: Happening) -> None:
        """Raises KeyError (our bug) for a happening that this phase can't have."""
        self.phase = TRANSITIONS[self.phase, happening]

    def state(self) -> ContainerState:
        """As `list` shows it: a container that is starting is still created, one that is being removed has its last
        public phase."""
        public = {Phase.STARTING: Phase.CREATED, Phase.REMOVING: Phase.EXITED if self.exited else Phase.CREATED}
        phase = public.get(self.phase, self.phase)
        pid = self.process.pid if self.process is not None and phase is Phase.RUNNING else 0
        return ContainerState(self.spec.id, str(phase), pid, self.started_at_ns, self.exited if phase is Phase.EXITED else None, self.paused)
