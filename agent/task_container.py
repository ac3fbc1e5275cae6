"""From a task to the container that runs it: pure. Source: the labels that Docker puts on a task's container.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import msgspec

from agent import generic_resources
from agent.log_settings import DEFAULT_DRIVER
from agent.records import DEFAULT_SHM_BYTES, Config, DeviceMapping, HostConfig, NetworkWish, PortBinding
from cluster.model import placeholders, reference, reserved_labels
from cluster.model.objects import NodeDescription, Task, TaskNetwork, container_name, task_name
from cluster.model.specs import NODE_NETWORKS, ContainerSpec, PortConfig, Privileges, PublishMode, Resources

NS_PER_S: Final = 1_000_000_000
DEFAULT_STOP_GRACE_S: Final = 10


@dataclass(frozen=True, slots=True)
class TaskContainer:
    name: str
    config: Config
    host: HostConfig
    networks: tuple[NetworkWish, ...]
    mesh_ports: tuple[PortBinding, ...]


def task_container(task: Task, node: NodeDescription, node_id: str) -> TaskContainer:
    """What `agent/containers.py` is asked to make. Raises InvalidArgument for a template that does not fit."""
    spec = placeholders.expanded(task.spec.container, placeholders.context(task, node, node_id))
    ports = task.endpoint.ports if task.endpoint else ()
    config = Config(
        image=reference.parse(spec.image).with_default_tag().familiar, hostname=spec.hostname, user=spec.user,
        env=(*spec.env, *generic_resources.environment(task.generic)),
        entrypoint=spec.command or None, cmd=spec.args or None, working_dir=spec.dir, labels=_labels(task, node_id), tty=spec.tty, open_stdin=spec.open_stdin,
        stop_signal=spec.stop_signal, stop_timeout_s=math.ceil(grace_s(spec)), health=spec.health,
        exposed_ports=tuple(f"{p.target_port}/{p.protocol}" for p in ports if p.publish_mode is PublishMode.HOST),
    )  # fmt: skip
    bound = {mode: tuple(_binding(p) for p in ports if p.publish_mode is mode) for mode in PublishMode}
    own = {n.target for n in task.spec.networks if n.target in NODE_NETWORKS}
    if "host" in own:  # its ports are the node's already
        host = msgspec.structs.replace(_host(task, spec, ()), network_mode="host")
        return TaskContainer(container_name(task), config, host, (), ())
    bridge = (NetworkWish(network="bridge"),) if own and task.networks else ()
    return TaskContainer(
        container_name(task), config, _host(task, spec, bound[PublishMode.HOST]), (*(_wish(n) for n in task.networks), *bridge),
        bound[PublishMode.INGRESS],
    )  # fmt: skip


def _wish(network: TaskNetwork) -> NetworkWish:
    return NetworkWish(network=network.network_id, aliases=network.aliases, address=network.address, assigned=True, has_ipam=True)


def _binding(port: PortConfig) -> PortBinding:
    return PortBinding(container_port=port.target_port, protocol=port.protocol, host_port=port.published_port)


def grace_s(spec: ContainerSpec) -> float:
    """Seconds between the stop signal and SIGKILL."""
    return DEFAULT_STOP_GRACE_S if spec.stop_grace_ns is None else spec.stop_grace_ns / NS_PER_S


def _host(task: Task, spec: ContainerSpec, ports: tuple[PortBinding, ...]) -> HostConfig:
    limits = task.spec.limits or Resources()
    reserved = task.spec.reservations or Resources()
    extras = reserved_labels.extras(spec.labels)
    return HostConfig(
        network_mode="default", restart="", port_bindings=ports, mounts=spec.mounts, cap_add=spec.cap_add, cap_drop=spec.cap_drop, dns=spec.dns_nameservers,
        dns_search=spec.dns_search, dns_options=spec.dns_options, extra_hosts=tuple(_extra_host(h) for h in spec.hosts), read_only=spec.read_only,
        init=spec.init, sysctls=spec.sysctls, ulimits=spec.ulimits, memory_bytes=limits.memory_bytes, memory_reservation_bytes=reserved.memory_bytes,
        nano_cpus=limits.nano_cpus, pids_limit=limits.pids, log_driver=task.spec.log_driver or DEFAULT_DRIVER, log_options=task.spec.log_options,
        oom_score_adj=spec.oom_score_adj, isolation=spec.isolation or "default", group_add=spec.groups, security_options=_security(spec.privileges),
        privileged=extras.privileged, shm_size_bytes=extras.shm_size_bytes or DEFAULT_SHM_BYTES, device_rules=extras.device_rules,
        devices=tuple(DeviceMapping(path=d.path, target=d.target, permissions=d.permissions) for d in extras.devices),
    )  # fmt: skip


def _security(privileges: Privileges | None) -> tuple[str, ...]:
    """As --security-opt has them."""
    if privileges is None:
        return ()
    profile = {"unconfined": ("seccomp=unconfined",), "custom": (f"seccomp={privileges.seccomp_profile}",)}.get(privileges.seccomp, ())
    apparmor = ("apparmor=unconfined",) if privileges.apparmor == "disabled" else ()
    return (*profile, *apparmor, *(("no-new-privileges",) if privileges.no_new_privileges else ()))


def _extra_host(line: str) -> str:
    """The spec's `address name [alias...]` as `name:address`."""
    address, _, name = line.partition(" ")
    return f"{name.strip()}:{address}"


def _labels(task: Task, node_id: str) -> tuple[tuple[str, str], ...]:
    return (
        *task.spec.container.labels, ("com.docker.swarm.node.id", node_id), ("com.docker.swarm.service.id", task.service_id),
        ("com.docker.swarm.service.name", task.service_name), ("com.docker.swarm.task", ""), ("com.docker.swarm.task.id", task.id),
        ("com.docker.swarm.task.name", f"{task_name(task)}.{task.id}"),
    )  # fmt: skip
