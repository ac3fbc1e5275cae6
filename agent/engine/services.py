"""`/services`: list, create, inspect, update, remove, logs. The managers decide; this converts and counts."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Final

import msgspec

from agent import names
from agent.engine import lookup
from agent.engine.answers import json_answer
from agent.engine.call import Call, matches_labels, matches_prefix
from agent.engine.convert import mapping
from agent.engine.convert_services import Counts, service_json, service_spec_of
from agent.engine.swarm_logs import logs_answer
from cluster.model.changes import Kind
from cluster.model.decimals import is_natural, number_fault
from cluster.model.errors import InvalidArgument
from cluster.model.objects import Service, Task
from cluster.model.specs import ServiceModeKind, ServiceSpec
from cluster.model.task_state import TaskState, is_wished
from cluster.wire.calls import Ids, Query, Remove, ServiceWrite
from cluster.wire.http import Response
from runtime.images import auth

FILTERS: Final = frozenset({"id", "label", "mode", "name", "runtime"})


async def list_(call: Call) -> Response:
    filters, with_status = call.filters(FILTERS), call.strict_flag("status")
    found = (await lookup.query(call.node, Query(Kind.SERVICE))).services
    services = [
        service
        for service in found
        if matches_prefix(service.id, filters.get("id", ()))
        and matches_prefix(service.spec.name, filters.get("name", ()))
        and matches_labels(mapping(service.spec.labels), filters.get("label", ()))
        and (not filters.get("mode") or service.spec.mode.kind.value in filters["mode"])
        and (not filters.get("runtime") or service.spec.task.runtime in filters["runtime"])
    ]
    if not with_status or not services:
        return json_answer([service_json(service) for service in services])
    wanted = tuple(service.id for service in services)
    tasks = (await lookup.query(call.node, Query(Kind.TASK, services=wanted))).tasks
    return json_answer([service_json(service, counts=count(service, tasks)) for service in services])


def count(service: Service, tasks: Iterable[Task]) -> Counts:
    """How many of its tasks run, are wanted and have completed, as `service ls` shows. Of a job a slot counts once: where a node came back that was taken
    for dead, two tasks may have done the same work. Pure."""
    mode = service.spec.mode
    own = [task for task in tasks if task.service_id == service.id]
    if mode.kind.is_job:
        own = [task for task in own if task.job_iteration == service.job_iteration]
    running = sum(task.status.state is TaskState.RUNNING for task in own)
    completed = len({task.slot or task.node_id for task in own if task.status.state is TaskState.COMPLETE}) if mode.kind.is_job else 0
    if mode.kind is ServiceModeKind.REPLICATED:
        desired = 1 if mode.replicas is None else mode.replicas
    elif mode.kind is ServiceModeKind.REPLICATED_JOB:
        desired = 1 if mode.max_concurrent is None else mode.max_concurrent
    else:
        desired = sum(is_wished(task.desired_state) and task.status.state is not TaskState.COMPLETE for task in own)
    return Counts(running, desired, completed)


async def create(call: Call) -> Response:
    spec = service_spec_of(await call.fields())
    if not spec.name:  # as `docker service create nginx` of the seed
        taken = {service.spec.name for service in (await lookup.query(call.node, Query(Kind.SERVICE))).services}
        spec = msgspec.structs.replace(spec, name=names.generate(os.urandom(names.RANDOM_BYTES), taken))
    spec = _with_registry_auth(spec, call.request.headers.get("x-registry-auth", ""))
    answer = await call.node.swarm.call("control.service_create", ServiceWrite(spec))
    assert isinstance(answer, Ids)
    return json_answer({"ID": answer.id, "Warnings": list(answer.warnings)}, 201)


async def inspect(call: Call) -> Response:
    service = await lookup.service(call.node, call.names["id"])
    networks = await lookup.networks_of_service(call.node, service)
    return json_answer(service_json(service, networks, insert_defaults=call.strict_flag("insertDefaults")))


async def update(call: Call) -> Response:
    spec = service_spec_of(await call.fields())
    version = version_of(call, "service")
    rollback = call.text("rollback")
    if rollback not in ("", "none", "previous"):
        raise InvalidArgument(f"unrecognized rollback option {rollback}")
    service = await lookup.service(call.node, call.names["id"])
    source = call.text("registryAuthFrom", "spec") or "spec"
    if source not in ("spec", "previous-spec"):
        raise InvalidArgument(f"unsupported registryAuthFrom {source}")
    known = service.previous_spec if source == "previous-spec" else service.spec
    given = call.request.headers.get("x-registry-auth", "")
    spec = _with_registry_auth(spec, given or (known.task.container.registry_auth if known else ""))
    request = ServiceWrite(spec, service.id, version, rollback=rollback == "previous")
    answer = await call.node.swarm.call("control.service_update", request)
    assert isinstance(answer, Ids)
    return json_answer({"Warnings": list(answer.warnings)})


def _with_registry_auth(spec: ServiceSpec, header: str) -> ServiceSpec:
    """The credentials with which the nodes pull; what says nothing is not kept."""
    if auth.from_header(header) == auth.ANONYMOUS:
        return spec
    container = msgspec.structs.replace(spec.task.container, registry_auth=header)
    return msgspec.structs.replace(spec, task=msgspec.structs.replace(spec.task, container=container))


async def remove(call: Call) -> Response:
    service = await lookup.service(call.node, call.names["id"])
    await call.node.swarm.call("control.service_remove", Remove(service.id))
    return Response(200)


async def logs(call: Call) -> Response:
    service = await lookup.service(call.node, call.names["id"])
    return logs_answer(call, tty=service.spec.task.container.tty, services=(service.id,))


NAMED_ONLY: Final = frozenset({"secret", "config"})
"""Of these Docker does not say what is wrong with the version."""


def version_of(call: Call, kind: str) -> int:
    """The `version` that every update of a cluster object must name."""
    text = call.text("version")
    if not is_natural(text):
        if kind in NAMED_ONLY:
            raise InvalidArgument(f"invalid {kind} version")
        raise InvalidArgument(f"invalid {kind} version '{text}': strconv.ParseUint: parsing \"{text}\": {number_fault(text, signed=False)}")
    return int(text)
