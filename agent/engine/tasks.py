"""`/tasks`: list, inspect, logs."""

from __future__ import annotations

from typing import Final

import trio
from msgspec import structs

from agent.engine import lookup
from agent.engine.answers import json_answer
from agent.engine.call import CAPITAL_UNTIL, Call, Filters, matches_labels, matches_prefix
from agent.engine.convert_tasks import task_json, task_labels, tasks_json
from agent.engine.swarm_logs import logs_answer
from cluster.model.changes import Kind
from cluster.model.errors import InvalidArgument
from cluster.model.objects import Endpoint, Service, Task, container_name
from cluster.model.task_state import TaskState, title
from cluster.wire.calls import Query
from cluster.wire.http import Response

MANY: Final = 2000
"""Tasks whose conversion takes longer than others should wait."""
FILTERS: Final = frozenset({"id", "label", "name", "node", "service", "desired-state", "_up-to-date", "runtime"})
DESIRED: Final = {title(state): state for state in TaskState}


async def list_(call: Call) -> Response:
    """Services and nodes are named by id, name or prefix; one that is not there is an error, as in Docker."""
    filters = call.filters(FILTERS)
    for state in filters.get("desired-state", ()):
        if state.lower() not in DESIRED:
            old = call.version < CAPITAL_UNTIL
            raise InvalidArgument(f"Invalid desired-state filter: '{state}'" if old else f"invalid filter 'desired-state=[{state}]'")
    services = [await lookup.service(call.node, reference) for reference in filters.get("service", ())]
    nodes = []
    for reference in filters.get("node", ()):
        own = call.node.swarm.node_id if reference == "self" else reference
        nodes.append((await lookup.member(call.node, own)).id)
    request = Query(Kind.TASK, services=tuple(service.id for service in services), nodes=tuple(nodes))
    tasks = list((await lookup.query(call.node, request)).tasks)
    if filters:
        tasks = [task for task in tasks if _matches(task, filters)]
    if (fresh := call.truth(filters, "_up-to-date")) is not None and tasks:
        if not services:
            services = list((await lookup.query(call.node, Query(Kind.SERVICE))).services)
        by_id = {service.id: service for service in services}
        tasks = [task for task in tasks if _up_to_date(task, by_id.get(task.service_id)) is fresh]
    networks = await lookup.networks_of(call.node, tasks)
    if len(tasks) < MANY:
        return json_answer(tasks_json(tasks, networks))
    return await trio.to_thread.run_sync(lambda: json_answer(tasks_json(tasks, networks)))  # the loop serves others meanwhile


def _up_to_date(task: Task, service: Service | None) -> bool:
    """Whether the task runs what its service asks for now; a change of scale or labels alone leaves it so."""
    if service is None:
        return False
    if task.spec_version == service.spec_version:
        return True
    wanted = service.spec.task
    if service.spec.networks and not wanted.networks:
        wanted = structs.replace(wanted, networks=service.spec.networks)
    return task.spec == wanted and (task.endpoint or Endpoint()) == (service.endpoint or Endpoint())


def _matches(task: Task, filters: Filters) -> bool:
    desired = tuple(state.lower() for state in filters.get("desired-state", ()))
    return (
        matches_prefix(task.id, filters.get("id", ()))
        and matches_prefix(container_name(task), filters.get("name", ()))
        and matches_labels(task_labels(task), filters.get("label", ()))
        and (not desired or title(task.desired_state) in desired)
        and (not filters.get("runtime") or task.spec.runtime in filters["runtime"])
    )


async def inspect(call: Call) -> Response:
    task = await lookup.task(call.node, call.names["id"])
    return json_answer(task_json(task, await lookup.networks_of(call.node, (task,))))


async def logs(call: Call) -> Response:
    task = await lookup.task(call.node, call.names["id"])
    return logs_answer(call, tty=task.spec.container.tty, tasks=(task.id,))
