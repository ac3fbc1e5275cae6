"""What many tasks have in common is kept once: their service's specification and the words and ids that recur.

A store of a hundred thousand tasks is a third smaller for it. Owns which fields those are; never changes what a task says. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from sys import intern
from typing import Any, Final

import msgspec

from cluster.model.objects import Meta, Service, Task, TaskNetwork, TaskStatus
from cluster.model.specs import TaskSpec

_intern: Final[Callable[[str], Any]] = intern
"""Of an id, the same sort of id."""


def shared(task: Task, spec: TaskSpec, meta: Meta, status: TaskStatus, history: tuple[TaskStatus, ...]) -> Task:
    """The task over the shared words, with these in the place of its own: of the specification what is equal to it, of the others what is shared already."""
    return msgspec.structs.replace(
        task,
        spec=spec,
        meta=meta,
        service_id=_intern(task.service_id),
        service_name=_intern(task.service_name),
        node_id=_intern(task.node_id) if task.node_id else task.node_id,
        status=status,
        networks=tuple(_network(network) for network in task.networks) if task.networks else (),
        history=history,
        cause=_intern(task.cause),
        stop_cause=_intern(task.stop_cause) if task.stop_cause else "",
    )


def as_shared(task: Task, spec: TaskSpec, meta: Meta) -> Task:
    """The task over the shared words, its statuses too."""
    history = tuple(shared_status(status, task.status) for status in task.history) if task.history else ()
    return shared(task, spec, meta, shared_status(task.status, task.status), history)


def stamped(meta: Meta, version: int, created: int) -> Meta:
    """As of this version, with one number for two equal times."""
    at_ns = meta.created_at_ns
    return Meta(version, at_ns, at_ns if meta.updated_at_ns == at_ns else meta.updated_at_ns, created)


def shared_status(status: TaskStatus, beside: TaskStatus) -> TaskStatus:
    """An equal status; the container's id is that of the status `beside` it where they are the same."""
    message = _intern(status.message)
    container_id = beside.container_id if status.container_id == beside.container_id else status.container_id
    pid = beside.pid if status.pid == beside.pid else status.pid
    if message is status.message and container_id is status.container_id and pid is status.pid:
        return status
    return msgspec.structs.replace(status, message=message, container_id=container_id, pid=pid)


def _network(network: TaskNetwork) -> TaskNetwork:
    return msgspec.structs.replace(network, network_id=_intern(network.network_id))


def with_shared(services: Iterable[Service], tasks: Iterable[Task]) -> Iterator[Task]:
    """The tasks over shared words, with one specification for all that have an equal one of the same service: a restored store is as small as a
    grown one.
    """
    known: dict[tuple[str, int], TaskSpec] = {(service.id, service.spec_version): service.spec.task for service in services}
    numbers: dict[int, int] = {}  # entries' indexes and slots: many tasks have the same
    for task in tasks:
        spec = known.setdefault((task.service_id, task.spec_version), task.spec)
        version, created, slot, of_spec = (numbers.setdefault(n, n) for n in (task.meta.version, task.meta.created, task.slot, task.spec_version))
        once = as_shared(task, spec if spec == task.spec else task.spec, stamped(task.meta, version, created))
        yield msgspec.structs.replace(once, slot=slot, spec_version=of_spec)
