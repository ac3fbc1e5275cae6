"""`service update`'s flags laid over a service's spec, as the docker client does it. Pure: the spec comes in and is
changed in place.

Owns what each flag changes; the grammars are in cli/service_fields.py. Source: docker/cli's service/update.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from cli import dependency_fields, security_fields, service_spec
from cli import service_fields as fields
from cli.failures import CliFailure
from cluster.model import port_labels, reserved_labels, schedule

Flags = Mapping[str, Any]
Spec = dict[str, Any]


def apply(spec: Spec, flags: Flags, resolve: Callable[[str], str], identified: Callable[[str, Sequence[Spec]], list[Spec]]) -> None:
    """Change the spec. `resolve` gives the id of a network's name, `identified` references to secrets or configs with their ids. Raises CliFailure."""
    service_spec.refuse_credential_spec(flags)
    task: Spec = spec.setdefault("TaskTemplate", {})
    container = task.setdefault("ContainerSpec", {})
    _container(container, flags)
    for word, name in (("secret", "Secrets"), ("config", "Configs")):
        added, removed = flags[f"{word}_add"], flags[f"{word}_rm"]
        if added or removed:
            container[name] = dependency_fields.updated(container.get(name) or (), word, identified(word, added), removed)
    _scale(spec, flags)
    _resources(task, flags)
    if flags["generic_resource_add"] or flags["generic_resource_rm"]:
        resources: Spec = task.get("Resources") or {}
        reserved: Spec = resources.get("Reservations") or {}
        task["Resources"] = resources | {"Reservations": reserved}
        reserved["GenericResources"] = fields.generic_resources(
            reserved.get("GenericResources") or (), flags["generic_resource_add"], flags["generic_resource_rm"]
        )
    restart = task.get("RestartPolicy") or service_spec.RESTART_DEFAULTS
    _put(task, "RestartPolicy", service_spec.restart_policy(flags, restart))
    _placement(task, flags)
    _networks(spec, task, flags, resolve)
    if flags["log_driver"] is not None or flags["log_opt"]:
        had = task.get("LogDriver") or {}
        name = flags["log_driver"] if flags["log_driver"] is not None else had.get("Name", "")  # another driver has options of its own
        task["LogDriver"] = {"Name": name} | ({"Options": given} if (given := fields.pairs(flags["log_opt"])) else {})
    if flags["force"]:
        task["ForceUpdate"] = task.get("ForceUpdate", 0) + 1
    for kind, name in (("update", "UpdateConfig"), ("rollback", "RollbackConfig")):
        before = spec.get(name) or service_spec.POLICY_DEFAULTS
        _put(spec, name, service_spec.update_policy(flags, kind, before))
    _pairs(spec, "Labels", flags["label_add"], flags["label_rm"])
    if made := service_spec.placement_labels_of(flags):
        spec["Labels"] = (spec.get("Labels") or {}) | made
    if flags["schedule"] is not None:
        _pairs(spec, "Labels", [f"{schedule.LABEL}={flags['schedule']}"] if flags["schedule"] else (), () if flags["schedule"] else [schedule.LABEL])
    _endpoint(spec, flags)


def _container(container: Spec, flags: Flags) -> None:
    for flag, name in (
        ("args", "Args"),
        ("entrypoint", "Command"),
        ("hostname", "Hostname"),
        ("init", "Init"),
        ("isolation", "Isolation"),
        ("oom_score_adj", "OomScoreAdj"),
        ("read_only", "ReadOnly"),
        ("stop_grace_period", "StopGracePeriod"),
        ("stop_signal", "StopSignal"),
        ("tty", "TTY"),
        ("user", "User"),
        ("workdir", "Dir"),
    ):
        if flags[flag] is not None:
            container[name] = flags[flag]
    if flags["image"] is not None:
        container["Image"] = fields.tagged(flags["image"])
    _environment(container, flags["env_add"], flags["env_rm"])
    _pairs(container, "Labels", flags["container_label_add"], flags["container_label_rm"])
    if made := service_spec.reserved(flags, flags["device_add"]):
        container["Labels"] = (container.get("Labels") or {}) | made
    for target in flags["device_rm"]:
        container.get("Labels", {}).pop(f"{reserved_labels.DEVICE}{target}", None)
    if flags["security_opt"]:
        container["Privileges"] = security_fields.privileges(flags["security_opt"])
    _pairs(container, "Sysctls", flags["sysctl_add"], flags["sysctl_rm"])
    _list(container, "Groups", flags["group_add"], flags["group_rm"])
    _hosts(container, flags["host_add"], flags["host_rm"])
    dns: Spec = container.get("DNSConfig") or {}
    before = dict(dns)
    _list(dns, "Nameservers", flags["dns_add"], flags["dns_rm"])
    _list(dns, "Search", flags["dns_search_add"], flags["dns_search_rm"])
    _list(dns, "Options", flags["dns_option_add"], flags["dns_option_rm"])
    if dns != before:
        container["DNSConfig"] = dns
    _keyed(container, "Ulimits", "Name", flags["ulimit_add"], flags["ulimit_rm"])
    if flags["ulimit_add"]:
        container["Ulimits"].sort(key=lambda limit: limit["Name"])
    _mounts(container, flags["mount_add"], flags["mount_rm"])
    _capabilities(container, flags)
    _put(container, "Healthcheck", service_spec.health(flags, container.get("Healthcheck") or {}))


def _hosts(container: Spec, added: Sequence[str], removed: Sequence[str]) -> None:
    """Entries are `address name...`; `name` or `name:address` removes a name from those that have it (at that address)."""
    if not added and not removed:
        return
    gone = [name.partition(":")[::2] for name in removed]
    kept = []
    for entry in container.get("Hosts") or ():
        address, *names = entry.split() or [""]
        names = [name for name in names if not any(name == other and where in ("", address) for other, where in gone)]
        kept += [f"{address} {' '.join(names)}"] if names else []
    container["Hosts"] = list(dict.fromkeys([*kept, *added]))


def _mounts(container: Spec, added: Sequence[Spec], removed: Sequence[str]) -> None:
    if len({mount["Target"] for mount in added}) < len(added):
        raise CliFailure("duplicate mount target")
    _keyed(container, "Mounts", "Target", added, removed)
    if container.get("Mounts"):
        kept = (mount for mount in container["Mounts"] if mount["Target"] not in removed)
        container["Mounts"] = sorted(kept, key=lambda mount: (mount.get("Source", ""), mount["Target"]))


def _scale(spec: Spec, flags: Flags) -> None:
    mode: Spec = spec.setdefault("Mode", {})
    if flags["replicas"] is not None:
        if mode.get("Replicated") is None:
            raise CliFailure("replicas can only be used with replicated mode")
        scale(mode, flags["replicas"])
    if flags["max_concurrent"] is not None:
        if "ReplicatedJob" not in mode:
            raise CliFailure("max-concurrent can only be used with replicated-job mode")
        mode["ReplicatedJob"]["MaxConcurrent"] = flags["max_concurrent"]


def scale(mode: Spec, replicas: int) -> None:
    """Set the number of tasks in a service's mode. Raises CliFailure."""
    if mode.get("Replicated") is not None:
        mode["Replicated"]["Replicas"] = replicas
    elif mode.get("ReplicatedJob") is not None:
        mode["ReplicatedJob"]["TotalCompletions"] = replicas
    else:
        raise CliFailure("replicas can only be used with replicated or replicated-job mode")


def _resources(task: Spec, flags: Flags) -> None:
    wanted = (("Limits", "limit", ("cpu", "memory", "pids")), ("Reservations", "reserve", ("cpu", "memory")))
    names = {"cpu": "NanoCPUs", "memory": "MemoryBytes", "pids": "Pids"}
    given = {
        (part, names[what]): flags[f"{prefix}_{what}"]
        for part, prefix, kinds in wanted
        for what in kinds
        if flags[f"{prefix}_{what}"] is not None
    }
    if not given:
        return
    resources: Spec = task.get("Resources") or {}
    for part, _, _ in wanted:
        resources[part] = resources.get(part) or {}
    for (part, name), value in given.items():
        resources[part][name] = value
    task["Resources"] = resources


def _placement(task: Spec, flags: Flags) -> None:
    placement: Spec = task.get("Placement") or {}
    before = dict(placement)
    _list(placement, "Constraints", flags["constraint_add"], flags["constraint_rm"])
    removed = list(flags["placement_pref_rm"])
    if removed or flags["placement_pref_add"]:
        kept = [p for p in placement.get("Preferences") or () if p not in removed]
        placement["Preferences"] = kept + list(flags["placement_pref_add"])
    if flags["replicas_max_per_node"] is not None:
        placement["MaxReplicas"] = flags["replicas_max_per_node"]
    if placement != before:
        task["Placement"] = placement


def _networks(spec: Spec, task: Spec, flags: Flags, resolve: Callable[[str], str]) -> None:
    if not flags["network_add"] and not flags["network_rm"]:
        return
    networks = list(task.get("Networks") or spec.get("Networks") or ())
    removed = {resolve(name) for name in flags["network_rm"]}
    networks = [n for n in networks if n.get("Target") not in removed]
    for added in flags["network_add"]:
        target = resolve(added["Target"])
        if any(n.get("Target") == target for n in networks):
            raise CliFailure(f"service is already attached to network {added['Target']}")
        networks.append({**added, "Target": target})
    task["Networks"] = sorted(networks, key=lambda n: str(n["Target"]))


def _endpoint(spec: Spec, flags: Flags) -> None:
    endpoint: Spec = spec.get("EndpointSpec") or {}
    if flags["endpoint_mode"] is not None:
        endpoint["Mode"] = flags["endpoint_mode"]
        spec["EndpointSpec"] = endpoint
    if not flags["publish_add"] and not flags["publish_rm"]:
        return
    removed = [one for parsed in flags["publish_rm"] for one in parsed]
    had = endpoint.get("Ports") or ()
    ports = [p for p in had if fields.port_place(p) not in removed]
    added, settings = fields.split_settings(port for parsed in flags["publish_add"] for port in parsed)
    _port_settings(spec, [p for p in had if p not in ports], settings)
    known = {_port_key(port) for port in ports}
    new = list({_port_key(port): port for port in added if _port_key(port) not in known}.values())
    endpoint["Ports"] = sorted([*ports, *new], key=_port_text)
    spec["EndpointSpec"] = endpoint


def _port_settings(spec: Spec, gone: Sequence[Mapping[str, Any]], added: Mapping[str, str]) -> None:
    """The labels of ports go with them, those of new ones come."""
    labels: Spec = spec.get("Labels") or {}
    over = {port_labels.key(p.get("PublishedPort", 0), p.get("Protocol", "tcp"), name) for p in gone for name in port_labels.VALUES}
    if added or over & labels.keys():
        spec["Labels"] = {key: value for key, value in labels.items() if key not in over} | dict(added)


def _port_text(port: Mapping[str, Any]) -> str:
    """Ports come in the order of this text."""
    return f"{port.get('PublishedPort', 0)}:{port.get('TargetPort', 0)}/{port.get('Protocol', 'tcp')}/{port.get('PublishMode', 'ingress')}"


def _port_key(port: Mapping[str, Any]) -> tuple[Any, ...]:
    return port.get("Protocol", "tcp"), port.get("PublishedPort", 0), port.get("TargetPort"), port.get("PublishMode")


def _environment(container: Spec, added: Sequence[str], removed: Sequence[str]) -> None:
    if not added and not removed:
        return
    found = {text.partition("=")[0]: text for text in container.get("Env") or ()}
    for name in removed:
        found.pop(name, None)
    container["Env"] = list((found | {text.partition("=")[0]: text for text in added}).values())


def _capabilities(container: Spec, flags: Flags) -> None:
    if not flags["cap_add"] and not flags["cap_drop"]:
        return
    add, drop = ({fields.capability(c) for c in flags[name]} for name in ("cap_add", "cap_drop"))
    added, dropped = (set() if _RESET in new else set(container.get(name) or ()) for name, new in (("CapabilityAdd", add), ("CapabilityDrop", drop)))
    add, drop = add - {_RESET}, drop - {_RESET} - add
    # one that was added before is taken back by a drop, and the other way round: it is not dropped as well
    added, drop = added - drop, drop - added
    dropped, add = (dropped | drop) - add, add - dropped
    container["CapabilityAdd"] = _capability_list(added | add)
    container["CapabilityDrop"] = _capability_list(dropped)


_RESET: Final = "RESET"


def _capability_list(names: set[str]) -> list[str]:
    return ["ALL"] if "ALL" in names else sorted(names)


def _pairs(owner: Spec, name: str, added: Sequence[str], removed: Sequence[str]) -> None:
    if not added and not removed:
        return
    found = dict(owner.get(name) or {})
    for key in removed:
        found.pop(key, None)
    owner[name] = found | fields.pairs(added)


def _list(owner: Spec, name: str, added: Sequence[Any], removed: Sequence[Any]) -> None:
    if not added and not removed:
        return
    kept = [item for item in owner.get(name) or () if item not in removed]
    owner[name] = sorted({*kept, *added})


def _keyed(owner: Spec, name: str, key: str, added: Sequence[Mapping[str, Any]], removed: Sequence[str]) -> None:
    """A list of objects that have a key of their own: an added one takes the place of its namesake."""
    if not added and not removed:
        return
    gone = set(removed) | {item[key] for item in added}
    owner[name] = [item for item in owner.get(name) or () if item.get(key) not in gone] + list(added)


def _put(owner: Spec, name: str, value: Spec | None) -> None:
    if value is not None:
        owner[name] = value
