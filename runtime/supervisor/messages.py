"""What the supervisor and its clients say to each other: shapes only. Encoded as msgpack, one message per datagram (supervisor/datagrams.py).

A client opens with Hello and then sends Requests, each with a number of its own choice; answers carry that number. Number 0 is for events.
"""

from __future__ import annotations

import msgspec

from runtime.spec import ContainerSpec, ContainerState, ExecSpec, Exited

VERSION = 1


class Message(msgspec.Struct, frozen=True, tag=True):
    """Base; encoded as maps with the class's name in `type`."""


class Hello(Message):
    version: int = VERSION


class Create(Message):
    spec: ContainerSpec


class Start(Message):
    """`key`: chosen once per intended start; the same key never starts twice."""

    container_id: str
    key: str


class Signal(Message):
    container_id: str
    number: int


class Wait(Message):
    container_id: str


class Remove(Message):
    container_id: str


class List(Message):
    pass


class Attach(Message):
    container_id: str


class CloseStdin(Message):
    """The supervisor lets go of the container's standard input: it ends when those who are attached close theirs."""

    container_id: str


class Resize(Message):
    container_id: str
    rows: int
    columns: int


class Exec(Message):
    spec: ExecSpec


class ExecWait(Message):
    container_id: str
    exec_id: str


class ExecSignal(Message):
    container_id: str
    exec_id: str
    number: int


class ExecResize(Message):
    container_id: str
    exec_id: str
    rows: int
    columns: int


class Subscribe(Message):
    """Events from now on, after the exits that are already known."""


class Shutdown(Message):
    """Kills and removes every container, then supervisor and stem end."""


Call = (
    Hello | Create | Start | Signal | Wait | Remove | List | Attach | CloseStdin | Resize
    | Exec | ExecWait | ExecSignal | ExecResize | Subscribe | Shutdown
)  # fmt: skip


class Request(msgspec.Struct, frozen=True):
    number: int
    call: Call


class Done(Message):
    """Nothing to say."""


class Welcome(Message):
    version: int
    pid: int


class Started(Message):
    pid: int


class Ended(Message):
    exited: Exited


class Listed(Message):
    containers: tuple[ContainerState, ...]


class Streams(Message):
    """`names` of the descriptors that come with this message, in order: stdin, stdout, stderr, tty. `pid` of an exec."""

    names: tuple[str, ...]
    pid: int = 0


class Failed(Message):
    """`kind`: fault, no-such-container, start-failed."""

    kind: str
    text: str
    exit_status: int = 0


class Event(Message):
    """`kind`: exited (with `exited`), oom."""

    kind: str
    container_id: str
    exited: Exited | None = None


Answer = Done | Welcome | Started | Ended | Listed | Streams | Failed | Event


class Reply(msgspec.Struct, frozen=True):
    """Answer to request `number`; 0: an event."""

    number: int
    answer: Answer
