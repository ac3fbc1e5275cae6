"""What this machine is: name, processors, memory, kernel. Reads /proc and uname; decides nothing."""

from __future__ import annotations

import grp
import os
import socket
import stat
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cluster.model.objects import NodeDescription
from cluster.model.specs import GenericResource, Pairs, Platform, Resources
from cluster.version import VERSION

PLUGINS: Final[Pairs] = (
    ("Log", "json-file"), ("Log", "local"), ("Log", "none"), ("Network", "bridge"), ("Network", "host"), ("Network", "null"), ("Network", "overlay"),
    ("Volume", "local"),
)  # fmt: skip


def memory_bytes() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return 0


@dataclass(frozen=True, slots=True)
class NodeResources:
    """`cpus`, `memory_nodes`: which there are, as the kernel writes lists: `0-3`; empty when it does not say."""

    processors: int
    cpus: str = ""
    memory_nodes: str = ""


def resources() -> NodeResources:
    return NodeResources(len(os.sched_getaffinity(0)), _line("/sys/devices/system/cpu/online"), _line("/sys/devices/system/node/has_memory"))


def _line(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except FileNotFoundError:
        return ""


def has_block_weights() -> bool:
    """Whether any block device is shared by weights: one with the BFQ or CFQ scheduler."""
    schedulers = (path.read_text() for path in Path("/sys/block").glob("*/queue/scheduler"))
    return any("[bfq]" in text or "[cfq]" in text for text in schedulers)


def block_device_number(path: str) -> str:
    """`major:minor` of a block device; empty when it is none."""
    try:
        facts = os.stat(path)
    except OSError:
        return ""
    return f"{os.major(facts.st_rdev)}:{os.minor(facts.st_rdev)}" if stat.S_ISBLK(facts.st_mode) else ""


def group_id(name: str) -> int:
    """A group's number; -1 for one that this machine does not have."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return -1


def describe(labels: Pairs, generic: tuple[GenericResource, ...] = ()) -> NodeDescription:
    """The hello's description of this node."""
    processors = len(os.sched_getaffinity(0))
    return NodeDescription(
        hostname=socket.gethostname(), platform=Platform(os.uname().machine, "linux"),
        resources=Resources(processors * 1_000_000_000, memory_bytes(), generic=generic),
        engine_version=VERSION, engine_labels=labels, plugins=PLUGINS,
    )  # fmt: skip


def engine_id(root: Path) -> str:
    """This node's own id, made once."""
    path = root / "engine-id"
    if path.exists() and (text := path.read_text().strip()):
        return text
    text = str(uuid.uuid4())
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text + "\n")
    temporary.replace(path)
    return text
