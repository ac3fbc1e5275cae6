"""Which services a service waits for before its first start, as its reserved label says: `festoon.depends-on=db=healthy,migrate=completed_successfully`. Pure.

A label, because the API has no field for it and Docker's own client keeps labels that it does not know. The conditions are the Compose Specification's without
their prefix `service_`.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final, NamedTuple

from cluster.model.errors import InvalidArgument
from cluster.model.specs import Pairs

LABEL: Final = "festoon.depends-on"
MAX_DEPENDENCIES: Final = 100


class Condition(StrEnum):
    STARTED = "started"
    HEALTHY = "healthy"
    COMPLETED = "completed_successfully"


class Dependency(NamedTuple):
    """`name`: another service's."""

    name: str
    condition: Condition


def label(dependencies: Iterable[tuple[str, str]]) -> str:
    """The label's value."""
    return ",".join(f"{name}={condition}" for name, condition in dependencies)


def of(labels: Pairs) -> tuple[Dependency, ...]:
    """What a service's labels ask for. Raises InvalidArgument for a value that the label can't have."""
    text = dict(labels).get(LABEL, "") if labels else ""
    found = tuple(_dependency(part) for part in text.split(",")) if text else ()
    if len(found) > MAX_DEPENDENCIES:
        raise InvalidArgument(f"invalid label {LABEL}: at most {MAX_DEPENDENCIES} services can be waited for")
    return found


def _dependency(text: str) -> Dependency:
    name, _, condition = text.partition("=")
    try:
        if not name:
            raise ValueError("no name")
        return Dependency(name, Condition(condition or Condition.STARTED))
    except ValueError as e:
        known = ", ".join(Condition)
        raise InvalidArgument(f"invalid label {LABEL}={text}: must be SERVICE=CONDITION, with a condition of {known}") from e
