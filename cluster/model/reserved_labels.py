"""What a service's containers, and the swarm, may be given beyond the API's fields, as reserved labels of theirs: read, written, refused. Pure.

Docker's own client keeps labels that it does not know when it rewrites a spec, so these survive it; the command line's --device, --privileged, --shm-size and
--device-cgroup-rule are written as them. `festoon.privileged=true`, `festoon.shm-size=BYTES`, `festoon.device.TARGET=PATH:rwm`,
`festoon.device-cgroup-rule.N=c 10:229 rwm`. On the swarm itself (`swarm update --cert-grace`): `festoon.cert-grace=SECONDS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cluster.model.errors import InvalidArgument
from cluster.model.specs import Pairs

PRIVILEGED: Final = "festoon.privileged"
SHM_SIZE: Final = "festoon.shm-size"
DEVICE: Final = "festoon.device."
DEVICE_RULE: Final = "festoon.device-cgroup-rule."
MAX_SHM_BYTES: Final = 1 << 50
CERT_GRACE: Final = "festoon.cert-grace"
CERT_GRACE_S: Final = 90 * 24 * 3600
VERSION_OF: Final = "festoon.version-of"
"""Of a secret or config that `festoon secret|config update` made: the name of the first one, and which version it is."""

VERSION: Final = "festoon.version"
MAX_CERT_GRACE_S: Final = 20 * 365 * 24 * 3600  # as long as a root lives
_ACCESS: Final = frozenset("rwm")


@dataclass(frozen=True, slots=True)
class Device:
    path: str  # on the node
    target: str  # in the container
    permissions: str  # of r, w, m


@dataclass(frozen=True, slots=True)
class Extras:
    """`shm_size_bytes` 0: the default."""

    privileged: bool = False
    shm_size_bytes: int = 0
    devices: tuple[Device, ...] = ()
    device_rules: tuple[str, ...] = ()


def extras(labels: Pairs) -> Extras:
    """What a container's labels ask for. Raises InvalidArgument for a reserved one with a value that it can't have."""
    found = dict(labels)
    privileged = found.get(PRIVILEGED, "false")
    if privileged not in ("true", "false"):
        raise InvalidArgument(f"invalid label {PRIVILEGED}={privileged}: must be true or false")
    size = found.get(SHM_SIZE, "0")
    if not (size.isascii() and size.isdigit() and int(size) <= MAX_SHM_BYTES):
        raise InvalidArgument(f"invalid label {SHM_SIZE}={size}: must be a number of bytes")
    return Extras(
        privileged=privileged == "true",
        shm_size_bytes=int(size),
        devices=tuple(_device(name.removeprefix(DEVICE), value) for name, value in labels if name.startswith(DEVICE)),
        device_rules=tuple(value for name, value in labels if name.startswith(DEVICE_RULE)),
    )


def _device(target: str, value: str) -> Device:
    path, _, permissions = value.partition(":")
    if not target.startswith("/") or not path.startswith("/") or not permissions or not set(permissions) <= _ACCESS:
        raise InvalidArgument(f"invalid label {DEVICE}{target}={value}: must be {DEVICE}/dev/TARGET=/dev/PATH:rwm")
    return Device(path, target, permissions)


def device_label(path: str, target: str, permissions: str) -> tuple[str, str]:
    """The label that asks for a device."""
    return f"{DEVICE}{target}", f"{path}:{permissions}"


def cert_grace_s(labels: Pairs) -> int:
    """For how long after its expiry a node's certificate can still be renewed, by the swarm's labels; 0: not at all. Raises InvalidArgument."""
    text = dict(labels).get(CERT_GRACE, str(CERT_GRACE_S))
    if not (text.isascii() and text.isdigit() and int(text) <= MAX_CERT_GRACE_S):
        raise InvalidArgument(f"invalid label {CERT_GRACE}={text}: must be a number of seconds, at most {MAX_CERT_GRACE_S}")
    return int(text)
