"""Which users and groups of the host the containers of this node are: a sub-range for its user namespaces, and who gets one. Reads /etc/subuid, keeps
the range that it chose; makes no namespace.

`--userns-remap` of festoond makes a user namespace the default, as dockerd's does, and `--userns=host` opts out; without it `--userns=remap` opts in.
Owners on disk are those that the container sees (its mounts shift them), so the range can change between two starts. Source: subuid(5).
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Final

from agent.records import HostConfig
from cluster.durable import write_atomically
from cluster.model.errors import InvalidArgument
from runtime.spec import IdRange

DEFAULT: Final = "default"
DEFAULT_NAME: Final = "dockremap"
"""Whose ranges `default` takes, where /etc/subuid and /etc/subgid have any: dockerd's name."""

HOST: Final = "host"
REMAP: Final = "remap"
OFF: Final = ""
COUNT: Final = 65_536
LOWEST: Final = 1 << 20
HIGHEST: Final = 1 << 31
SUBORDINATE: Final = ("subuid", "subgid")
Range = tuple[int, int]


class UserNamespaces:
    """`setting`: of --userns-remap, empty: containers have no user namespace unless they ask for one."""

    def __init__(self, ids: IdRange, *, default: bool) -> None:
        self._ids = ids
        self.default = default

    def ids(self, host: HostConfig) -> IdRange | None:
        """None: the container stays in the host's."""
        remapped = host.userns_mode == REMAP or (self.default and host.userns_mode != HOST)
        return self._ids if remapped else None


def load(root: Path, setting: str, etc: Path = Path("/etc")) -> UserNamespaces:
    """The range of --userns-remap, or the one that this node chose once. Raises InvalidArgument for one that can't be, OSError."""
    tables = tuple(_table(etc / name) for name in SUBORDINATE)
    if setting not in (OFF, DEFAULT):
        return UserNamespaces(_asked(setting, tables), default=True)
    named = [table.get(DEFAULT_NAME) for table in tables]
    if setting == DEFAULT and named[0] is not None and named[0] == named[1]:
        return UserNamespaces(_checked(*named[0]), default=True)
    return UserNamespaces(_kept(root / "subids", tables), default=setting == DEFAULT)


def _table(path: Path) -> dict[str, Range]:
    """The first range of each name."""
    found: dict[str, Range] = {}
    try:
        lines = path.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return found
    for line in lines:
        name, _, numbers = line.partition(":")
        first, _, count = numbers.partition(":")
        if first.isdigit() and count.isdigit():
            found.setdefault(name, (int(first), int(count)))
    return found


def _asked(setting: str, tables: tuple[dict[str, Range], ...]) -> IdRange:
    """`BASE:COUNT`, or a name that has the same range in both files."""
    first, _, count = setting.partition(":")
    if first.isdigit() and count.isdigit():
        return _checked(int(first), int(count))
    name = first
    ranges = [table.get(name) for table in tables]
    for file, found in zip(SUBORDINATE, ranges, strict=True):
        if found is None:
            raise InvalidArgument(f"can't create ID mappings: no {file} ranges found for user {name!r} in /etc/{file}")
    if ranges[0] is None or ranges[0] != ranges[1]:
        raise InvalidArgument(f"can't create ID mappings: user {name!r} has other ranges in /etc/subgid than in /etc/subuid")
    return _checked(*ranges[0])


def _checked(base: int, count: int) -> IdRange:
    if base < 1 or count < 1 or base + count > 2**32 - 1:
        raise InvalidArgument(f"can't create ID mappings: {base}:{count} is no range of ids above 0 and below {2**32 - 1}")
    return IdRange(base, count)


def _kept(path: Path, tables: tuple[dict[str, Range], ...]) -> IdRange:
    """A range of this node alone, chosen once: nobody else's, by /etc/subuid and by chance."""
    try:
        base, count = (int(word) for word in path.read_text().split())
        return _checked(base, count)
    except (FileNotFoundError, ValueError):
        ids = choose([taken for table in tables for taken in table.values()], random.SystemRandom())
    write_atomically(path, f"{ids.base} {ids.count}\n".encode())
    return ids


def choose(taken: list[Range], chance: random.Random) -> IdRange:
    """COUNT ids that are in none of the ranges. Pure."""
    while True:
        base = chance.randrange(LOWEST, HIGHEST, COUNT)
        if all(base + COUNT <= first or first + count <= base for first, count in taken):
            return IdRange(base, COUNT)
