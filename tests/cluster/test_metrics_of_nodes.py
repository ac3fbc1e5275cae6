"""`GET /metrics` on every node: managers that lead and that follow, and a worker, each for itself; also without a leader, and without its own manager."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

from tests.cluster.test_survival import pids
from tests.driver import MANAGER, Lab, until
from tests.exposition import Family, parse, value

FOLLOWER, WORKER = "swarm-manager2", "swarm-worker1"
ASK = """
import http.client, socket, sys
connection = http.client.HTTPConnection("localhost")
connection.sock = socket.socket(socket.AF_UNIX)
connection.sock.connect("/run/festoon/festoon.sock")
connection.request("GET", sys.argv[1])
answer = connection.getresponse()
print(answer.status, answer.headers["Content-Type"])
sys.stdout.write(answer.read().decode())
"""
HISTOGRAMS = {
    "swarm_dispatcher_scheduling_delay_seconds", "swarm_raft_snapshot_latency_seconds", "swarm_raft_transaction_latency_seconds",
    "swarm_store_write_tx_latency_seconds",
}  # fmt: skip


def metrics(lab: Lab, node: str) -> dict[str, Family]:
    head, _, text = lab.ok(node, sys.executable, "-c", ASK, "/metrics").partition("\n")
    assert head == "200 text/plain; version=0.0.4; charset=utf-8"
    return parse(text)


def test_every_node_says_what_it_measures(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab("metric", "--nodes", "3", "--managers", "2", "--swarm")
    lab.ok(MANAGER, "festoon", "service", "create", "--name", "one", "--replicas", "3", "busybox", "sleep", "100000")
    lab.ok(WORKER, "festoon", "run", "-d", "--name", "own", "busybox", "sleep", "100000")
    lab.ok(WORKER, "festoon", "pause", "own")
    ids = {node: lab.ok(node, "festoon", "info", "--format", "{{.Swarm.NodeID}}").strip() for node in (MANAGER, FOLLOWER, WORKER)}
    swarm = lab.ok(MANAGER, "festoon", "info", "--format", "{{.Swarm.Cluster.ID}}").strip()

    assert until(lambda: value(metrics(lab, FOLLOWER), "swarm_manager_tasks_total", state="running") == 3)  # it hears of a commit a little later
    found = {node: metrics(lab, node) for node in ids}
    for node, families in found.items():
        assert value(families, "swarm_node_info", node_id=ids[node], swarm_id=swarm) == 1
        assert value(families, "engine_daemon_engine_cpus_cpus") >= 1
        assert value(families, "engine_daemon_engine_memory_bytes") > 0
    leader, follower, worker = found[MANAGER], found[FOLLOWER], found[WORKER]
    for families in (leader, follower):
        assert value(families, "swarm_node_manager") == 1
        assert {name for name, family in families.items() if family.kind == "histogram"} == HISTOGRAMS
        assert value(families, "swarm_manager_nodes", state="ready") == 3
        assert value(families, "swarm_manager_services_total") == 1
        assert value(families, "swarm_manager_tasks_total", state="running") == 3
        assert value(families, "swarm_manager_networks_total") >= 1
        assert value(families, "swarm_store_write_tx_latency_seconds_count") > 0
    assert [value(families, "swarm_manager_leader") for families in (leader, follower)] == [1, 0]
    assert [value(families, "swarm_dispatcher_scheduling_delay_seconds_count") for families in (leader, follower)] == [3, 0]
    assert value(leader, "swarm_dispatcher_scheduling_delay_seconds_sum") > 0
    assert value(leader, "swarm_raft_transaction_latency_seconds_count") > 0
    assert value(follower, "swarm_raft_transaction_latency_seconds_count") == 0

    assert value(worker, "swarm_node_manager") == 0
    assert not any(name.startswith(("swarm_manager_", "swarm_raft_")) for name in worker)
    assert value(worker, "engine_daemon_container_states_containers", state="paused") == 1
    running = sum(value(families, "engine_daemon_container_states_containers", state="running") for families in found.values())
    assert running == 3

    for pid in pids(lab, MANAGER, "manager"):
        os.kill(pid, signal.SIGSTOP)
    silent = metrics(lab, MANAGER)
    assert value(silent, "swarm_node_manager") == 1
    assert not any(name.startswith(("swarm_manager_", "swarm_raft_")) for name in silent)
    assert until(lambda: lab.on(FOLLOWER, "festoon", "node", "ls").returncode != 0)
    leaderless = metrics(lab, FOLLOWER)
    assert value(leaderless, "swarm_manager_leader") == 0
    assert value(leaderless, "swarm_manager_tasks_total", state="running") == 3
