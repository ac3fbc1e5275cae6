"""`/events?filters={"type":{"task":true}}`: every transition of every task, who moved it and why, as a timeline needs them.

Owns what is told of a change of a task, live and, for `since`, from what the task itself remembers. Docker has no such events: they come only when they are
asked for, so that its own stream stays as it is. Never decides anything.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import aclosing
from typing import Final

import trio

from agent.engine import lookup
from agent.engine.call import Call, Filters
from agent.engine.convert import SECOND_NS, mapping
from agent.events import Event
from cluster.model.changes import KIND_TYPES, Kind
from cluster.model.errors import NotLeader
from cluster.model.objects import Task, TaskStatus, task_name
from cluster.model.task_state import TaskState, is_final, is_wished, title
from cluster.wire.calls import Query, Watched, WatchKinds
from cluster.wire.codec import decode

TYPE: Final = "task"
_BY_MANAGER: Final = frozenset({TaskState.NEW, TaskState.PENDING, TaskState.ASSIGNED, TaskState.ORPHANED})


async def task_events(call: Call, filters: Filters, since_ns: int | None, until_ns: int) -> AsyncGenerator[Event, None]:
    """What happened from `since_ns` (None: nothing) on, then what happens, until `until_ns` (0: for ever)."""
    known: dict[str, Task] | None = None
    nodes: dict[str, str] = {}
    while True:
        try:
            async with call.node.swarm.stream("control.watch", WatchKinds((Kind.TASK,))) as commits:
                async with aclosing(_commits(commits, until_ns)) as arriving:
                    async for commit in arriving:
                        if not commit.changes:  # the stream begins: all until now is to be read
                            tasks: dict[str, Task] = {task.id: task for task in (await lookup.query(call.node, Query(Kind.TASK))).tasks}
                            nodes = await _hostnames(call)
                            told: Iterable[Event] = _first(tasks, since_ns, until_ns) if known is None else _between(known, tasks)
                            known = tasks
                        else:
                            told = _of_commit(known if known is not None else {}, commit)
                        for event in told:
                            if _node_of(event) not in nodes:
                                nodes = await _hostnames(call)
                            named = _with_hostname(event, nodes)
                            if concerns(named, filters):
                                yield named
            return
        except NotLeader:
            continue


async def _commits(commits: AsyncIterator[Watched], until_ns: int) -> AsyncGenerator[Watched, None]:
    """Those that come in time; the first, which says where the stream begins, in any case."""
    commit = await anext(commits, None)
    while commit is not None:
        yield commit
        left_s = max(until_ns - time.time_ns(), 0) / SECOND_NS if until_ns else math.inf
        commit = None
        with trio.move_on_after(left_s):
            commit = await anext(commits, None)


async def _hostnames(call: Call) -> dict[str, str]:
    nodes = (await lookup.query(call.node, Query(Kind.NODE))).nodes
    return {"": ""} | {node.id: node.description.hostname or node.id for node in nodes}


def _first(tasks: Mapping[str, Task], since_ns: int | None, until_ns: int) -> list[Event]:
    if since_ns is None:
        return []
    told = (event for task in tasks.values() for event in remembered(task))
    return sorted((e for e in told if e.time_ns >= since_ns and not (until_ns and e.time_ns > until_ns)), key=lambda e: e.time_ns)


def _between(known: Mapping[str, Task], tasks: Mapping[str, Task]) -> list[Event]:
    pairs = [(known.get(id_), tasks.get(id_)) for id_ in {**known, **tasks}]
    return sorted((event for before, after in pairs for event in changed(before, after)), key=lambda e: e.time_ns)


def _of_commit(known: dict[str, Task], commit: Watched) -> Iterator[Event]:
    for _, _, id_, encoded in commit.changes:
        before = known.pop(id_, None)
        after: Task | None = None
        if encoded:
            found = decode(encoded, KIND_TYPES[Kind.TASK])
            assert isinstance(found, Task)
            after = known[id_] = found
        yield from changed(before, after)


def remembered(task: Task) -> Iterator[Event]:
    """A task's life so far, from what it keeps of it: what was wished of one that is to stop, before that, it does not. Pure."""
    then = _as_it_was if is_wished(task.desired_state) else _without_wish
    yield then(_event(task, "create", task.meta.created_at_ns, cause=task.cause, by="manager"))
    if task.stop_cause and not is_wished(task.desired_state):  # when is not kept: at the latest when it ended
        latest_ns = min(task.meta.updated_at_ns, task.status.timestamp_ns) if is_final(task.status.state) else task.meta.updated_at_ns
        yield _event(task, _WISHES.get(task.desired_state, "stop"), latest_ns, cause=task.stop_cause, by="manager")
    yield from map(then, _states(task, None))


def _as_it_was(event: Event) -> Event:
    return event


def _without_wish(event: Event) -> Event:
    return Event(event.type, event.action, event.actor_id, tuple(pair for pair in event.attributes if pair[0] != "desired"), event.scope, event.time_ns)


def changed(before: Task | None, after: Task | None) -> Iterator[Event]:
    """What one commit did to a task. Pure."""
    if after is None:
        if before is not None:
            yield _event(before, "forget", time_ns=0, cause="it is history that is no longer kept, or of a service that is gone", by="manager")
        return
    if before is None:
        yield _event(after, "create", after.meta.created_at_ns, cause=after.cause, by="manager")
        yield from _states(after, None)
        return
    if after.desired_state is not before.desired_state:
        cause = after.stop_cause if not is_wished(after.desired_state) else "its delay is over and the task before it has stopped"
        yield _event(after, _WISHES.get(after.desired_state, "release"), after.meta.updated_at_ns, cause=cause, by="manager")
    yield from _states(after, before.status.state)


_WISHES: Final = {TaskState.SHUTDOWN: "stop", TaskState.REMOVE: "remove"}


def _states(task: Task, last: TaskState | None) -> Iterator[Event]:
    """The states that it has come to after `last`, also those between two reports."""
    for status in (*task.history, task.status):
        if last is not None and status.state <= last:
            continue
        if last is not None or status.state is not TaskState.NEW:
            yield _state_event(task, status, last)
        last = status.state


def _state_event(task: Task, status: TaskStatus, last: TaskState | None) -> Event:
    by_manager = status.state in _BY_MANAGER or not task.node_id or (last is not None and last < TaskState.ASSIGNED)
    extra = {"from": title(last) if last is not None else "", "exitCode": str(status.exit_code) if status.exit_code else ""}
    return _event(task, title(status.state), status.timestamp_ns, cause=status.err or status.message, by="manager" if by_manager else "agent", **extra)


def _event(task: Task, action: str, time_ns: int, **attributes: str) -> Event:
    said = {
        "name": task_name(task), "service": task.service_name, "serviceID": task.service_id, "nodeID": task.node_id,
        "desired": title(task.desired_state), **attributes,
    }  # fmt: skip
    return Event(TYPE, action, task.id, tuple((key, value) for key, value in said.items() if value), "swarm", time_ns or time.time_ns())


def _node_of(event: Event) -> str:
    return mapping(event.attributes).get("nodeID", "")


def _with_hostname(event: Event, nodes: Mapping[str, str]) -> Event:
    node = nodes.get(_node_of(event), _node_of(event))
    attributes = (*event.attributes, ("node", node)) if node else event.attributes
    return Event(event.type, event.action, event.actor_id, attributes, event.scope, event.time_ns)


def concerns(event: Event, filters: Filters) -> bool:
    """Whether the filters let a task's event through. Pure. Different names must all match, values of one name are alternatives."""
    said = mapping(event.attributes)
    alternatives: dict[str, Iterable[str]] = {
        "event": (event.action,), "scope": (event.scope,), "service": (said["service"], said["serviceID"]),
        "node": (said.get("node", ""), said.get("nodeID", "")), "task": (event.actor_id, said["name"]),
    }  # fmt: skip
    return all(name == "type" or any(value in alternatives.get(name, ()) for value in wanted) for name, wanted in filters.items() if wanted)
