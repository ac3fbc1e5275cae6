"""Why tasks are where they are, and where they would be."""

from __future__ import annotations

from cluster.model.specs import NetworkSpec
from cluster.wire.calls.body import Body
from cluster.wire.calls.control import ServiceWrite


class Why(Body, frozen=True):
    reference: str  # a task or service: id, prefix or name (`test`, `test.1`, `test.1.<id>`)


class WhyTask(Body, frozen=True):
    """One task explained. `nodes`: (hostname, verdict in words: the filters that turned it down, or its rank). `story`: (time ns, sentence)."""

    id: str
    name: str
    state: str
    desired: str
    node: str
    summary: str
    nodes: tuple[tuple[str, str], ...] = ()
    story: tuple[tuple[int, str], ...] = ()


class WhyAnswer(Body, frozen=True):
    kind: str  # service, task
    name: str
    id: str
    tasks: tuple[WhyTask, ...] = ()


class Preview(Body, frozen=True):
    """Requests that are not made: networks to be, then services to be made (without id) or updated."""

    networks: tuple[NetworkSpec, ...] = ()
    services: tuple[ServiceWrite, ...] = ()


class PreviewTask(Body, frozen=True):
    """`node`: its hostname, empty where there is none. `why`: in words; `nodes`: of a task that finds no place, each node's verdict."""

    name: str
    node: str
    why: str
    nodes: tuple[tuple[str, str], ...] = ()


class PreviewService(Body, frozen=True):
    """What would become of one service's tasks. `kept`: how many go on as they are."""

    name: str
    id: str
    placed: tuple[PreviewTask, ...]
    stopped: tuple[PreviewTask, ...]
    waiting: tuple[PreviewTask, ...]
    kept: int


class PreviewAnswer(Body, frozen=True):
    """`settled`: whether the cluster came to rest within what a preview may take."""

    services: tuple[PreviewService, ...]
    settled: bool
