"""What goes wrong with a fabric, said so that an agent can tell whom it concerns."""

from __future__ import annotations

from dataclasses import dataclass

from netfabric.missing import IPVS


@dataclass(frozen=True, slots=True)
class Failure:
    """`namespace` is the sandbox, or the namespace, that is not as wanted ("" for the node's own); `message` names
    the call and the errno.
    """

    namespace: str
    message: str


class FabricError(Exception):
    """Some of what a view asked for could not be made; everything else of it stands."""

    def __init__(self, failures: tuple[Failure, ...]) -> None:
        super().__init__("; ".join(f"{f.namespace or 'node'}: {f.message}" for f in failures))
        self.failures = failures


class BackendUnavailable(FabricError):
    """IPVS was asked for and this kernel does not have it."""

    def __init__(self, reason: str) -> None:
        super().__init__((Failure("", f"IPVS is not available: {reason}: {IPVS}"),))
