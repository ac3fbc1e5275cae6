"""What a service's labels say of its published ports: `festoon.port.8080.affinity=client-ip`, `festoon.port.53/udp.source-ip=preserve`.

Docker's API has no field for these, and its client keeps labels when it rewrites a spec; the flags of `festoon service` are sugar over them. The number
is the published port's; with a protocol the label is for that one alone and wins over the plain one. Owns the names and their sentences; labels of ports
that are not published mean nothing.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from cluster.model.specs import Pairs, PortConfig

PREFIX: Final = "festoon.port."
VALUES: Final[dict[str, tuple[str, ...]]] = {"affinity": ("client-ip", "none"), "source-ip": ("preserve", "masquerade")}
_LABEL: Final = re.compile(r"festoon\.port\.([0-9]{1,5}(?:/(?:tcp|udp|sctp))?)\.([a-z-]+)")


class PortSettings(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """`affinity`: a client's connections go to one task. `masquerade`: tasks see the ingress node instead of the client."""

    affinity: bool = False
    masquerade: bool = False


def key(port: int, protocol: str, name: str) -> str:
    """The label that the flags write."""
    return f"{PREFIX}{port}{'' if protocol == 'tcp' else f'/{protocol}'}.{name}"


def check(labels: Pairs) -> None:
    """Raises ValueError with one sentence for a reserved label that says nothing."""
    for label, value in labels:
        if label.startswith(PREFIX):
            match = _LABEL.fullmatch(label)
            if match is None or match[2] not in VALUES:
                raise ValueError(f"invalid label '{label}': labels of ports are festoon.port.PORT[/PROTOCOL].affinity and .source-ip")
            refuse(match[2], value)


def refuse(name: str, value: str) -> None:
    """Raises ValueError when `name` can't be `value`."""
    if value not in VALUES[name]:
        raise ValueError(f"invalid {name} value '{value}': it is one of {', '.join(VALUES[name])}")


def settings(labels: Pairs, port: PortConfig) -> PortSettings:
    """What holds for the port. Clients' addresses are kept, but for UDP: a server that is bound to no address answers from another one."""
    said = dict(labels)

    def of(name: str, default: str) -> str:
        plain = said.get(f"{PREFIX}{port.published_port}.{name}", default)
        return said.get(f"{PREFIX}{port.published_port}/{port.protocol}.{name}", plain)

    source = of("source-ip", "masquerade" if port.protocol == "udp" else "preserve")
    return PortSettings(of("affinity", "none") == "client-ip", source == "masquerade")
