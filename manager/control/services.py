"""Services, as users write them: create, update, roll back, remove.

Pure: each function takes the store, the request, the time and a source of randomness and returns the changes to
propose and the answer. Never plans: tasks, addresses and port numbers are the planner's. Source: SwarmKit
controlapi/service.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import msgspec

from cluster.model import schedule
from cluster.model.changes import Change, Kind, created, deleted, updated
from cluster.model.errors import Conflict, FailedPrecondition, InvalidArgument, NotFound, OutOfSequence, Unsupported
from cluster.model.ids import ID_RANDOM_BYTES, ServiceId, make_id
from cluster.model.objects import Meta, Service, UpdateState, UpdateStatus
from cluster.model.specs import NODE_NETWORKS, NetworkAttachmentConfig, PortConfig, PublishMode, ServiceSpec
from cluster.wire.calls import Ids, Remove, ServiceWrite
from manager.control import dependencies, validate
from manager.store import Store


def create(store: Store, request: ServiceWrite, now_ns: int, rng: Random) -> tuple[tuple[Change, ...], Ids]:
    """A new service. Raises InvalidArgument (bad spec, port taken), NotFound (a network), Conflict (name taken)."""
    validate.service_spec(request.spec)
    dependencies.check_targets(request.spec)
    dependencies.check_present(store, request.spec)
    spec = _with_network_ids(store, request.spec)
    _refuse_taken_ports(store, spec, service_id="")
    _refuse_without_ingress(store, spec)
    if store.by_name(Kind.SERVICE, spec.name) is not None:
        raise Conflict(f"name conflicts with an existing object: service {spec.name} already exists")
    service = Service(
        id=ServiceId(make_id(rng.randbytes(ID_RANDOM_BYTES))),
        spec=spec,
        meta=Meta(created_at_ns=now_ns, updated_at_ns=now_ns),
    )
    if spec.mode.kind.is_job:
        service = msgspec.structs.replace(service, job_iteration=0 if schedule.of(spec.labels) else 1, job_begun_at_ns=now_ns)
    return (created(service),), Ids(service.id)


def update(store: Store, request: ServiceWrite, now_ns: int, rng: Random) -> tuple[tuple[Change, ...], Ids]:
    """A service with a new spec, or with its previous one (`rollback`). The replaced spec becomes the previous one.

    Raises NotFound, OutOfSequence, FailedPrecondition (nothing to roll back to), InvalidArgument (bad spec, mode or
    name changed, port taken).
    """
    service = _service(store, request.id)
    if request.rollback:
        if service.previous_spec is None:
            raise FailedPrecondition(f"service {service.id} does not have a previous spec")
        spec = service.previous_spec
        status = UpdateStatus(UpdateState.ROLLBACK_STARTED, started_at_ns=now_ns, message="manually requested rollback")
    else:
        spec, status = _replacement(store, service, request.spec), None
    _refuse_taken_ports(store, spec, service_id=service.id)
    _refuse_without_ingress(store, spec)
    if request.version != service.meta.version:  # last, as in SwarmKit: what is wrong in itself is said first
        raise OutOfSequence
    after = msgspec.structs.replace(
        service,
        spec=spec,
        previous_spec=service.spec,
        update_status=status,
        meta=msgspec.structs.replace(service.meta, updated_at_ns=now_ns),
    )
    if spec.mode.kind.is_job:
        after = _run_again(service, after, now_ns)
    return (updated(after),), Ids(service.id)


def _run_again(before: Service, after: Service, now_ns: int) -> Service:
    """An update runs a job again; a scheduled one waits for its time, which counts from now on when the schedule is another. `--force`
    is now."""
    old, new = schedule.of(before.spec.labels), schedule.of(after.spec.labels)
    forced = after.spec.task.force_update != before.spec.task.force_update
    if new and not forced:
        return after if new == old else msgspec.structs.replace(after, job_begun_at_ns=now_ns)
    return msgspec.structs.replace(after, job_iteration=before.job_iteration + 1, job_begun_at_ns=now_ns)


def remove(store: Store, request: Remove, now_ns: int, rng: Random) -> tuple[tuple[Change, ...], Ids]:
    """The service goes at once; the planner ends its tasks. Raises NotFound."""
    service = _service(store, request.id)
    return (deleted(service),), Ids(service.id)


def _service(store: Store, service_id: str) -> Service:
    service = store.get(Kind.SERVICE, service_id)
    if service is None:
        raise NotFound(f"service {service_id} not found")
    return service


def _replacement(store: Store, service: Service, spec: ServiceSpec) -> ServiceSpec:
    validate.service_spec(spec)
    if spec.mode.kind is not service.spec.mode.kind:
        raise InvalidArgument("service mode change is not allowed")
    if spec.name != service.spec.name:
        raise Unsupported("renaming services is not supported")
    dependencies.check_targets(spec)
    dependencies.check_present(store, spec)
    return _with_network_ids(store, spec)


def _with_network_ids(store: Store, spec: ServiceSpec) -> ServiceSpec:
    """`spec` with its networks named by id, all of them in the task's list."""
    wanted = spec.task.networks or spec.networks
    if not wanted:
        return spec
    attachments: list[NetworkAttachmentConfig] = []
    for attachment in wanted:
        if attachment.target in NODE_NETWORKS:
            if any(a.target == attachment.target for a in attachments):
                raise InvalidArgument(f"network {attachment.target} is specified more than once")
            attachments.append(attachment)
            continue
        network = store.find(Kind.NETWORK, attachment.target)
        if network.spec.ingress:
            raise InvalidArgument(f'Service cannot be explicitly attached to the ingress network "{network.spec.name}"')
        if any(a.target == network.id for a in attachments):
            raise InvalidArgument(f"network {network.spec.name} is specified more than once")
        attachments.append(msgspec.structs.replace(attachment, target=network.id))
    if len(attachments) > 1 and any(a.target == "host" for a in attachments):
        raise InvalidArgument("conflicting options: cannot attach both user-defined and non-user-defined network-modes")
    return msgspec.structs.replace(spec, task=msgspec.structs.replace(spec.task, networks=tuple(attachments)), networks=())


def _refuse_taken_ports(store: Store, spec: ServiceSpec, service_id: str) -> None:
    """InvalidArgument when a fixed published port is another service's. Host-mode ports of two services conflict only
    on one node, which is the scheduler's."""
    asked = {(p.protocol, p.published_port): p.publish_mode for p in (spec.endpoint.ports if spec.endpoint else ()) if p.published_port}
    if not asked:
        return
    for other in store.all(Kind.SERVICE):
        if other.id == service_id:
            continue
        for port in _published(other):
            mode = asked.get((port.protocol, port.published_port))
            if mode is None or (mode is PublishMode.HOST and port.publish_mode is PublishMode.HOST):
                continue
            kind = "an ingress port" if port.publish_mode is PublishMode.INGRESS else "a host-published port"
            raise InvalidArgument(f"port '{port.published_port}' is already in use by service '{other.spec.name}' ({other.id}) as {kind}")


def _refuse_without_ingress(store: Store, spec: ServiceSpec) -> None:
    """FailedPrecondition when ports are to be published through the mesh, whose network somebody has removed."""
    meshed = any(p.publish_mode is PublishMode.INGRESS for p in (spec.endpoint.ports if spec.endpoint else ()))
    if meshed and not any(network.spec.ingress for network in store.all(Kind.NETWORK)):
        raise FailedPrecondition("service needs ingress network, but no ingress network is present")


def _published(service: Service) -> Iterator[PortConfig]:
    if service.spec.endpoint is not None:
        yield from service.spec.endpoint.ports
    if service.endpoint is not None:
        yield from service.endpoint.ports
