"""Placement constraints: `node.labels.disk==ssd` and its kin, parsed, matched and explained.

Owns the grammar and its meaning; never looks a node up. Words and grammar are SwarmKit's
`manager/constraint/constraint.go`: operators == and !=, values compare without regard to case, a label that is
missing has the value "", an unknown key matches no node.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Final

import msgspec

from cluster.model.errors import InvalidArgument
from cluster.model.objects import Node
from cluster.model.specs import Pairs

OPERATORS: Final = ("==", "!=")
NODE_LABELS: Final = "node.labels."
ENGINE_LABELS: Final = "engine.labels."

_KEY = re.compile(r"[a-z_][a-z0-9\-_.]+", re.IGNORECASE)
_VALUE = re.compile(r"[a-z0-9:\-_\s.*()?+\[\]\\^$|/]+", re.IGNORECASE)
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}


class Constraint(msgspec.Struct, frozen=True):
    """One constraint as parsed: `wanted` True for ==, False for !=."""

    key: str
    wanted: bool
    value: str

    @property
    def text(self) -> str:
        return f"{self.key}{OPERATORS[0] if self.wanted else OPERATORS[1]}{self.value}"


def parse(text: str) -> Constraint:
    """One constraint from its text. Raises InvalidArgument with SwarmKit's words."""
    for operator in OPERATORS:
        key, found, value = text.partition(operator)
        if not found:
            continue
        key, value = key.strip(), value.strip()
        if _KEY.fullmatch(key) is None:
            raise InvalidArgument(f"key '{key}' is invalid")
        if _VALUE.fullmatch(value) is None:
            raise InvalidArgument(f"value '{value}' is invalid")
        return Constraint(key, operator == "==", value)
    raise InvalidArgument(f"constraint expected one operator from {', '.join(OPERATORS)}")


def parse_all(texts: Iterable[str]) -> tuple[Constraint, ...]:
    """All of a service's constraints. Raises InvalidArgument for the first bad one."""
    return tuple(parse(text) for text in texts)


def architecture(name: str) -> str:
    """One name for one machine: x86_64 is amd64, aarch64 is arm64."""
    lower = name.lower()
    return _ARCHITECTURES.get(lower, lower)


def _label(pairs: Pairs, name: str) -> str:
    return next((value for key, value in pairs if key == name), "")


def _same_address(address: str, wanted: str) -> bool:
    try:
        if "/" in wanted:
            return ipaddress.ip_address(address) in ipaddress.ip_network(wanted, strict=False)
        return ipaddress.ip_address(address) == ipaddress.ip_address(wanted)
    except ValueError:
        return False


def value_of(node: Node, key: str) -> str | None:
    """What a node has under a constraint's or a spread descriptor's key; None where the key means nothing."""
    lower = key.lower()
    if lower.startswith(NODE_LABELS) and len(key) > len(NODE_LABELS):
        return _label(node.spec.labels, key[len(NODE_LABELS) :])
    if lower.startswith(ENGINE_LABELS) and len(key) > len(ENGINE_LABELS):
        return _label(node.description.engine_labels, key[len(ENGINE_LABELS) :])
    match lower:
        case "node.id":
            return node.id
        case "node.hostname":
            return node.description.hostname
        case "node.ip":
            return node.status.address
        case "node.role":
            return node.role.value
        case "node.platform.os":
            return node.description.platform.os
        case "node.platform.arch":
            return node.description.platform.architecture
        case _:
            return None


def matches(constraint: Constraint, node: Node) -> bool:
    """Whether this node satisfies this constraint."""
    value = value_of(node, constraint.key)
    if value is None:
        return False
    match constraint.key.lower():
        case "node.ip":
            same = _same_address(value, constraint.value)
        case "node.platform.arch":
            same = architecture(value) == architecture(constraint.value)
        case _:
            same = value.casefold() == constraint.value.casefold()
    return same is constraint.wanted


def satisfied(constraints: Iterable[Constraint], node: Node) -> bool:
    """Whether this node satisfies all of them."""
    return all(matches(c, node) for c in constraints)


def verdict(constraint: Constraint, node: Node) -> str:
    """Why this node does not satisfy this constraint, in words."""
    value = value_of(node, constraint.key)
    if value is None:
        return f"constraint {constraint.text} not satisfied (there is no such key)"
    return f"constraint {constraint.text} not satisfied ({constraint.key} is {value or 'not set'})"
