"""What a stack is made of, as the Engine API takes it: networks, secrets, configs and services. Pure; names are resolved to ids by the caller.

Owns the prefix of names, the labels, and what each key of a service becomes, byte for byte as docker's client posts it. `depends_on`, for which the API has no
field, becomes the reserved label that the managers honour (cluster/model/depends_on.py). Source: docker/cli's cli/compose/convert.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

from cli import service_fields
from cli.compose.longforms import Value
from cli.compose.source import ComposeError
from cli.compose.stack import Settings, Stack
from cli.units import parse_cpus
from cluster.model import depends_on

NAMESPACE: Final = "com.docker.stack.namespace"
IMAGE: Final = "com.docker.stack.image"
DEFAULT: Final = "default"
DEFAULT_MODE: Final = 0o444
_NOT_USER_DEFINED: Final = frozenset({"default", "bridge", "host", "none"})
_HEALTH: Final = {
    "Test": "test", "Interval": "interval", "Timeout": "timeout", "StartPeriod": "start_period", "StartInterval": "start_interval", "Retries": "retries",
}  # fmt: skip
_MODES: Final = {"global": "Global", "global-job": "GlobalJob", "replicated-job": "ReplicatedJob", "replicated": "Replicated", "": "Replicated"}
_OTHER_OPTIONS: Final = {"volume": ("tmpfs", "bind", "cluster"), "bind": ("volume", "tmpfs", "cluster"), "tmpfs": ("bind", "volume", "cluster")}


def scoped(namespace: str, name: str) -> str:
    return f"{namespace}_{name}"


def labelled(namespace: str, labels: Mapping[str, str] | None) -> dict[str, str]:
    return {**(labels or {}), NAMESPACE: namespace}


def _name_of(namespace: str, name: str, one: Mapping[str, Any] | None) -> str:
    return str((one or {}).get("name") or scoped(namespace, name))


def networks(stack: Stack, namespace: str) -> tuple[dict[str, Value], list[str]]:
    """Networks to make, by their whole names; and the names of external ones, which must be there. Raises ComposeError."""
    wanted = sorted({name for one in stack.services.values() for name in one.get("networks") or (DEFAULT,)})
    made, external = {}, []
    for name in wanted:
        one = stack.networks.get(name, {})
        if one.get("external"):
            external.append(str(one["name"]))
            continue
        body: Value = {"Driver": one.get("driver") or "overlay", "Labels": labelled(namespace, one.get("labels"))}
        body |= _given(Options=one.get("driver_opts"), Internal=one.get("internal"), Attachable=one.get("attachable"))
        if ipam := one.get("ipam"):
            body["IPAM"] = _given(Driver=ipam.get("driver"), Config=[{"Subnet": item.get("subnet", "")} for item in ipam.get("config") or ()])
        made[_name_of(namespace, name, one)] = body
    return made, external


def file_objects(stack: Stack, namespace: str, word: str, settings: Settings) -> list[Value]:
    """The secrets or configs (`word`) to make. Raises ComposeError for a file that can't be read."""
    made = []
    for name, one in getattr(stack, f"{word}s").items():
        if one.get("external"):
            continue
        body: Value = {"Name": _name_of(namespace, name, one), "Labels": labelled(namespace, one.get("labels"))}
        if one.get("driver"):
            body["Driver"] = {"Name": one["driver"]} | _given(Options=one.get("driver_opts"))
        else:
            body["Data"] = base64.b64encode(_data(stack, word, name, one, settings)).decode()
        if one.get("template_driver"):
            body["Templating"] = {"Name": one["template_driver"]}
        made.append(body)
    return made


def _data(stack: Stack, word: str, name: str, one: Mapping[str, Any], settings: Settings) -> bytes:
    if "content" in one:
        return str(one["content"]).encode()
    if "environment" in one:
        variable = one["environment"]
        if variable not in settings.environment:
            raise stack.wrong(f'environment variable "{variable}" required by {word} "{name}" is not set', f"{word}s", name, "environment")
        return settings.environment[variable].encode()
    try:
        return settings.read(one["file"])
    except OSError as e:
        verb = "read" if isinstance(e, IsADirectoryError) else "open"
        raise stack.wrong(f"{verb} {one['file']}: {(e.strerror or str(e)).lower()}", f"{word}s", name, "file") from e


def services(stack: Stack, namespace: str) -> dict[str, Value]:
    """The specs by the services' names in the file; networks, secrets and configs in them by name. Raises ComposeError."""
    made = {}
    for name, one in stack.services.items():
        try:
            made[name] = _Service(stack, namespace, name, one).spec()
        except ValueError as e:
            raise stack.wrong(f"service {name}: {e}", "services", name) from e
    return made


class _Service:
    """One service on its way to a spec. Its methods raise ValueError, or ComposeError where a place is known."""

    def __init__(self, stack: Stack, namespace: str, name: str, service: Value) -> None:
        self._stack = stack
        self._namespace = namespace
        self._name = name
        self._of = service
        self._deploy: Value = service.get("deploy") or {}

    def spec(self) -> Value:
        of, deploy = self._of, self._deploy
        labels = labelled(self._namespace, deploy.get("labels")) | {IMAGE: of.get("image", "")} | self._dependencies()
        task: Value = {"ContainerSpec": self._container(), "Resources": self._resources()}
        if restart := self._restart():
            task["RestartPolicy"] = restart
        placement = deploy.get("placement") or {}
        task["Placement"] = _given(
            Constraints=placement.get("constraints"),
            Preferences=[{"Spread": {"SpreadDescriptor": one.get("spread", "")}} for one in placement.get("preferences") or ()],
            MaxReplicas=placement.get("max_replicas_per_node"),
        )
        task["Networks"] = self._networks()
        if logging := of.get("logging"):
            task["LogDriver"] = _given(Name=logging.get("driver"), Options=logging.get("options"))
        task["ForceUpdate"] = 0
        spec: Value = {"Name": scoped(self._namespace, self._name), "Labels": labels, "TaskTemplate": task, "Mode": self._mode()}
        for key, field in (("update_config", "UpdateConfig"), ("rollback_config", "RollbackConfig")):
            if (policy := deploy.get(key)) is not None:
                spec[field] = _policy(policy)
        spec["EndpointSpec"] = _given(Mode=str(deploy.get("endpoint_mode", "")).lower(), Ports=self._ports())
        return spec

    def _wrong(self, text: str, *path: str | int) -> ComposeError:
        return self._stack.wrong(f"service {self._name}: {text}", "services", self._name, *path)

    def _dependencies(self) -> dict[str, str]:
        asked = self._of.get("depends_on") or {}
        wanted = asked if isinstance(asked, dict) else {name: {"condition": "service_started"} for name in asked}
        conditions = []
        for name, one in wanted.items():
            if name not in self._stack.services:
                if one.get("required") is False:
                    continue
                raise self._wrong(f'depends on undefined service "{name}"', "depends_on", name)
            conditions.append((scoped(self._namespace, name), one["condition"].removeprefix("service_")))
        cycle = _cycle(self._stack, self._name)
        if cycle:
            raise self._wrong(f"dependency cycle detected: {' -> '.join(cycle)}", "depends_on")
        return {depends_on.LABEL: depends_on.label(conditions)} if conditions else {}

    def _container(self) -> Value:
        of = self._of
        made: Value = {"Image": service_fields.tagged(of.get("image", "")), "Labels": labelled(self._namespace, of.get("labels"))}
        made |= _given(
            Command=of.get("entrypoint"),
            Args=of.get("command"),
            Hostname=of.get("hostname"),
            Env=sorted(name if value is None else f"{name}={value}" for name, value in (of.get("environment") or {}).items()),
            Dir=of.get("working_dir"),
            User=of.get("user"),
            Groups=of.get("group_add"),
        )
        configs = self._file_references("config")
        made["Privileges"] = {"CredentialSpec": self._credentials(configs), "SELinuxContext": None}
        if of.get("init") is not None:
            made["Init"] = of["init"]
        made |= _given(StopSignal=of.get("stop_signal"), TTY=of.get("tty"), OpenStdin=of.get("stdin_open"), ReadOnly=of.get("read_only"), Mounts=self._mounts())
        if of.get("stop_grace_period") is not None:
            made["StopGracePeriod"] = int(of["stop_grace_period"])
        if (health := of.get("healthcheck")) is not None:
            made["Healthcheck"] = self._health(health)
        made |= _given(Hosts=_hosts(of.get("extra_hosts") or ()))
        if of.get("dns") or of.get("dns_search"):
            made["DNSConfig"] = _given(Nameservers=of.get("dns"), Search=of.get("dns_search"))
        made |= _given(Secrets=self._file_references("secret"), Configs=configs, Isolation=of.get("isolation"), Sysctls=of.get("sysctls"))
        add = {service_fields.capability(c) for c in of.get("cap_add") or ()}
        drop = {service_fields.capability(c) for c in of.get("cap_drop") or ()}
        made |= _given(CapabilityAdd=sorted(add), CapabilityDrop=sorted(drop - add), Ulimits=_ulimits(of.get("ulimits") or {}))
        return made | _given(OomScoreAdj=of.get("oom_score_adj"))

    def _credentials(self, configs: list[Value]) -> Value | None:
        asked = self._of.get("credential_spec") or {}
        given = [f'"{key.capitalize()}"' for key in ("config", "file", "registry") if asked.get(key)]
        if not given:
            return None
        if len(given) > 1:
            comma = "," if len(given) > 2 else ""
            raise self._wrong(f"invalid credential spec: cannot specify both {', '.join(given[:-1])}{comma} and {given[-1]}", "credential_spec")
        raise self._wrong("credential specs are for Windows containers, which Festoon does not run", "credential_spec")

    def _file_references(self, word: str) -> list[Value]:
        title, known = word.capitalize(), getattr(self._stack, f"{word}s")
        made = []
        for number, one in enumerate(self._of.get(f"{word}s") or ()):
            source = one["source"]
            if source not in known:
                raise self._wrong(f'undefined {word} "{source}"', f"{word}s", number)
            file = {"Name": one.get("target") or source, "UID": one.get("uid") or "0", "GID": one.get("gid") or "0", "Mode": one.get("mode", DEFAULT_MODE)}
            made.append({"File": file, f"{title}Name": _name_of(self._namespace, source, known[source])})
        return sorted(made, key=lambda one: str(one[f"{title}Name"]))

    def _mounts(self) -> list[Value]:
        mounts = []
        for number, volume in enumerate(self._of.get("volumes") or ()):
            try:
                mounts.append(self._mount(volume))
            except ValueError as e:
                raise self._wrong(str(e), "volumes", number) from e
        return mounts

    def _mount(self, volume: Value) -> Value:
        kind, source = volume.get("type") or "volume", volume.get("source", "")
        if kind not in _OTHER_OPTIONS:
            known = kind in ("npipe", "cluster")
            raise ValueError(f"volumes of type {kind} are not supported" if known else "volume type must be volume, bind, tmpfs, npipe, or cluster")
        for other in _OTHER_OPTIONS[kind]:
            if other in volume:
                raise ValueError(f"{other} options are incompatible with type {kind}")
        made = {"Type": kind} | _given(Source=source, Target=volume.get("target"), ReadOnly=volume.get("read_only"), Consistency=volume.get("consistency"))
        if kind == "bind":
            if "bind" in volume:
                made["BindOptions"] = _given(Propagation=volume["bind"].get("propagation"))
        elif kind == "tmpfs":
            if source:
                raise ValueError("invalid tmpfs source, source must be empty")
            if "tmpfs" in volume:
                made["TmpfsOptions"] = _given(SizeBytes=volume["tmpfs"].get("size"))
        elif source:
            made |= self._named_volume(volume, source)
        return made

    def _named_volume(self, volume: Value, source: str) -> Value:
        if source not in self._stack.volumes:
            raise ValueError(f'undefined volume "{source}"')
        known = self._stack.volumes[source]
        options: Value = _given(NoCopy=(volume.get("volume") or {}).get("nocopy"))
        if not known.get("external"):
            options["Labels"] = labelled(self._namespace, known.get("labels"))
            if known.get("driver") or known.get("driver_opts"):
                options["DriverConfig"] = _given(Name=known.get("driver"), Options=known.get("driver_opts"))
        return {"Source": _name_of(self._namespace, source, known), "VolumeOptions": options}

    def _health(self, health: Value) -> Value:
        if health.get("disable"):
            if health.get("test"):
                raise self._wrong("test and disable can't be set at the same time", "healthcheck")
            return {"Test": ["NONE"]}
        return _given(**{field: int(v) if isinstance(v := health.get(key), int) else v for field, key in _HEALTH.items()})

    def _networks(self) -> list[Value]:
        made = []
        for name, one in (self._of.get("networks") or {DEFAULT: None}).items():
            if name not in self._stack.networks and name != DEFAULT:
                raise self._wrong(f'undefined network "{name}"', "networks", name)
            target = _name_of(self._namespace, name, self._stack.networks.get(name))
            aliases = list((one or {}).get("aliases") or ())
            if target not in _NOT_USER_DEFINED and not target.startswith("container:"):
                aliases.append(self._name)
            made.append({"Target": target} | _given(Aliases=aliases, DriverOpts=(one or {}).get("driver_opts")))
        return sorted(made, key=lambda network: str(network["Target"]))

    def _ports(self) -> list[Value]:
        ports = [
            {
                "Protocol": p.get("protocol") or "tcp", "TargetPort": p.get("target", 0), **_given(PublishedPort=p.get("published")),
                "PublishMode": p.get("mode") or "ingress",
            }
            for p in self._of.get("ports") or ()
        ]  # fmt: skip
        return sorted(ports, key=lambda p: (p.get("PublishedPort", 0), p["TargetPort"], p["Protocol"], p["PublishMode"]))

    def _mode(self) -> Value:
        mode, replicas = self._deploy.get("mode", ""), self._deploy.get("replicas")
        if mode not in _MODES:
            raise self._wrong(f"Unknown mode: {mode}", "deploy", "mode")
        if mode in ("global", "global-job"):
            if replicas is not None:
                raise self._wrong("replicas can only be used with replicated or replicated-job mode", "deploy", "replicas")
            return {_MODES[mode]: {}}
        if mode == "replicated-job":
            return {"ReplicatedJob": {} if replicas is None else {"MaxConcurrent": replicas, "TotalCompletions": replicas}}
        return {"Replicated": {} if replicas is None else {"Replicas": replicas}}

    def _resources(self) -> Value:
        asked = self._deploy.get("resources") or {}
        made: Value = {}
        for key, field in (("limits", "Limits"), ("reservations", "Reservations")):
            if (one := asked.get(key)) is None:
                continue
            try:
                cpus = parse_cpus(one["cpus"]) if one.get("cpus") else 0
            except ValueError as e:
                raise self._wrong(str(e), "deploy", "resources", key, "cpus") from e
            generic = [
                {"DiscreteResourceSpec": {"Kind": d.get("kind", ""), "Value": int(d.get("value", 0))}}
                for item in one.get("generic_resources") or ()
                if (d := item.get("discrete_resource_spec"))
            ]
            made[field] = _given(NanoCPUs=cpus, MemoryBytes=int(one.get("memory", 0)), Pids=one.get("pids"), GenericResources=generic)
        return made

    def _restart(self) -> Value | None:
        if (policy := self._deploy.get("restart_policy")) is not None:
            made: Value = _given(Condition=policy.get("condition"))
            for key, field in (("delay", "Delay"), ("max_attempts", "MaxAttempts"), ("window", "Window")):
                if policy.get(key) is not None:
                    made[field] = int(policy[key])
            return made
        name, _, count = str(self._of.get("restart", "")).partition(":")
        if count and not count.isdigit():
            raise self._wrong("invalid restart policy format: maximum retry count must be an integer", "restart")
        attempts = {"MaxAttempts": int(count)} if count and int(count) else {}
        match name:
            case "" | "no":
                return None
            case "always" | "unless-stopped":
                return {"Condition": "any"} | attempts
            case "on-failure":
                return {"Condition": "on-failure"} | attempts
        policies = "must be one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        raise self._wrong(f"invalid restart policy: unknown policy '{name}' ({policies})", "restart")


def _policy(policy: Value) -> Value:
    made = {"Parallelism": policy.get("parallelism", 1)} | _given(Delay=int(policy.get("delay", 0)), FailureAction=policy.get("failure_action"))
    made |= _given(Monitor=int(policy.get("monitor", 0)))
    return made | {"MaxFailureRatio": policy.get("max_failure_ratio", 0), "Order": policy.get("order", "")}


def _hosts(texts: Any) -> list[str]:
    parts = [text.partition(":") for text in texts]
    return [f"{address} {name}" for name, colon, address in parts if colon]


def _ulimits(ulimits: Mapping[str, Any]) -> list[Value]:
    pairs = {name: (one, one) if isinstance(one, int) else (one.get("soft", 0), one.get("hard", 0)) for name, one in ulimits.items()}
    return [{"Name": name, "Hard": hard, "Soft": soft} for name, (soft, hard) in sorted(pairs.items())]


def _cycle(stack: Stack, start: str) -> list[str]:
    """Services from `start` back to it, each depending on the next; empty when there is no such way."""
    waiting = [[start]]
    seen: set[str] = set()
    while waiting:
        way = waiting.pop()
        for name in stack.services.get(way[-1], {}).get("depends_on") or ():
            if name == start:
                return [*way, start]
            if name not in seen:
                seen.add(name)
                waiting.append([*way, name])
    return []


def _given(**values: Any) -> Value:
    """The values that say something: Go's omitempty."""
    return {name: value for name, value in values.items() if value not in (None, "", 0, [], {}, False)}
