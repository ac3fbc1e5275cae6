"""One-off services: those that ask for one task, and for nothing but a node for it.

There may be as many of them as tasks, each of which orchestrator, allocator and scheduler would look at: so what they ask for is found out once, when the
service comes or changes. Owns which services those are; never decides. Pure.
"""

from __future__ import annotations

import msgspec

from cluster.model.objects import Service
from cluster.model.specs import Placement, Resources, ServiceModeKind
from manager.orchestrator.dependencies import asked


class OneOff(msgspec.Struct, frozen=True, gc=False):
    """What such a service asks for."""

    spec_version: int
    placement: Placement | None
    reservations: Resources | None


def one_off(service: Service) -> OneOff | None:
    """What this service asks for, if it is such a one: it has no addresses, waits for no other, and has not been updated."""
    spec = service.spec
    if spec.mode.kind is not ServiceModeKind.REPLICATED or spec.mode.replicas not in (None, 1):
        return None
    if service.endpoint is not None or asks_for_addresses(service) or service.update_status is not None or (spec.labels and asked(service)):
        return None
    return OneOff(service.spec_version, spec.task.placement, spec.task.reservations)


def asks_for_addresses(service: Service) -> bool:
    """Whether it publishes ports, or its tasks are on networks of the cluster."""
    spec = service.spec
    return bool(spec.task.networks or spec.networks or (spec.endpoint is not None and spec.endpoint.ports))
