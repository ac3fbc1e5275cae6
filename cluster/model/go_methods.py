"""Methods of Go's types that templates call: `{{.Spec.UpdateConfig.Delay.Seconds}}`, `{{.CreatedAt.Format "15:04"}}`, `{{$port.Proto}}`. Pure.

Source: time, go-connections/nat, docker's api/types/container.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from cluster.model.go_times import DURATION_METHODS, TIME_METHODS
from cluster.model.go_values import Pointer, go_text, type_of
from cluster.model.template_functions import Function

_NETWORKS: Final = {"IsDefault": "default", "IsNone": "none", "IsBridge": "bridge", "IsHost": "host"}
_SHARED: Final = "container:"


def _plain(calls: Mapping[str, Callable[[Any], Any]]) -> Mapping[str, Function]:
    """Methods that take nothing."""
    return {name: Function(call) for name, call in calls.items()}


def _of_container(mode: str) -> bool:
    return mode.startswith(_SHARED)


def _container(mode: str) -> str:
    """Whose it is, if another container's."""
    return mode.removeprefix(_SHARED) if _of_container(mode) else ""


def _of_users(mode: str) -> bool:
    return mode not in _NETWORKS.values() and not _of_container(mode)


def _own(mode: str) -> bool:
    return mode != "host" and not _of_container(mode)


def _port(port: str) -> str:
    return port.partition("/")[0]


def _number(port: str) -> int:
    """0 of a range."""
    return int(_port(port)) if _port(port).isdigit() else 0


def _mode(*known: str, shared: bool = False, **calls: Callable[[Any], Any]) -> Mapping[str, Function]:
    """Of a container's namespaces: what may be chosen, and whether it may be another container's."""
    if shared:
        calls = {"IsContainer": _of_container, "Container": _container, **calls}
    return _plain({"Valid": lambda mode: mode in ("", *known) or (shared and bool(_container(mode))), **calls})


_HOST_ONLY: Final = _mode("host", IsHost="host".__eq__, IsPrivate="host".__ne__)

_METHODS: Final[Mapping[str, Mapping[str, Function]]] = {
    "time.Duration": DURATION_METHODS,
    "time.Time": TIME_METHODS,
    **dict.fromkeys(("time.Month", "time.Weekday", "*time.Location"), _plain({"String": go_text})),
    "nat.Port": _plain({"Port": _port, "Proto": lambda port: port.partition("/")[2] or "tcp", "Int": _number}),
    "container.NetworkMode": _plain({
        **{name: word.__eq__ for name, word in _NETWORKS.items()},
        "IsContainer": _of_container, "ConnectedContainer": _container, "IsUserDefined": _of_users, "IsPrivate": _own,
        "UserDefined": lambda mode: str.__str__(mode) if _of_users(mode) else "",
        "NetworkName": lambda mode: "container" if _of_container(mode) else str.__str__(mode),
    }),
    "container.IpcMode": _mode(
        shared=True,
        IsPrivate="private".__eq__, IsHost="host".__eq__, IsShareable="shareable".__eq__, IsNone="none".__eq__, IsEmpty="".__eq__,
        Valid=lambda mode: mode in ("", "none", "private", "host", "shareable") or _of_container(mode),
    ),
    "container.PidMode": _mode("host", shared=True, IsHost="host".__eq__, IsPrivate=_own),
    "container.UTSMode": _HOST_ONLY,
    "container.UsernsMode": _HOST_ONLY,
    "container.CgroupnsMode": _mode("private", "host", IsPrivate="private".__eq__, IsHost="host".__eq__, IsEmpty="".__eq__),
    "container.CgroupSpec": _mode(shared=True),
    "container.Isolation": _plain({
        "IsDefault": lambda said: said.lower() in ("", "default"), "IsHyperV": lambda said: said.lower() == "hyperv",
        "IsProcess": lambda said: said.lower() == "process",
    }),
    "container.RestartPolicy": _plain({
        "IsNone": lambda policy: policy["Name"] in ("", "no"), "IsAlways": lambda policy: policy["Name"] == "always",
        "IsOnFailure": lambda policy: policy["Name"] == "on-failure", "IsUnlessStopped": lambda policy: policy["Name"] == "unless-stopped",
    }),
    "digest.Digest": _plain({
        "Algorithm": lambda digest: digest.partition(":")[0], "String": str.__str__,
        **dict.fromkeys(("Encoded", "Hex"), lambda digest: digest.partition(":")[2]),
    }),
}  # fmt: skip

_SEVERAL: Final = {"ISOWeek": "int", "Zone": "int", "ZoneBounds": "time.Time", "Date": "", "Clock": ""}
"""Methods of times with several results, and the type of the second, if there are two."""


def refusal(type: str, name: str) -> str:
    """Why no template can call that method; empty for one that isn't there."""
    second = _SEVERAL.get(name) if type == "time.Time" else None
    if second is None:
        return ""
    if second:
        return f"invalid function signature for {name}: second return value should be error; is {second}"
    return f"function {name} has 3 return values; should be 1 or 2"


def method(value: Any, name: str) -> Function | None:
    """The value's method of that name. `value`: what a pointer points at, or the pointer to nothing, whose methods say so when they are called."""
    nil = isinstance(value, Pointer)
    kind = type_of(value).removeprefix("*") if nil else type_of(value)
    found = _METHODS.get(kind, {}).get(name)
    if found is None:
        return None
    return found._replace(call=partial(_nothing, f"{kind}.{name}", kind.rpartition(".")[2]) if nil else partial(found.call, value))


def _nothing(method: str, kind: str, *_: Any) -> Any:
    raise TypeError(f"value method {method} called using nil *{kind} pointer")
