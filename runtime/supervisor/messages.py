"""What the supervisor and its clients say to each other: shapes only. Encoded as msgpack, one message per datagram
(supervisor/datagrams.py).

A client opens with Hello and then sends Requests, each with a number of its own choice; answers carry that number.
Number 0 is for events.
"""

from __future__ import annotations

import msgspec

from runtime.spec import ContainerSpec, ContainerState, ExecSpec, Exited, IdRange, Limits

VERSION = 2


class Message(msgspec.Struct, frozen=True, tag=True):
    """Base; encoded as maps with the class's name in `type`."""


class Hello(Message, frozen=True):
    version: int = VERSION


class Create(Message, frozen=True):
    spec: ContainerSpec


class Start(Message, frozen=True):
    """`key`: chosen once per intended start; the same key never starts twice."""

    container_id: str
    key: str


class Signal(Message, frozen=True):
    container_id: str
    number: int


class Wait(Message, frozen=True):
    container_id: str


class Remove(Message, frozen=True):
    container_id: str


class List(Message, frozen=True):
    pass


class Attach(Message, frozen=True):
    container_id: str


class CloseStdin(Message, frozen=True):
    """The supervisor lets go of the container's standard input: it ends when those who are attached close theirs."""

    container_id: str


class Resize(Message, frozen=True):
    container_id: str
    rows: int
    columns: int


class Pause(Message, frozen=True):
    """Answered once every process has stopped."""

    container_id: str


class Unpause(Message, frozen=True):
    container_id: str


class Update(Message, frozen=True):
    """`limits` in place of those of the specification."""

    container_id: str
    limits: Limits


class Where(Message, frozen=True):
    """Which cgroups a running container is in."""

    container_id: str


class NewNetwork(Message, frozen=True):
    """A network namespace that belongs to a new user namespace with these ids: one descriptor, `network`."""

    ids: IdRange


class Exec(Message, frozen=True):
    spec: ExecSpec


class ExecWait(Message, frozen=True):
    container_id: str
    exec_id: str


class ExecSignal(Message, frozen=True):
    container_id: str
    exec_id: str
    number: int


class ExecResize(Message, frozen=True):
    container_id: str
    exec_id: str
    rows: int
    columns: int


class Keep(Message, frozen=True):
    """The descriptors that come with this message, under `name`, in place of those before."""

    name: str


class Kept(Message, frozen=True):
    """Answered with Names."""


class Take(Message, frozen=True):
    """Duplicates of what is kept under `name`: answered with Streams, empty when nothing is. It stays kept."""

    name: str


class Drop(Message, frozen=True):
    name: str


class Subscribe(Message, frozen=True):
    """Events from now on, after the exits that are already known."""


class Shutdown(Message, frozen=True):
    """Kills and removes every container, then supervisor and stem end."""


class Halt(Message, frozen=True):
    """Stops every container and keeps all records; answered when none runs. Then supervisor and stem end."""

    grace_s: float


Call = (
    Hello | Create | Start | Signal | Wait | Remove | List | Attach | CloseStdin | Resize
    | Pause | Unpause | Update | Where | NewNetwork | Exec | ExecWait | ExecSignal | ExecResize | Keep | Kept | Take | Drop | Subscribe | Shutdown | Halt
)  # fmt: skip


class Request(msgspec.Struct, frozen=True):
    number: int
    call: Call


class Done(Message, frozen=True):
    """Nothing to say."""


class Again(Message, frozen=True):
    """Nothing has been done: this supervisor makes way for another, ask that one."""


class Welcome(Message, frozen=True):
    """`stem`: the stem's pid, 0 when it has died."""

    version: int
    pid: int
    stem: int = 0


class Started(Message, frozen=True):
    pid: int


class Ended(Message, frozen=True):
    exited: Exited


class Listed(Message, frozen=True):
    containers: tuple[ContainerState, ...]


class Cgroups(Message, frozen=True):
    """As runtime.cgroups.groups.Groups; all empty for a container that does not run."""

    folders: tuple[str, ...] = ()
    by_controller: tuple[tuple[str, str], ...] = ()
    unified: str = ""


class Names(Message, frozen=True):
    names: tuple[str, ...]


class Streams(Message, frozen=True):
    """`names` of the descriptors that come with this message, in order: stdin, stdout, stderr, tty; network. `pid` of an
    exec."""

    names: tuple[str, ...]
    pid: int = 0


class Failed(Message, frozen=True):
    """`kind`: fault, no-such-container, not-paused, start-failed."""

    kind: str
    text: str
    exit_status: int = 0


class Event(Message, frozen=True):
    """`kind`: exited (with `exited`), oom."""

    kind: str
    container_id: str
    exited: Exited | None = None


Answer = Done | Again | Welcome | Started | Ended | Listed | Cgroups | Names | Streams | Failed | Event


class Reply(msgspec.Struct, frozen=True):
    """Answer to request `number`; 0: an event."""

    number: int
    answer: Answer
