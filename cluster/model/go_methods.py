"""Methods of Go's types that templates call: `{{.Spec.UpdateConfig.Delay.Seconds}}`, `{{$port.Proto}}`. Pure.

Not here: those that need a layout or another value (`Format`, `Add`, `Sub`, ...). Source: time, go-connections/nat, docker's api/types/container.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from cluster.model.go_values import Int, go_text

_NETWORKS: Final = {"IsDefault": "default", "IsNone": "none", "IsBridge": "bridge", "IsHost": "host"}


def _per(nanoseconds: int) -> Callable[[Any], Any]:
    return lambda value: int(value) / nanoseconds


def _whole(nanoseconds: int) -> Callable[[Any], Any]:
    return lambda value: Int(int(int(value) / nanoseconds), "int64")


def _container(mode: str) -> str:
    """Whose network it is, if another container's."""
    return mode.removeprefix("container:") if mode.startswith("container:") else ""


def _of_users(mode: str) -> bool:
    return mode not in _NETWORKS.values() and not _container(mode)


def _port(port: str) -> str:
    return port.partition("/")[0]


_METHODS: Final[Mapping[str, Mapping[str, Callable[[Any], Any]]]] = {
    "time.Duration": {
        "Hours": _per(3600 * 10**9), "Minutes": _per(60 * 10**9), "Seconds": _per(10**9), "Milliseconds": _whole(10**6),
        "Microseconds": _whole(10**3), "Nanoseconds": _whole(1), "String": go_text,
    },
    "time.Time": {"IsZero": lambda value: value.startswith("0001-01-01T00:00:00"), "String": go_text},
    "nat.Port": {"Port": _port, "Proto": lambda port: port.partition("/")[2] or "tcp", "Int": lambda port: int(_port(port) or 0)},
    "container.NetworkMode": {
        **{name: word.__eq__ for name, word in _NETWORKS.items()},
        "IsContainer": lambda mode: bool(_container(mode)), "ConnectedContainer": _container, "IsUserDefined": _of_users,
        "IsPrivate": lambda mode: mode != "host" and not _container(mode),
        "UserDefined": lambda mode: str.__str__(mode) if _of_users(mode) else "",
        "NetworkName": lambda mode: "container" if _container(mode) else str.__str__(mode),
    },
}  # fmt: skip


def called(value: Any, type: str, name: str, missing: Any) -> Any:
    """What the value's method of that name returns, or `missing`."""
    method = _METHODS.get(type, {}).get(name)
    return missing if method is None else method(value)
