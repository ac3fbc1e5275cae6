"""What a service's labels say of its published ports: `festoon.port.8080.affinity=client-ip`, `festoon.port.53/udp.source-ip=preserve`.

Docker's API has no field for these, and its client keeps labels when it rewrites a spec; the flags of `festoon service` are sugar over them. The number
is the published port's; with a protocol the label is for that one alone and wins over the plain one. Owns the names and their sentences; labels of ports
that are not published mean nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

PREFIX: Final = "festoon.port."
VALUES: Final[dict[str, tuple[str, ...]]] = {"affinity": ("client-ip", "none"), "source-ip": ("preserve", "masquerade")}
_LABEL: Final = re.compile(r"festoon\.port\.([0-9]{1,5}(?:/(?:tcp|udp|sctp))?)\.([a-z-]+)")


def key(port: int, protocol: str, name: str) -> str:
    """The label that the flags write."""
    return f"{PREFIX}{port}{'' if protocol == 'tcp' else f'/{protocol}'}.{name}"


def check(labels: Iterable[tuple[str, str]]) -> None:
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


def said(labels: Mapping[str, str], port: int, protocol: str, name: str, default: str) -> str:
    """What the labels say of a published port."""
    return labels.get(f"{PREFIX}{port}/{protocol}.{name}", labels.get(f"{PREFIX}{port}.{name}", default))
