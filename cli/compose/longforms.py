"""What stands in a checked Compose file, in its one long form: short forms written out, keys in docker's order, what says nothing left out. Pure.

A service in its long form is what `stack config` prints, what several files are merged by, and what specs are made of. Paths of the host are resolved against
the file's folder; files themselves are read elsewhere. Source: docker/cli's cli/compose/loader and types.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from cli.compose.ports import parse_port
from cli.compose.volumes import parse_volume
from cli.units import parse_duration, parse_size
from cluster.model.go_values import Duration, go_text

Value = dict[str, Any]
_POINTERS: Final = frozenset(
    {
        "init", "replicas", "parallelism", "retries", "max_attempts", "timeout", "interval", "start_period", "start_interval", "stop_grace_period", "window",
        "mode of file", "delay of restart",
    }
)  # fmt: skip
"""Keys whose zero says something."""

SERVICE_KEYS: Final = (
    "build", "cap_add", "cap_drop", "cgroupns_mode", "cgroup_parent", "command", "configs", "container_name", "credential_spec", "depends_on", "deploy",
    "devices", "dns", "dns_search", "domainname", "entrypoint", "environment", "env_file", "expose", "external_links", "extra_hosts", "group_add",
    "hostname", "healthcheck", "image", "init", "ipc", "isolation", "labels", "links", "logging", "mac_address", "network_mode", "networks", "pid",
    "ports", "privileged", "profiles", "read_only", "restart", "secrets", "security_opt", "shm_size", "stdin_open", "stop_grace_period", "stop_signal",
    "sysctls", "tmpfs", "tty", "ulimits", "user", "oom_score_adj", "userns_mode", "volumes", "working_dir",
)  # fmt: skip
_UPDATE_KEYS: Final = ("parallelism", "delay", "failure_action", "monitor", "max_failure_ratio", "order")
_HEALTH_KEYS: Final = ("test", "timeout", "interval", "retries", "start_period", "start_interval", "disable")
_DEPLOY_KEYS: Final = (
    "mode", "replicas", "labels", "update_config", "rollback_config", "resources", "restart_policy", "placement", "endpoint_mode",
)  # fmt: skip
_VOLUME_KEYS: Final = ("type", "source", "target", "read_only", "consistency", "bind", "volume", "tmpfs", "cluster")
NETWORK_KEYS: Final = ("name", "driver", "driver_opts", "ipam", "external", "internal", "attachable", "labels")
VOLUME_KEYS: Final = ("name", "driver", "driver_opts", "external", "labels")
FILE_KEYS: Final = ("name", "file", "content", "environment", "external", "labels", "driver", "driver_opts", "template_driver")


class Bytes(int):
    """An amount of memory; docker's `stack config` prints it as text."""


class Wrong(ValueError):
    """A value that can't be read. `key`: where, below what is being read. `whole`: the sentence says by itself what is wrong where."""

    def __init__(self, text: str, *key: str | int, whole: bool = False) -> None:
        super().__init__(text)
        self.key = key
        self.whole = whole


def _within(key: str | int, read: Callable[[Any], Any], value: Any) -> Any:
    """What is read of a value; what is wrong with it is wrong at `key`."""
    try:
        return read(value)
    except Wrong as e:
        raise Wrong(str(e), key, *e.key, whole=e.whole) from e
    except ValueError as e:
        raise Wrong(str(e), key) from e


def struct(raw: Mapping[str, Any], keys: Iterable[str], of: str = "") -> Value:
    """The keys in their order, without those whose values say nothing; extensions (x-…) last."""
    made = {key: raw[key] for key in keys if key in raw and _says(raw[key], key, of)}
    return made | {key: raw[key] for key in sorted(raw) if key.startswith("x-")}


def _says(value: Any, key: str, of: str) -> bool:
    if value is None:
        return False
    return key in _POINTERS or f"{key} of {of}" in _POINTERS or value not in ("", 0, False, [], {})


def service(raw: Mapping[str, Any], folder: str, environment: Mapping[str, str]) -> Value:
    """One service in its long form, but for its environment files. `folder`: relative paths begin there. Raises Wrong."""
    made = {key: _within(key, _READERS[key], value) if key in _READERS else value for key, value in raw.items()}
    for number, mount in enumerate(made.get("volumes", ())):
        if mount.get("type") == "bind":
            if not mount.get("source"):
                raise Wrong('invalid mount config for type "bind": field Source must not be empty', "volumes", number, whole=True)
            mount["source"] = resolved(_expanded(mount["source"], environment), folder)
    return struct(made, SERVICE_KEYS)


def resolved(path: str, folder: str) -> str:
    return posixpath.normpath(posixpath.join(folder, path))


def _expanded(path: str, environment: Mapping[str, str]) -> str:
    return environment["HOME"] + path[1:] if path.startswith("~") and "HOME" in environment else path


def text_of(value: Any) -> str:
    """As Go prints it."""
    if isinstance(value, bool):
        return str(value).lower()
    return go_text(value) if isinstance(value, float) else str(value)


def pairs(value: Any) -> dict[str, str]:
    """A mapping or a list of `key=value`; a key without a value has an empty one."""
    return {key: item or "" for key, item in optional_pairs(value).items()}


def optional_pairs(value: Any) -> dict[str, str | None]:
    """As `pairs`; a key without a value has none."""
    if isinstance(value, list):
        parts = [text.partition("=") for text in value]
        found = {key: item if equals else None for key, equals, item in parts}
    else:
        found = {key: None if item is None else text_of(item) for key, item in value.items()}
    return dict(sorted(found.items()))


def _hosts(value: Any) -> list[str]:
    """`name:address`, whether they were written with an equals sign or as a mapping."""
    if isinstance(value, list):
        return [text if ":" in text.partition("=")[0] or "=" not in text else text.replace("=", ":", 1) for text in value]
    return sorted(f"{name}:{text_of(address)}" for name, address in value.items() if address is not None)


def _words(value: Any) -> list[str]:
    """A command: text is split as a shell's words."""
    if not isinstance(value, str):
        return list(value)
    import shlex

    try:
        return shlex.split(value)
    except ValueError as e:
        raise Wrong("EOF found when expecting closing quote" if "quotation" in str(e) else str(e)) from e


def _texts(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [text_of(item) for item in value]


def _test(value: Any) -> list[str]:
    return ["CMD-SHELL", value] if isinstance(value, str) else list(value)


def _duration(value: str) -> Duration:
    return Duration(parse_duration(value), "time.Duration")


def _size(value: Any) -> Bytes:
    return Bytes(parse_size(str(value)))


def _file_references(value: list[Any]) -> list[Value]:
    return [struct({"source": item} if isinstance(item, str) else item, ("source", "target", "uid", "gid", "mode"), "file") for item in value]


def _ports(value: list[Any]) -> list[Value]:
    return [port for number, item in enumerate(value) for port in _within(number, _long_ports, item)]


def _long_ports(item: Any) -> list[Value]:
    if not isinstance(item, dict):
        return list(parse_port(str(item)).ports)
    keys = ("mode", "target", "published", "protocol")
    published = item.get("published", 0)
    if not isinstance(published, str):
        return [struct(item, keys)]
    spread = parse_port(f"{published}:{item.get('target', 0)}/{item.get('protocol') or 'tcp'}").ports
    if len(spread) > 1:
        raise ValueError(f"Invalid hostPort: {published}: a range has no long form in a swarm")
    return [struct({**item, "published": spread[0]["published"]}, keys)]


def _volume(item: Any) -> Value:
    if isinstance(item, str):
        return parse_volume(item)
    raw = dict(item)
    if isinstance(size := (raw.get("tmpfs") or {}).get("size"), str):
        raw["tmpfs"] = {**raw["tmpfs"], "size": parse_size(size)}
    return struct(raw, _VOLUME_KEYS)


def _networks(value: Any) -> Value:
    if isinstance(value, list):
        return dict.fromkeys(sorted(value))
    keys = ("aliases", "driver_opts", "ipv4_address", "ipv6_address")
    return {name: None if one is None else struct(_with_options(one), keys) for name, one in sorted(value.items())}


def _with_options(raw: Mapping[str, Any]) -> Value:
    return {**raw, **({"driver_opts": pairs(raw["driver_opts"])} if raw.get("driver_opts") else {})}


def _depends_on(value: Any) -> Any:
    """Names, or conditions by name when one says more than that the other is to be started."""
    if isinstance(value, list):
        return list(value)
    optional: Value = {"required": False}
    return {
        name: {"condition": one.get("condition", "service_started"), **(optional if one.get("required") is False else {})} for name, one in value.items()
    }


def _env_files(value: Any) -> list[Any]:
    """Paths; with `required: false`, mappings."""
    items = [value] if isinstance(value, str) else value
    return [item if isinstance(item, str) else item["path"] if item.get("required", True) else {"path": item["path"], "required": False} for item in items]


def _health(value: Mapping[str, Any]) -> Value:
    made = {key: _duration(item) if key in ("interval", "timeout", "start_period", "start_interval") else item for key, item in value.items()}
    if "test" in made:
        made["test"] = _test(made["test"])
    if "retries" in made:
        made["retries"] = int(made["retries"])
    return struct(made, _HEALTH_KEYS)


def _update(value: Mapping[str, Any]) -> Value:
    return struct({key: _duration(item) if key in ("delay", "monitor") else item for key, item in value.items()}, _UPDATE_KEYS)


def _restart(value: Mapping[str, Any]) -> Value:
    made = {key: _duration(item) if key in ("delay", "window") else item for key, item in value.items()}
    return struct(made, ("condition", "delay", "max_attempts", "window"), "restart")


def _resource(value: Mapping[str, Any]) -> Value:
    made = dict(value)
    if "cpus" in made:
        made["cpus"] = text_of(made["cpus"])
    if "memory" in made:
        made["memory"] = _within("memory", _size, made["memory"])
    return struct(made, ("cpus", "memory", "pids", "generic_resources"))


def _deploy(value: Mapping[str, Any] | None) -> Value:
    made = dict(value or {})
    for key, read in _DEPLOY_READERS.items():
        if made.get(key) is not None:
            made[key] = _within(key, read, made[key])
    return struct(made, _DEPLOY_KEYS)


def _resources(value: Mapping[str, Any]) -> Value:
    return {key: _within(key, _resource, value[key]) for key in ("limits", "reservations") if key in value}


def _ulimits(value: Mapping[str, Any]) -> Value:
    return {name: one if isinstance(one, int) else struct(one, ("soft", "hard")) for name, one in sorted(value.items())}


_DEPLOY_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "labels": pairs,
    "update_config": _update,
    "rollback_config": _update,
    "restart_policy": _restart,
    "resources": _resources,
    "placement": lambda value: struct(value, ("constraints", "preferences", "max_replicas_per_node")),
}
_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "build": lambda value: {"context": value} if isinstance(value, str) else value,
    "command": _words,
    "configs": _file_references,
    "depends_on": _depends_on,
    "deploy": _deploy,
    "dns": _texts,
    "dns_search": _texts,
    "entrypoint": _words,
    "env_file": _env_files,
    "environment": optional_pairs,
    "expose": _texts,
    "extra_hosts": _hosts,
    "group_add": _texts,
    "healthcheck": _health,
    "labels": pairs,
    "logging": lambda value: struct({**value, "options": pairs(value.get("options") or {})}, ("driver", "options")),
    "networks": _networks,
    "ports": _ports,
    "secrets": _file_references,
    "shm_size": text_of,
    "stop_grace_period": _duration,
    "sysctls": pairs,
    "tmpfs": _texts,
    "ulimits": _ulimits,
    "volumes": lambda value: [_within(number, _volume, item) for number, item in enumerate(value)],
}
