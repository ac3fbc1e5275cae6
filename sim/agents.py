"""Agents of the world: the real state machine of tasks (agent/step.py) over containers that take simulated time.

Owns what one node's agent knows, and what runs there, which outlives the agent's process. Follows the managers' stream
as agent/session.py and agent/worker.py do: a gap ends the session, a complete set is the truth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from agent.step import Action, Seen, step
from cluster.model.assignments import Assignments, SessionState, TaskItem
from cluster.model.ids import NodeId
from cluster.model.objects import NodeDescription, Task, TaskStatus
from cluster.model.specs import Platform, Resources
from cluster.model.task_state import TaskState
from cluster.wire.calls import Applied, IssueCertificate, IssuedCertificate, OpenSession, UpdateStatuses
from sim.failure import Broken
from sim.network import Connection
from sim.process import Process
from sim.told import Told
from sim.world import MS, SECOND, START_NS

if TYPE_CHECKING:
    from sim.cluster import SimCluster

AGENT_SIDE: Final = 0
RETRY_NS: Final = 250 * MS
FIRST_DIAL_NS: Final = SECOND
PREPARE_NS: Final = 40 * MS
BOOT_NS: Final = 60 * MS
STOP_NS: Final = 50 * MS
OLD_REPORTS: Final = 8
WORK_NS: Final = 3000 * MS  # of a job's task, at most and a tenth
FAILING_PERMILLE: Final = 200
FAILED: Final = 1

replace = msgspec.structs.replace


class Container:
    """What runs for one task. It belongs to the machine, not to the agent's process."""

    __slots__ = ("exit_code", "seen")

    def __init__(self) -> None:
        self.seen = Seen.NOTHING
        self.exit_code = 0


class Held:
    """One assigned task as its agent sees it."""

    __slots__ = ("busy", "status", "task")

    def __init__(self, task: Task) -> None:
        self.task = task
        self.status = task.status
        self.busy = False


class Agent:
    """One node."""

    def __init__(self, cluster: SimCluster, name: str, number: int) -> None:
        self._cluster = cluster
        self.name = name
        self.node_id = NodeId(name)
        self.process = Process(cluster.world, name)
        self._draws = cluster.world.draws.fork(name)
        self._description = NodeDescription(name, Platform("x86_64", "linux"), Resources(4_000_000_000, 8 << 30))
        self._address = f"10.{200 + number // 65536}.{number // 256 % 256}.{number % 256}"
        self._connection: Connection | None = None
        self._turn = number
        self._stream, self._version, self._offered = "", 0, ""  # what it has, of which stream, and which the session offers
        self._begun = False  # the session has told something
        self._held: dict[str, Held] = {}
        self.work_ended = 0  # containers of jobs that ran to their end
        self.told = Told()  # what the managers' stream says
        self._waiting: dict[str, TaskStatus] = {}
        self._sending: dict[str, TaskStatus] = {}
        self._old: list[tuple[str, TaskStatus]] = []
        self.containers: dict[str, Container] = {}
        self.removed = False
        self.certified = True  # its certificate has not expired

    # -- life

    def start(self) -> None:
        if self.process.alive or self.removed:
            return
        self.process.begin()
        self.process.later(self._draws.below(FIRST_DIAL_NS), self._dial)

    def crash(self, *, machine: bool) -> None:
        """The agent's process ends; containers go on, unless the whole machine goes."""
        if not self.process.alive:
            return
        self._cluster.world.note(self.name, "its machine goes down" if machine else "its agent is killed")
        self._cluster.world.occurred["machine down" if machine else "agent killed"] += 1
        self.process.end()
        self._cluster.network.hang_up(self.process)
        self._connection, self._begun = None, False
        self._stream, self._version = "", 0
        self._held.clear()
        self.told.clear()
        self._waiting.clear()
        self._sending.clear()
        if machine:
            for container in self.containers.values():
                if container.seen is not Seen.NOTHING:
                    container.seen, container.exit_code = Seen.ENDED, 137

    @property
    def running(self) -> tuple[str, ...]:
        """Tasks whose containers run, whatever anybody believes."""
        return tuple(task_id for task_id, c in self.containers.items() if c.seen in (Seen.PROVING, Seen.WELL, Seen.UNHEALTHY))

    # -- the session

    def _dial(self) -> None:
        if self._connection is not None:
            return
        managers = self._cluster.managers
        manager = managers[self._turn % len(managers)]
        hear = self._cluster.control.at_manager(manager, self.node_id)
        connection = self._cluster.network.connect(self.process, manager.process, (self._hear, hear))
        if connection is None:
            self._dial_later()
            return
        self._connection, self._begun = connection, False
        hello = OpenSession(self._description, self._address, stream=self._stream, version=self._version)
        connection.send(AGENT_SIDE, hello if self.certified else IssueCertificate(""))

    def _dial_later(self) -> None:
        self._turn += 1
        self.process.later(RETRY_NS + self._draws.below(RETRY_NS), self._dial)

    def _hear(self, connection: Connection, message: object) -> None:
        if connection is not self._connection:
            return
        if message is None:
            self._lose()
        elif isinstance(message, Assignments):
            self._take(connection, message)
        elif isinstance(message, SessionState):
            self._offered = message.stream
        elif isinstance(message, IssuedCertificate):
            self._cluster.world.note(self.name, "has a new certificate")
            self.certified = True
            self._lose()
        elif isinstance(message, bool):
            self._acknowledged(durable=message)

    def _lose(self) -> None:
        if self._connection is not None:
            self._connection.close(AGENT_SIDE)
        self._connection, self._begun = None, False
        self._requeue()
        self._dial_later()

    def expire(self) -> None:
        """Its certificate has expired while it was away, as on a suspended machine: no session before it has been renewed."""
        self._cluster.world.note(self.name, "finds its certificate expired")
        self._cluster.world.occurred["certificate expired"] += 1
        self.certified = False
        if self._connection is not None:
            self._lose()

    def _take(self, connection: Connection, message: Assignments) -> None:
        if not message.complete and (not (self._begun or self._stream) or message.applies_to != self._version):
            self._cluster.world.note(self.name, f"has version {self._version}, hears {message.applies_to}: begins anew")
            self._stream = ""
            self._lose()
            return
        tasks: dict[str, Task] = {}
        if self.told.take(message):
            self._check_secrets()
            tasks = {item.task.id: item.task for item in message.upserts if type(item) is TaskItem}
        if message.complete:
            known = (*self._held, *(task_id for task_id in self.containers if task_id not in self._held))
            gone = [task_id for task_id in known if task_id not in tasks]
        else:
            gone = [key.removeprefix("task/") for key in message.removals if key.startswith("task/")]
        for task_id in gone:
            self._discard(task_id)
        for task in tasks.values():
            self._assign(task)
        if not self._begun:
            self._cluster.world.occurred["session resumed"] += not message.complete
        self._begun, self._version, self._stream = True, message.results_in, self._offered
        connection.send(AGENT_SIDE, Applied(message.results_in))
        self._send_reports()

    @property
    def secrets(self) -> set[str]:
        """Ids of those that it was told, and may know still."""
        return {item.secret.id for item in self.told.secrets.values()}

    def _check_secrets(self) -> None:
        """It knows no secret that none of the tasks that it was told of uses. Raises Broken."""
        tasks = [item.task for item in self.told.tasks.values()]
        if spare := self.secrets.difference(*map(secrets_of, tasks)):
            raise Broken(f"{self.name} is told of secret {min(spare)}, which none of its tasks uses")

    # -- tasks

    def _assign(self, task: Task) -> None:
        if task.status.state < TaskState.ASSIGNED:
            raise Broken(f"{self.name} is told of task {task.id}, which is {task.status.state.name}")
        held = self._held.get(task.id)
        if held is None:
            held = self._held[task.id] = Held(task)
            self._resume(held)
        else:
            held.task = task
            if task.status.state > held.status.state:
                held.status = task.status
            elif task.status.state < held.status.state:
                self._report(task.id, held.status)  # the managers missed it
        self._advance(held)

    def _resume(self, held: Held) -> None:
        """Take up what an earlier life of this agent did (agent/executor.py)."""
        container = self.containers.get(held.task.id)
        if container is None or held.status.state > TaskState.RUNNING:
            return
        if container.seen is Seen.WELL and held.status.state != TaskState.RUNNING:
            self._say(held, TaskState.RUNNING, "started")
        elif container.seen is Seen.NOTHING and held.status.state > TaskState.READY:
            held.status = replace(held.status, state=TaskState.READY)

    def _discard(self, task_id: str) -> None:
        self._held.pop(task_id, None)
        self._waiting.pop(task_id, None)
        self.containers.pop(task_id, None)

    def _advance(self, held: Held) -> None:
        """As far as it goes without waiting."""
        task_id = held.task.id
        while not held.busy and self._held.get(task_id) is held:
            container = self.containers.get(task_id)
            action = step(held.status.state, held.task.desired_state, container.seen if container else Seen.NOTHING)
            if not self._perform(held, container, action):
                return

    def _perform(self, held: Held, container: Container | None, action: Action) -> bool:
        """False when there is something to wait for."""
        match action:
            case Action.ACCEPT:
                self._say(held, TaskState.ACCEPTED, "accepted")
            case Action.PREPARE:
                self._say(held, TaskState.PREPARING, "preparing")
                return self._wait(held, PREPARE_NS, self._prepared)
            case Action.START:
                if lacking := secrets_of(held.task) - self.secrets:
                    raise Broken(f"{self.name} is to start task {held.task.id} without {min(lacking)}")
                self._say(held, TaskState.STARTING, "starting")
                if container is None:
                    container = self.containers[held.task.id] = Container()
                container.seen = Seen.PROVING
                return self._wait(held, BOOT_NS, self._booted)
            case Action.CONFIRM:
                self._say(held, TaskState.RUNNING, "started")
            case Action.CONCLUDE:
                code = container.exit_code if container else 137
                state = TaskState.FAILED if code else TaskState.COMPLETE
                self._say(held, state, "started", f"task: non-zero exit ({code})" if code else "", code)
            case Action.CONDEMN:
                self._stop(held)
                self._say(held, TaskState.FAILED, "started", "task: unhealthy container", FAILED)
            case Action.STOP:
                return self._wait(held, STOP_NS, self._stopped)
            case Action.RELEASE:
                self.containers.pop(held.task.id, None)
                return False
            case Action.PROVE:
                return self._wait(held, BOOT_NS, self._booted) if container is not None and container.seen is Seen.PROVING else False
            case Action.HOLD | Action.WATCH | Action.REST:
                return False
        return True

    def _wait(self, held: Held, most_ns: int, then: object) -> bool:
        held.busy = True
        self.process.later(most_ns // 2 + self._draws.below(most_ns), self._done, held, then)
        return False

    def _done(self, held: Held, then: object) -> None:
        held.busy = False
        if self._held.get(held.task.id) is held:
            assert callable(then)
            then(held)
            self._advance(held)

    def _prepared(self, held: Held) -> None:
        self.containers.setdefault(held.task.id, Container())
        self._say(held, TaskState.READY, "prepared")

    def _booted(self, held: Held) -> None:
        container = self.containers[held.task.id]
        if container.seen is Seen.PROVING:
            container.seen = Seen.WELL
            if held.task.job_iteration:
                took_ns = WORK_NS // 10 + self._draws.below(WORK_NS)
                self._cluster.world.later(took_ns, self._finish, held.task.id, container, FAILED if self._draws.chance(FAILING_PERMILLE) else 0)

    def _finish(self, task_id: str, container: Container, code: int) -> None:
        """A job's program has done its work, or failed at it, whether or not its agent sees it."""
        if self.containers.get(task_id) is container and container.seen is Seen.WELL:
            container.seen, container.exit_code = Seen.ENDED, code
            self.work_ended += 1
            self._cluster.world.note(self.name, f"the container of task {task_id} exits with {code}")
            if (held := self._held.get(task_id)) is not None and self.process.alive:
                self.process.later(0, self._advance, held)

    def _stopped(self, held: Held) -> None:
        self._stop(held)
        if held.status.state <= TaskState.RUNNING:
            self._say(held, TaskState.SHUTDOWN, "shutdown")

    def _stop(self, held: Held) -> None:
        container = self.containers.get(held.task.id)
        if container is not None and container.seen is not Seen.NOTHING:
            container.seen = Seen.ENDED

    def fail_one(self) -> None:
        """Some container that runs ends by itself, badly."""
        running = self.running
        if not running:
            return
        task_id = self._draws.choice(running)
        container = self.containers[task_id]
        container.seen, container.exit_code = Seen.ENDED, FAILED
        self._cluster.world.occurred["task failed"] += 1
        self._cluster.world.note(self.name, f"the container of task {task_id} exits")
        if (held := self._held.get(task_id)) is not None and self.process.alive:
            self.process.later(0, self._advance, held)

    # -- reports

    def _say(self, held: Held, state: TaskState, message: str, err: str = "", code: int = 0) -> None:
        at_ns = START_NS + self._cluster.world.now_ns + self.process.wall_skew_ns
        held.status = TaskStatus(state, at_ns, message, err, held.task.id, exit_code=code)
        self._report(held.task.id, held.status)

    def _report(self, task_id: str, status: TaskStatus) -> None:
        """As agent/reporter.py: the latest of each task, never one that is further back."""
        before = self._waiting.get(task_id)
        if before is None or before.state <= status.state:
            if not self._waiting:
                self.process.later(0, self._send_reports)
            self._waiting[task_id] = status

    def _send_reports(self) -> None:
        if self._connection is None or not self._begun or self._sending or not self._waiting:
            return
        self._sending, self._waiting = self._waiting, {}
        self._old = [*self._old, *self._sending.items()][-OLD_REPORTS:]
        self._connection.send(AGENT_SIDE, UpdateStatuses(tuple(self._sending.items())))

    def _acknowledged(self, *, durable: bool) -> None:
        if durable:
            self._sending = {}
        else:
            self._requeue()
        self._send_reports()

    def _requeue(self) -> None:
        sending, self._sending = self._sending, {}
        for task_id, status in sending.items():
            self._report(task_id, status)

    def lie(self) -> None:
        """Say again what was true once, as a message that comes very late would."""
        if self._connection is not None and self._begun and self._old:
            self._cluster.world.occurred["late report"] += 1
            self._cluster.world.note(self.name, "reports what was true once")
            self._connection.send(AGENT_SIDE, UpdateStatuses((self._old[0],)))


def secrets_of(task: Task) -> set[str]:
    """Ids of those that it uses."""
    return {file.id for file in task.spec.container.secrets}
