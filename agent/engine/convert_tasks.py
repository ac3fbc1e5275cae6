"""Task -> the API's JSON. Pure. Source: the Engine API's Task, version 1.51."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Raw, json

from agent.engine.convert import Json, filled, mapping, meta_json, time_text
from agent.engine.convert_generic import generic_json
from agent.engine.convert_networks import attached_network_json
from agent.engine.convert_services import iteration_json, ports_json
from agent.engine.convert_task_specs import task_spec_json
from cluster.model.objects import Network, Task, TaskStatus, shown_slot
from cluster.model.specs import TaskSpec
from cluster.model.task_state import title
from cluster.model.twins import twin


def tasks_json(tasks: Iterable[Task], networks: Mapping[str, Network]) -> list[Json]:
    """Many at once, to be encoded: what the tasks of a service have in common is converted once."""
    known: dict[str, tuple[TaskSpec, Raw]] = {}
    out = []
    for task in tasks:
        spec, encoded = known.get(task.service_id, (None, Raw()))
        if spec != task.spec:
            encoded = Raw(json.encode(task_spec_json(task.spec)))
            known[task.service_id] = (task.spec, encoded)
        out.append(_task_json(task, networks, encoded))
    return out


def task_json(task: Task, networks: Mapping[str, Network]) -> Json:
    """`networks`: those that the task is attached to, by id; one that is gone is shown by its id alone."""
    return _task_json(task, networks, task_spec_json(task.spec))


def _task_json(task: Task, networks: Mapping[str, Network], spec: Json | Raw) -> Json:
    out: Json = {"ID": task.id, **meta_json(task.meta), "Labels": {}, "Spec": spec}
    out |= filled({"ServiceID": task.service_id, "Slot": shown_slot(task), "NodeID": task.node_id})
    out |= {"Status": task_status_json(task.status), "DesiredState": title(task.desired_state)}
    attachments = [_attachment_json(item.network_id, item.address, networks) for item in task.networks]
    if attachments:
        out["NetworksAttachments"] = attachments
    if task.generic:
        out["GenericResources"] = generic_json(task.generic)
    if task.job_iteration:
        out["JobIteration"] = iteration_json(task.job_iteration)
    return out


def _attachment_json(network_id: str, address: str, networks: Mapping[str, Network]) -> Json:
    network = networks.get(network_id)
    shown = attached_network_json(network) if network is not None else {"ID": network_id}
    return {"Network": shown} | filled({"Addresses": [a for a in (address, twin(network, address) if network is not None else "") if a]})


_FAMILIES = ("0.0.0.0", "::")  # noqa: S104  Docker shows a port in host mode once for each that it is bound in


def task_status_json(status: TaskStatus) -> Json:
    out: Json = {"Timestamp": time_text(status.timestamp_ns), "State": title(status.state)}
    out |= filled({"Message": status.message, "Err": status.err})
    if status.container_id:
        out["ContainerStatus"] = {"ContainerID": status.container_id, "PID": status.pid, "ExitCode": status.exit_code}
    out["PortStatus"] = {"Ports": ports_json(tuple(p for p in status.host_ports for _ in _FAMILIES))} if status.host_ports else {}
    return out


def task_labels(task: Task) -> dict[str, str]:
    """What a `label` filter of the task list looks at: the labels of its service."""
    return mapping(task.service_labels)
