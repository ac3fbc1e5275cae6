"""`GET /metrics`: what this node measures, under dockerd's names, and on a manager what its own manager says of itself. On the node's socket, and with
`festoond --metrics-addr` at an address of its own, where nothing else is answered.

What a manager that does not answer would have said is left out: the rest is what tells that.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from os import strerror
from typing import TYPE_CHECKING, Any, Final

import trio

from agent.engine.answers import error_answer
from agent.engine.call import Call
from agent.engine.system import machine_facts
from cluster.metrics import CONTENT_TYPE, NO_LABELS, gauge
from cluster.model.errors import ClusterError, Unavailable
from cluster.wire.calls import Text
from cluster.wire.http import Application, Request, Response, serve
from cluster.wire.transport import split_address

if TYPE_CHECKING:
    from agent.node import Node

log = logging.getLogger("festoon.metrics")
PATH: Final = "/metrics"
STOPPED: Final = "stopped"
STATES: Final = ("paused", "running", STOPPED)
"""Of a container, as dockerd counts them: what neither runs nor is paused is stopped."""


async def metrics(call: Call) -> Response:
    return await answer(call.node)


async def listen(address: str) -> list[trio.SocketListener]:
    """Listen at `host:port`. Raises InvalidArgument for what is none, Unavailable when it cannot be bound."""
    host, port = split_address(address)
    try:
        return await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        reason = strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error)
        raise Unavailable(f"listen tcp {address}: bind: {reason}") from error


async def run_metrics(node: Node, listeners: Sequence[trio.SocketListener]) -> None:
    """Serve there until cancelled."""
    await serve(listeners, make_application(node))


def make_application(node: Node) -> Application:
    async def application(request: Request) -> Response:
        if request.path != PATH:
            return error_answer("page not found", 404)
        if request.method not in ("GET", "HEAD"):
            return error_answer("method not allowed", 405)
        return await answer(node)

    return application


async def answer(node: Node) -> Response:
    facts = await trio.to_thread.run_sync(machine_facts)
    statuses = [record.state.status for record in node.containers.records()]
    text = engine_text(facts, statuses, node.engine_id, node.version) + swarm_text(node.swarm.node_id, node.swarm.cluster_id, manager=node.swarm.is_manager)
    if node.swarm.is_manager:
        try:
            said: Text = await node.swarm.call_own_manager("control.metrics")
            text += said.text
        except ClusterError as error:
            log.info("this node's manager says nothing of itself", extra={"fields": {"error": error.message}})
    return Response(200, (("Content-Type", CONTENT_TYPE),), text.encode())


def engine_text(facts: dict[str, Any], statuses: Iterable[str], engine_id: str, version: str) -> str:
    """Of the node itself. Pure."""
    found = [status if status in STATES else STOPPED for status in statuses]
    about = {
        "architecture": facts["Architecture"], "commit": "", "daemon_id": engine_id, "graphdriver": "overlay2", "kernel": facts["KernelVersion"],
        "os": facts["OperatingSystem"], "os_type": facts["OSType"], "os_version": facts["OSVersion"], "version": version,
    }  # fmt: skip
    return "".join((
        gauge(
            "engine_daemon_container_states_containers", "The count of containers in various states", [({"state": s}, found.count(s)) for s in STATES],
        ),
        gauge("engine_daemon_engine_cpus_cpus", "The number of cpus that the host system of the engine has", [(NO_LABELS, facts["NCPU"])]),
        gauge("engine_daemon_engine_info", "The information related to the engine and the OS it is running on", [(about, 1)]),
        gauge("engine_daemon_engine_memory_bytes", "The number of bytes of memory that the host system of the engine has", [(NO_LABELS, facts["MemTotal"])]),
    ))  # fmt: skip


def swarm_text(node_id: str, cluster_id: str, *, manager: bool) -> str:
    """Of the node as one of a swarm. Pure."""
    about = gauge("swarm_node_info", "Information related to the swarm", [({"node_id": node_id, "swarm_id": cluster_id}, 1)]) if node_id else ""
    return about + gauge("swarm_node_manager", "Whether this node is a manager or not", [(NO_LABELS, int(manager))])
