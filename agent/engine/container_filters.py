"""Which containers the filters of `ps` choose: never changes anything.

Source: moby's daemon/list.go, go-connections' nat.ParsePortRange.
"""

from __future__ import annotations

import re
from collections.abc import Set
from typing import TYPE_CHECKING

from agent.engine.call import Filters, matches_labels, matches_prefix
from agent.engine.convert import mapping
from agent.engine.convert_containers import port_map
from agent.engine.convert_host import MAX_PORT
from agent.records import Record
from cluster.model.decimals import is_natural
from cluster.model.errors import InvalidArgument, NotFound
from runtime.errors import NoSuchImage

if TYPE_CHECKING:
    from agent.node import Node
    from runtime.images.store import ImageStore


def check(node: Node, filters: Filters) -> None:
    """Raises InvalidArgument and NotFound for a filter that means nothing, also where there is no container to hold it against."""
    for name in ("publish", "expose"):
        has_port(name, set(), filters.get(name, ()))
    for kind in ("before", "since"):
        for wanted in filters.get(kind, ()):
            _other(node, wanted)


def chosen(node: Node, record: Record, filters: Filters, family: frozenset[str] | None) -> bool:
    """`family`: of the filter's ancestors. The filters have been checked."""
    names = filters.get("name", ())
    status, exited = filters.get("status", ()), filters.get("exited", ())
    is_task = filters.get("is-task", ())
    return (
        matches_prefix(record.id, filters.get("id", ()))
        and (not names or any(_is_named(record.name, wanted) for wanted in names))
        and matches_labels(mapping(record.config.labels), filters.get("label", ()))
        and (not status or record.state.status in status)
        and (not exited or (record.state.status == "exited" and str(record.state.exit_code) in exited))
        and _is_on(record, filters.get("network", ()))
        and (not is_task or bool(record.task_id) in {word.lower() in ("true", "1") for word in is_task})
        and all(_other_end(node, record, kind, wanted) for kind in ("before", "since") for wanted in filters.get(kind, ()))
        and (family is None or record.image_id in family)
        and has_port("publish", {f"{b.host_port}/{b.protocol}" for b in record.ports}, filters.get("publish", ()))
        and has_port("expose", set(port_map(record)), filters.get("expose", ()))
        and (not filters.get("health") or (record.state.health.status if record.state.health else "none") in filters["health"])
        and (not filters.get("volume") or any(m.target in filters["volume"] or m.source in filters["volume"] for m in record.mount_points))
    )


def _is_named(name: str, wanted: str) -> bool:
    """A regular expression for the name, with its slash or without; one that is none is looked for as it stands."""
    try:
        return re.search(wanted, name) is not None or re.search(wanted, f"/{name}") is not None
    except re.error:
        return wanted in name


def _other(node: Node, wanted: str) -> Record:
    try:
        return node.containers.find(wanted)
    except NotFound as error:
        raise NotFound(f"no such container {wanted}") from error


def _other_end(node: Node, record: Record, kind: str, wanted: str) -> bool:
    other = _other(node, wanted)
    if kind == "before":
        return record.created_at_ns < other.created_at_ns
    return record.created_at_ns > other.created_at_ns


def has_port(name: str, ports: set[str], wanted: tuple[str, ...]) -> bool:
    """`80`, `80/udp` or `80-90/tcp` against ports like `80/tcp`; `name` of the filter."""
    for want in wanted:
        numbers, _, protocol = want.partition("/")
        try:
            low, high = _port_range(numbers)
        except ValueError as error:
            raise InvalidArgument(f"error while looking up for {name} {want}: {error}") from error
        if any(low <= int(p.partition("/")[0]) <= high and p.partition("/")[2] == (protocol or "tcp") for p in ports):
            return True
    return not wanted


def _port_range(text: str) -> tuple[int, int]:
    """`80` or `80-90`. Raises ValueError in the words of go-connections' ParsePortRange."""
    if not text:
        raise ValueError("Empty string specified for ports.")
    first, _, last = text.partition("-")
    for word in (first, last or first):
        if not is_natural(word):
            raise ValueError(f'strconv.ParseUint: parsing "{word}": invalid syntax')
        if int(word) > MAX_PORT:
            raise ValueError(f'strconv.ParseUint: parsing "{word}": value out of range')
    if int(last or first) < int(first):
        raise ValueError(f"Invalid range specified for the Port: {text}")
    return int(first), int(last or first)


def _is_on(record: Record, networks: tuple[str, ...]) -> bool:
    """By the name of a network, its id or the beginning of that."""
    return not networks or any(a.network_name == wanted or (wanted and a.network_id.startswith(wanted)) for a in record.attachments for wanted in networks)


def ids_of(images: ImageStore, names: Set[str]) -> dict[str, str]:
    """What the names mean now; nothing where they mean no image."""

    def found(name: str) -> str:
        try:
            return images.get(name).id
        except (NoSuchImage, InvalidArgument):
            return ""

    return {name: found(name) for name in names}


def family(images: ImageStore, ancestors: tuple[str, ...]) -> frozenset[str] | None:
    """The ids of these images and of those that have all their layers below their own; None for all."""
    if not ancestors:
        return None
    known = images.list()
    roots = set(ids_of(images, set(ancestors)).values())
    stacks = [image.diff_ids for image in known if image.id in roots and image.diff_ids]
    return frozenset(roots - {""}) | {image.id for image in known if any(image.diff_ids[: len(s)] == s and image.diff_ids != s for s in stacks)}
