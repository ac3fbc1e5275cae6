"""Fields of requests that say nothing to a node here: of Windows, or what a daemon fills in itself. They are read for their types alone, as Docker's daemon
reads a whole body before it looks at any of it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from agent.engine.fields import Fields

Reader = Callable[[Fields, str], object]
_WEIGHTS: Final[Mapping[str, Reader]] = {"Path": Fields.text, "Weight": Fields.natural}
CONTAINER: Final[Mapping[str, Reader]] = {
    "ArgsEscaped": Fields.flag, "OnBuild": Fields.strings, "Shell": Fields.strings_or_text,
}  # fmt: skip
HOST: Final[Mapping[str, Reader]] = {
    "ContainerIDFile": Fields.text, "Cgroup": Fields.text, "ReadonlyPaths": Fields.strings,
}  # fmt: skip
EXEC: Final[Mapping[str, Reader]] = {"ConsoleSize": Fields.naturals}
EXEC_START: Final[Mapping[str, Reader]] = {"Tty": Fields.flag}  # the exec knows
RESOURCES: Final[Mapping[str, Reader]] = {
    "CpuCount": Fields.integer, "CpuPercent": Fields.integer, "BlkioWeightDevice": lambda fields, name: each_checked(fields.objects(name), _WEIGHTS),
}  # fmt: skip
_ULIMITS: Final[Mapping[str, Reader]] = {"Name": Fields.text, "Soft": Fields.integer, "Hard": Fields.integer}
FIXED: Final[Mapping[str, Reader]] = {"Init": Fields.flag, "Ulimits": lambda fields, name: each_checked(fields.objects(name), _ULIMITS)}
"""Of a container that is there already: neither can be changed any more."""

ENDPOINT: Final[Mapping[str, Reader]] = {
    "NetworkID": Fields.text, "EndpointID": Fields.text, "Gateway": Fields.text, "IPAddress": Fields.text,
    "IPPrefixLen": Fields.integer, "IPv6Gateway": Fields.text, "GlobalIPv6Address": Fields.text, "GlobalIPv6PrefixLen": Fields.integer,
    "DNSNames": Fields.strings,
}  # fmt: skip
IMAGE_MOUNT: Final[Mapping[str, Reader]] = {"Subpath": Fields.text}


def checked(fields: Fields, unread: Mapping[str, Reader]) -> None:
    """Raises InvalidArgument for one of another type."""
    for name, read in unread.items():
        read(fields, name)


def each_checked(items: tuple[Fields, ...], unread: Mapping[str, Reader]) -> None:
    for item in items:
        checked(item, unread)
