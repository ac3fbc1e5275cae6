"""`service create`'s flags as the ServiceSpec that is posted: byte for byte what the docker client posts for the
same flags. Pure.

Owns what a flag means in the spec; the flags' own grammars are in cli/service_fields.py. Networks keep their names:
the caller resolves them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from cli import security_fields
from cli import service_fields as fields
from cli.failures import CliFailure
from cluster.model import placement_labels, reserved_labels, schedule

Flags = Mapping[str, Any]
Spec = dict[str, Any]
_RESTART: Final = (("condition", "Condition"), ("delay", "Delay"), ("max_attempts", "MaxAttempts"), ("window", "Window"))
_POLICY: Final = (
    ("parallelism", "Parallelism"),
    ("delay", "Delay"),
    ("failure_action", "FailureAction"),
    ("monitor", "Monitor"),
    ("max_failure_ratio", "MaxFailureRatio"),
    ("order", "Order"),
)
_HEALTH: Final = (
    ("health_interval", "Interval"),
    ("health_timeout", "Timeout"),
    ("health_start_interval", "StartInterval"),
    ("health_start_period", "StartPeriod"),
    ("health_retries", "Retries"),
)
RESTART_DEFAULTS: Final[Mapping[str, Any]] = {"Condition": "any", "Delay": 5_000_000_000, "MaxAttempts": 0}
POLICY_DEFAULTS: Final[Mapping[str, Any]] = {
    "Parallelism": 1,
    "FailureAction": "pause",
    "Monitor": 5_000_000_000,
    "MaxFailureRatio": 0,
    "Order": "stop-first",
}


def build(image: str, arguments: Sequence[str], flags: Flags, environment: Sequence[str]) -> Spec:
    """The spec to post. `environment`: the container's, complete. Raises CliFailure where flags contradict each
    other."""
    refuse_credential_spec(flags)
    task: Spec = {
        "ContainerSpec": _container(image, arguments, flags, environment),
        "Resources": {"Limits": limits(flags), "Reservations": reservations(flags)},
    }
    restart = policy(flags, "restart", _RESTART, RESTART_DEFAULTS)
    if restart:
        task["RestartPolicy"] = restart
    task["Placement"] = _given(
        Constraints=list(flags["constraint"]),
        Preferences=list(flags["placement_pref"]),
        MaxReplicas=flags["replicas_max_per_node"],
    )
    if flags["network"]:
        task["Networks"] = list(flags["network"])
    if flags["log_driver"] or flags["log_opt"]:
        task["LogDriver"] = _given(Name=flags["log_driver"], Options=fields.pairs(flags["log_opt"]))
    task["ForceUpdate"] = 0
    spec: Spec = {"Name": flags["name"]} if flags["name"] else {}
    ports, settings = fields.split_settings(port for parsed in flags["publish"] for port in parsed)
    labels = fields.pairs(flags["label"]) | settings | _given(**{schedule.LABEL: flags["schedule"]}) | placement_labels_of(flags)
    spec |= {"Labels": labels, "TaskTemplate": task, "Mode": _mode(flags)}
    for kind, name in (("update", "UpdateConfig"), ("rollback", "RollbackConfig")):
        if "job" in flags["mode"] and any(flags[f"{kind}_{flag}"] is not None for flag, _ in _POLICY):
            raise CliFailure("update and rollback configuration is not supported for jobs")
        made = policy(flags, kind, _POLICY, POLICY_DEFAULTS)
        if made:
            spec[name] = made
    spec["EndpointSpec"] = {"Mode": flags["endpoint_mode"] or "vip"} | _given(Ports=ports)
    return spec


def _container(image: str, arguments: Sequence[str], flags: Flags, environment: Sequence[str]) -> Spec:
    made: Spec = {"Image": fields.tagged(image)}
    made |= _given(
        Labels=fields.pairs(flags["container_label"]) | reserved(flags, flags["device"]) | rules(flags["device_cgroup_rule"]),
        Command=flags["entrypoint"],
        Args=list(arguments),
        Hostname=flags["hostname"],
        Env=list(environment),
        Dir=flags["workdir"],
        User=flags["user"],
        Groups=list(flags["group"]),
        Privileges=security_fields.privileges(flags["security_opt"]),
    )
    made["Init"] = bool(flags["init"])
    made |= _given(
        StopSignal=flags["stop_signal"],
        TTY=bool(flags["tty"]),
        ReadOnly=bool(flags["read_only"]),
        Mounts=list(flags["mount"]),
    )
    if flags["stop_grace_period"] is not None:
        made["StopGracePeriod"] = flags["stop_grace_period"]  # none at all says something too
    made |= _given(
        Healthcheck=health(flags, {}),
        Hosts=list(flags["host"]),
    )
    dns = _given(Nameservers=list(flags["dns"]), Search=list(flags["dns_search"]), Options=list(flags["dns_option"]))
    made["DNSConfig"] = dns
    added, dropped = fields.effective_capabilities(flags["cap_add"], flags["cap_drop"])
    return made | _given(
        Isolation=flags["isolation"],
        Sysctls=fields.pairs(flags["sysctl"]),
        CapabilityAdd=added,
        CapabilityDrop=dropped,
        Ulimits=list(flags["ulimit"]),
        OomScoreAdj=flags["oom_score_adj"],
    )


def reserved(flags: Flags, devices: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The labels for what the API's ContainerSpec has no field for."""
    made = dict(reserved_labels.device_label(d["PathOnHost"], d["PathInContainer"], d["CgroupPermissions"]) for d in devices)
    if flags["privileged"] is not None:
        made[reserved_labels.PRIVILEGED] = str(flags["privileged"]).lower()
    if flags["shm_size"] is not None:
        made[reserved_labels.SHM_SIZE] = str(flags["shm_size"])
    return made


def placement_labels_of(flags: Flags) -> dict[str, str]:
    """The labels for what the API's Placement has no field for."""
    given = (
        (placement_labels.PRIORITY, flags["priority"]),
        (placement_labels.STRATEGY, flags["placement_strategy"]),
        (placement_labels.REBALANCE, flags["rebalance"]),
    )
    return {name: str(value) for name, value in given if value is not None}


def rules(texts: Sequence[str]) -> dict[str, str]:
    return {f"{reserved_labels.DEVICE_RULE}{number}": text for number, text in enumerate(texts)}


def _mode(flags: Flags) -> Spec:
    mode, replicas, concurrent = flags["mode"], flags["replicas"], flags["max_concurrent"]
    if mode not in {"replicated", "global", "replicated-job", "global-job"}:
        raise CliFailure(f"Unknown mode: {mode}, only replicated and global supported")
    replicated = mode in {"replicated", "replicated-job"}
    if not replicated and replicas is not None:
        raise CliFailure("replicas can only be used with replicated or replicated-job mode")
    if not replicated and flags["replicas_max_per_node"]:
        raise CliFailure("replicas-max-per-node can only be used with replicated or replicated-job mode")
    if mode != "replicated-job" and concurrent is not None:
        raise CliFailure("max-concurrent can only be used with replicated-job mode")
    if mode == "replicated":
        return {"Replicated": {} if replicas is None else {"Replicas": replicas}}
    if mode == "global":
        return {"Global": {}}
    if mode == "global-job":
        return {"GlobalJob": {}}
    total = 1 if replicas is None else replicas
    return {"ReplicatedJob": {"MaxConcurrent": total if concurrent is None else concurrent, "TotalCompletions": total}}


def limits(flags: Flags) -> Spec:
    return _given(NanoCPUs=flags["limit_cpu"], MemoryBytes=flags["limit_memory"], Pids=flags["limit_pids"])


def reservations(flags: Flags) -> Spec:
    generic = fields.generic_resources((), flags["generic_resource"], ())
    return _given(NanoCPUs=flags["reserve_cpu"], MemoryBytes=flags["reserve_memory"], GenericResources=generic)


def policy(
    flags: Flags, kind: str, table: Sequence[tuple[str, str]], before: Mapping[str, Any]
) -> Spec | None:
    """The policy with the flags that were given laid over what it was before; None when none was given."""
    given = {name: flags[f"{kind}_{flag}"] for flag, name in table if flags[f"{kind}_{flag}"] is not None}
    if not given:
        return None
    merged = {**before, **given}
    order = [name for _, name in table]
    return {name: merged[name] for name in order if name in merged}


def restart_policy(flags: Flags, before: Mapping[str, Any]) -> Spec | None:
    return policy(flags, "restart", _RESTART, before)


def update_policy(flags: Flags, kind: str, before: Mapping[str, Any]) -> Spec | None:
    return policy(flags, kind, _POLICY, before)


def health(flags: Flags, before: Mapping[str, Any]) -> Spec | None:
    """The health check with the flags that were given; None when none was. Raises CliFailure."""
    given = {name: flags[flag] for flag, name in _HEALTH if flags[flag] is not None}
    command = flags["health_cmd"]
    if flags["no_healthcheck"]:
        if given or command is not None:
            raise CliFailure("--no-healthcheck conflicts with --health-* options")
        return {"Test": ["NONE"]}
    if not given and command is None:
        return None
    made = {name: value for name, value in before.items() if name != "Test" or (value != ["NONE"] and command is None)}
    return ({"Test": ["CMD-SHELL", command]} if command else {}) | made | given


def refuse_credential_spec(flags: Flags) -> None:
    """Raises CliFailure when one was given."""
    if flags["credential_spec"]:
        raise CliFailure("credential specs are for Windows containers, which Festoon does not run")


def _given(**values: Any) -> Spec:
    """The values that say something: Go's omitempty."""
    return {name: value for name, value in values.items() if value not in (None, "", 0, [], {}, False)}


def dependencies(spec: Spec, flags: Flags, identified: Callable[[str, Sequence[Spec]], list[Spec]]) -> None:
    """Put a new spec's secrets and configs in. `identified` gives the references of one noun their ids."""
    for word, name in (("secret", "Secrets"), ("config", "Configs")):
        if flags[word]:
            spec["TaskTemplate"]["ContainerSpec"][name] = identified(word, flags[word])


def network_names(spec: Spec, resolve: Callable[[str], str]) -> None:
    """Put ids in the place of the names of a new spec's networks, in whose order they come."""
    task = spec["TaskTemplate"]
    if "Networks" in task:
        task["Networks"] = sorted(({**network, "Target": resolve(network["Target"])} for network in task["Networks"]), key=lambda network: network["Target"])
