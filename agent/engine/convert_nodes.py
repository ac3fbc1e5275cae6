"""Node and NodeSpec between the API's JSON and our values. Pure. Source: the Engine API's Node, version 1.51."""

from __future__ import annotations

from agent.engine.convert import Json, filled, mapping, meta_json
from agent.engine.convert_generic import generic_json
from agent.engine.fields import Fields
from cluster.model.errors import InvalidArgument
from cluster.model.objects import ManagerStatus, Node, NodeDescription
from cluster.model.specs import Availability, NodeSpec, Role


def node_spec_of(fields: Fields) -> NodeSpec:
    """Raises InvalidArgument for an unknown role or availability, in Docker's words."""
    role, availability = fields.text("Role"), fields.text("Availability")
    if role not in list(Role):
        raise InvalidArgument(f'invalid Role: "{role}"')
    return NodeSpec(fields.text("Name"), fields.pairs("Labels"), Role(role), availability_of(availability))


def availability_of(text: str) -> Availability:
    if text.lower() not in list(Availability):
        raise InvalidArgument(f'invalid Availability: "{text}"')
    return Availability(text.lower())


def node_spec_json(spec: NodeSpec) -> Json:
    name = filled({"Name": spec.name})
    return name | {"Labels": mapping(spec.labels), "Role": spec.role.value, "Availability": spec.availability.value}


def node_json(node: Node, tls_info: Json) -> Json:
    """`tls_info`: convert_swarm.tls_info_json of the cluster's root."""
    status = {"State": node.status.state.value} | filled({"Message": node.status.message, "Addr": node.status.address})
    out: Json = {"ID": node.id} | meta_json(node.meta)
    out |= {"Spec": node_spec_json(node.spec), "Description": _description_json(node.description, tls_info), "Status": status}
    if node.manager is not None:
        out["ManagerStatus"] = _manager_json(node.manager)
    return out


def _description_json(description: NodeDescription, tls_info: Json) -> Json:
    resources, platform = description.resources, description.platform
    engine = filled({"EngineVersion": description.engine_version, "Labels": mapping(description.engine_labels)})
    if description.plugins:
        engine["Plugins"] = [{"Type": kind, "Name": name} for kind, name in description.plugins]
    return {
        "Hostname": description.hostname,
        "Platform": filled({"Architecture": platform.architecture, "OS": platform.os}),
        "Resources": filled({
            "NanoCPUs": resources.nano_cpus, "MemoryBytes": resources.memory_bytes, "GenericResources": generic_json(resources.generic),
        }),
        "Engine": engine,
        "TLSInfo": tls_info,
    }


def _manager_json(manager: ManagerStatus) -> Json:
    leader = filled({"Leader": manager.leader})
    return leader | {"Reachability": "reachable" if manager.reachable else "unreachable", "Addr": manager.address}
