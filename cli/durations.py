"""Which numbers of the Engine API are durations: Docker's client prints them as Go does in a template (`5s`), and as numbers in JSON. Pure.

Source: the fields of type time.Duration in moby's api/types.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from cli.units import show_duration
from cluster.model.template_functions import Struct

_UPDATE: Final = frozenset({"Delay", "Monitor"})
FIELDS: Final[Mapping[str, frozenset[str]]] = {
    "CAConfig": frozenset({"NodeCertExpiry"}),
    "ContainerSpec": frozenset({"StopGracePeriod"}),
    "Dispatcher": frozenset({"HeartbeatPeriod"}),
    "Healthcheck": frozenset({"Interval", "Timeout", "StartPeriod", "StartInterval"}),
    "RestartPolicy": frozenset({"Delay", "Window"}),
    "RollbackConfig": _UPDATE,
    "UpdateConfig": _UPDATE,
}
"""By the object that they are in."""


class Duration(int):
    """Nanoseconds."""

    def __str__(self) -> str:
        return show_duration(int(self))


def marked(value: Any, within: str = "") -> Any:
    """The value, with its durations as such."""
    if isinstance(value, Mapping):
        durations = FIELDS.get(within, frozenset())
        made = {key: Duration(item) if key in durations and isinstance(item, int) else marked(item, key) for key, item in value.items()}
        return Struct(made, value.absent) if isinstance(value, Struct) else made
    if isinstance(value, list):
        return [marked(item) for item in value]
    return value
