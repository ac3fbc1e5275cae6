"""Packets of a container, task or network: heard on this node, or on the node that it is on, by way of the managers.

Owns the choice of where, and this node's part when a manager asks. Reading packets is netfabric/capture.py's.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from cluster.model.errors import Conflict, Internal, InvalidArgument, NotFound
from cluster.wire.calls import Capture, CapturePiece
from cluster.wire.peer import Caller, Handler
from netfabric import capture

if TYPE_CHECKING:
    from agent.containers import Containers
    from agent.networks import Networks
    from agent.node import Node

PIECE_MAX_BYTES: Final = 256 * 1024
"""Of a capture in one message to a manager."""


async def pieces(node: Node, request: Capture) -> AsyncGenerator[bytes, None]:
    """The file as it grows, from this node if what is meant is here, else from its own. Raises NotFound, Conflict, InvalidArgument, Internal, or what
    keeps the managers from asking; all before the first piece is due."""
    limits = _limits(request)
    try:
        return capture.capture(_hear(node.containers, node.networks, request.reference), limits)
    except NotFound as missing:
        if not node.swarm.is_manager:
            hint = ": a worker captures what is on itself, a manager what is on any node" if node.swarm.node_id else ""
            raise NotFound(missing.message + hint) from None
    found = _elsewhere(node, request)
    return _rejoined(await anext(found), found)


async def _elsewhere(node: Node, request: Capture) -> AsyncGenerator[bytes, None]:
    async with node.swarm.stream("control.capture", request) as items:
        async for item in items:
            yield item.data


async def _rejoined(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(rest):
        yield first
        async for piece in rest:
            yield piece


def serve_captures(containers: Containers, networks: Networks) -> Handler:
    """The handler of `node.capture`."""

    async def handler(_caller: Caller, request: Capture) -> AsyncGenerator[CapturePiece, None]:
        async with aclosing(capture.capture(_hear(containers, networks, request.reference), _limits(request))) as heard:
            async for piece in heard:
                for start in range(0, len(piece), PIECE_MAX_BYTES):
                    yield CapturePiece(piece[start : start + PIECE_MAX_BYTES])

    return handler


def _limits(request: Capture) -> capture.Limits:
    limits = capture.Limits(request.count, request.duration_ms / 1000, request.snap_octets or capture.SNAP_OCTETS)
    if limits.count < 0 or limits.duration_s < 0 or not 0 < limits.snap_octets <= capture.SNAP_OCTETS:
        raise InvalidArgument(f"invalid limits of a capture: count and duration are not negative, snaplen is 1 to {capture.SNAP_OCTETS}")
    return limits


def _where(networks: Networks, reference: str) -> tuple[str, str]:
    try:
        return networks.where(reference)
    except NotFound:
        raise NotFound(f"no such task, container or network: {reference}") from None


def _hear(containers: Containers, networks: Networks, reference: str) -> socket.socket:
    """A socket that hears every packet of a container or task here, or of a network on this node. Raises NotFound, Conflict, Internal."""
    found = next((r for r in containers.records() if r.task_id and r.name.rpartition(".")[0] == reference), None)
    try:
        try:
            record = found or containers.find(reference)
        except NotFound:
            return capture.open_socket(*_where(networks, reference))
        if not containers.is_running(record):
            raise Conflict(f"container {record.id} is not running")
        return capture.open_socket(f"/proc/{record.state.pid}/ns/net", "")  # its own, another container's, the node's
    except OSError as error:
        if error.errno == errno.ENODEV:
            raise Conflict(f"no container is on network {reference} on this node") from error
        raise Internal(f"nothing can be captured there: {error.strerror}") from error
