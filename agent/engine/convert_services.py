"""ServiceSpec and Service between the API's JSON and our values, and the defaults that `service inspect` fills in. Pure.

Source: the Engine API's Service, version 1.51; swarmkit/api/defaults/service.go for the defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from agent.engine.convert import Json, Present, filled, mapping, meta_json, ordered, time_text
from agent.engine.convert_networks import node_network_id
from agent.engine.convert_task_specs import CONTAINER_ORDER, attachments_json, attachments_of, task_spec_json, task_spec_of
from agent.engine.fields import Fields
from cluster.model.errors import InvalidArgument
from cluster.model.objects import Endpoint, Network, Service, UpdateStatus, VirtualIp
from cluster.model.specs import (
    NODE_NETWORKS,
    EndpointMode,
    EndpointSpec,
    FailureAction,
    PortConfig,
    PublishMode,
    ServiceMode,
    ServiceModeKind,
    ServiceSpec,
    UpdateConfig,
    UpdateOrder,
)
from cluster.model.twins import twin

NO_NETWORKS: Final[Mapping[str, Network]] = MappingProxyType({})
STOP_GRACE_NS: Final = 10_000_000_000
RESTART_DELAY_NS: Final = 5_000_000_000
MONITOR_NS: Final = 5_000_000_000
MODES: Final = {
    "Replicated": ServiceModeKind.REPLICATED,
    "Global": ServiceModeKind.GLOBAL,
    "ReplicatedJob": ServiceModeKind.REPLICATED_JOB,
    "GlobalJob": ServiceModeKind.GLOBAL_JOB,
}


def service_spec_of(fields: Fields) -> ServiceSpec:
    """Raises InvalidArgument for wrong types and unknown enumeration values; whether the spec makes sense is the manager's business."""
    return ServiceSpec(
        name=fields.text("Name"),
        task=task_spec_of(fields.section("TaskTemplate")),
        labels=fields.pairs("Labels"),
        mode=_mode_of(fields.section("Mode")),
        update=_update_of(fields.object("UpdateConfig")),
        rollback=_update_of(fields.object("RollbackConfig")),
        endpoint=_endpoint_of(fields.object("EndpointSpec")),
        networks=attachments_of(fields, "Networks"),
    )


def _mode_of(fields: Fields) -> ServiceMode:
    given = [name for name in MODES if fields.has(name)]
    if len(given) > 1:
        raise InvalidArgument("must specify only one service mode")
    if not given:
        return ServiceMode()
    mode, kind = fields.section(given[0]), MODES[given[0]]
    if kind is ServiceModeKind.REPLICATED_JOB:
        return ServiceMode(kind, mode.optional_natural("TotalCompletions"), mode.optional_natural("MaxConcurrent"))
    return ServiceMode(kind, mode.optional_natural("Replicas") if kind is ServiceModeKind.REPLICATED else None)


def _update_of(fields: Fields | None) -> UpdateConfig | None:
    if fields is None:
        return None
    action, order = fields.text("FailureAction") or "pause", fields.text("Order") or "stop-first"
    if action not in list(FailureAction):
        raise InvalidArgument(f"unrecognized update failure action {action}")
    if order not in list(UpdateOrder):
        raise InvalidArgument(f"unrecognized update order {order}")
    return UpdateConfig(
        parallelism=fields.natural("Parallelism"),
        delay_ns=fields.integer("Delay"),
        failure_action=FailureAction(action),
        monitor_ns=fields.integer("Monitor") or None,
        max_failure_ratio=fields.number("MaxFailureRatio"),
        order=UpdateOrder(order),
    )


def _endpoint_of(fields: Fields | None) -> EndpointSpec | None:
    if fields is None:
        return None
    mode = fields.text("Mode") or "vip"
    if mode not in list(EndpointMode):
        raise InvalidArgument(f'invalid resolution mode: "{mode}"')
    return EndpointSpec(EndpointMode(mode), tuple(_port_of(item) for item in fields.objects("Ports")))


def _port_of(fields: Fields) -> PortConfig:
    mode = fields.text("PublishMode") or "ingress"
    if mode not in list(PublishMode):
        raise InvalidArgument(f'invalid PublishMode: "{mode}"')
    return PortConfig(
        protocol=fields.text("Protocol") or "tcp",
        target_port=fields.natural("TargetPort"),
        published_port=fields.natural("PublishedPort"),
        publish_mode=PublishMode(mode),
        name=fields.text("Name"),
    )


def service_spec_json(spec: ServiceSpec) -> Json:
    template = task_spec_json(spec.task) | {"Runtime": spec.task.runtime}
    out: Json = {"Name": spec.name, "Labels": mapping(spec.labels), "TaskTemplate": template, "Mode": _mode_json(spec.mode)}
    return out | filled(
        {
            "UpdateConfig": _update_json(spec.update),
            "RollbackConfig": _update_json(spec.rollback),
            "Networks": attachments_json(spec.networks),
            "EndpointSpec": endpoint_spec_json(spec.endpoint),
        }
    )


def _mode_json(mode: ServiceMode) -> Json:
    if mode.kind is ServiceModeKind.REPLICATED:
        return {"Replicated": {"Replicas": 1 if mode.replicas is None else mode.replicas}}
    if mode.kind is ServiceModeKind.REPLICATED_JOB:
        concurrent = 1 if mode.max_concurrent is None else mode.max_concurrent
        return {"ReplicatedJob": {"MaxConcurrent": concurrent, "TotalCompletions": concurrent if mode.replicas is None else mode.replicas}}
    return {"Global" if mode.kind is ServiceModeKind.GLOBAL else "GlobalJob": {}}


def _update_json(update: UpdateConfig | None) -> Json | None:
    if update is None:
        return None
    optional = filled({"Delay": update.delay_ns})
    monitor = filled({"Monitor": update.monitor_ns})
    ratio = int(update.max_failure_ratio) if update.max_failure_ratio.is_integer() else update.max_failure_ratio
    return (
        {"Parallelism": update.parallelism}
        | optional
        | {"FailureAction": update.failure_action.value}
        | monitor
        | {"MaxFailureRatio": ratio, "Order": update.order.value}
    )


def endpoint_spec_json(spec: EndpointSpec | None) -> Json | None:
    if spec is None:
        return None
    return filled({"Mode": spec.mode.value, "Ports": ports_json(spec.ports)})


def ports_json(ports: tuple[PortConfig, ...]) -> list[Json]:
    return [
        filled(
            {
                "Name": port.name,
                "Protocol": port.protocol,
                "TargetPort": port.target_port,
                "PublishedPort": port.published_port,
                "PublishMode": port.publish_mode.value,
            }
        )
        for port in ports
    ]


TASK_ORDER: Final = ("ContainerSpec", "NetworkAttachmentSpec", "Resources", "RestartPolicy", "Placement", "Networks", "LogDriver", "ForceUpdate", "Runtime")
UPDATE_ORDER: Final = ("Parallelism", "Delay", "FailureAction", "Monitor", "MaxFailureRatio", "Order")
RESTART_ORDER: Final = ("Condition", "Delay", "MaxAttempts", "Window")


def with_defaults(spec: Json) -> Json:
    """A spec's JSON with what the user left out filled in, for `insertDefaults=true`."""
    task = dict(spec["TaskTemplate"])
    container = {"StopGracePeriod": STOP_GRACE_NS, "DNSConfig": {}, "Isolation": "default"} | task["ContainerSpec"]
    task["ContainerSpec"] = ordered(container, CONTAINER_ORDER)
    task["Resources"] = task.get("Resources", {})
    restart: Json = {"Condition": "any"}
    if "RestartPolicy" not in task or "Delay" not in task["RestartPolicy"]:
        restart["Delay"] = RESTART_DELAY_NS
    task["RestartPolicy"] = ordered(restart | {"MaxAttempts": 0} | task.get("RestartPolicy", {}), RESTART_ORDER)
    task["Placement"] = task.get("Placement", {})
    update = {"Parallelism": 1, "FailureAction": "pause", "Monitor": MONITOR_NS, "MaxFailureRatio": 0, "Order": "stop-first"}
    filled_in: Json = {"TaskTemplate": ordered(task, TASK_ORDER)}
    for name in ("UpdateConfig", "RollbackConfig"):
        filled_in[name] = ordered(update | spec.get(name, {}), UPDATE_ORDER)
    endpoint = {"EndpointSpec": {"Mode": "vip"} | spec["EndpointSpec"]} if "EndpointSpec" in spec else {}
    return {name: value for name, value in spec.items() if name != "EndpointSpec"} | filled_in | endpoint


@dataclass(frozen=True, slots=True)
class Counts:
    """How many tasks of a service run, are wanted, have completed."""

    running: int
    desired: int
    completed: int


def service_json(service: Service, networks: Mapping[str, Network] = NO_NETWORKS, *, insert_defaults: bool = False, counts: Counts | None = None) -> Json:
    """`networks`: those of its virtual addresses, which have the IPv6 ones too then."""
    spec = service_spec_json(service.spec)
    out: Json = {"ID": service.id} | meta_json(service.meta) | {"Spec": with_defaults(spec) if insert_defaults else spec}
    if service.previous_spec is not None:
        previous = service_spec_json(service.previous_spec)
        out["PreviousSpec"] = with_defaults(previous) if insert_defaults else previous
    out["Endpoint"] = _endpoint_json(service.spec, service.endpoint, networks)
    if service.update_status is not None:
        out["UpdateStatus"] = _update_status_json(service.update_status)
    if counts is not None:
        out["ServiceStatus"] = {"RunningTasks": counts.running, "DesiredTasks": counts.desired, "CompletedTasks": counts.completed}
    if service.spec.mode.kind.is_job:
        out["JobStatus"] = {"JobIteration": iteration_json(service.job_iteration), "LastExecution": time_text(service.job_begun_at_ns)}
    return out


def iteration_json(iteration: int) -> Json:
    """Docker counts from 0 what we count from 1."""
    return filled({"Index": max(iteration - 1, 0)})


def _endpoint_json(service: ServiceSpec, endpoint: Endpoint | None, networks: Mapping[str, Network]) -> Json:
    """The nodes' own networks among the service's are told without an address."""
    spec = service.endpoint
    out: Json = {"Spec": Present(endpoint_spec_json(spec) or {})}
    balanced = spec is None or spec.mode is EndpointMode.VIP
    virtual = endpoint.virtual_ips if endpoint is not None and balanced else ()
    addresses = [filled({"NetworkID": vip.network_id, "Addr": address}) for vip in virtual for address in _both(vip, networks)]
    addresses += [{"NetworkID": node_network_id(n.target)} for n in (*service.task.networks, *service.networks) if balanced and n.target in NODE_NETWORKS]
    return out | filled({"Ports": ports_json(endpoint.ports) if endpoint is not None else (), "VirtualIPs": addresses})


def _both(vip: VirtualIp, networks: Mapping[str, Network]) -> tuple[str, ...]:
    """Its addresses; an empty one where each node makes the network for itself."""
    network = networks.get(vip.network_id)
    return (vip.address, *((six,) if network is not None and (six := twin(network, vip.address)) else ()))


def _update_status_json(status: UpdateStatus) -> Json:
    out: Json = {"State": status.state.value}
    if status.started_at_ns:
        out["StartedAt"] = time_text(status.started_at_ns)
    if status.completed_at_ns:
        out["CompletedAt"] = time_text(status.completed_at_ns)
    return out | {"Message": status.message}
