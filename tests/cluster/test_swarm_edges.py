"""The edges of a swarm: no manager reachable, bad addresses and tokens, leaving, an address that is found."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from tests.cluster.test_survival import pids
from tests.driver import MANAGER, OWN_SUBNET, WORKER1, Lab, until


def test_init_finds_its_address_and_leaves_nothing_when_it_leaves(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab("edge", "--nodes", "2")
    assert "Swarm: inactive" in lab.ok(MANAGER, "festoon", "info")
    refused = lab.on(MANAGER, "festoon", "swarm", "init", "--advertise-addr", "nonsense")
    assert refused.returncode == 1
    assert "advertise address must be a non-zero IP address or network interface" in refused.stderr
    out = lab.ok(MANAGER, "festoon", "swarm", "init")
    assert f"{OWN_SUBNET}.10:2377" in out
    kept = lab.ok(MANAGER, "sh", "-c", "ls /var/lib/festoon/node /var/lib/festoon/raft; cat /var/lib/festoon/raft/* | grep -c SWMTKN || true").split()
    assert {"node.key", "node.crt", "root.crt"} <= set(kept)
    assert kept[-1] == "0", "the log on disk shows a join token in clear"
    token = lab.ok(MANAGER, "festoon", "swarm", "join-token", "-q", "worker").strip()
    for bad in (token[:-4] + "aaaa", "SWMTKN-1-nonsense", token.replace(token[9:20], "00000000000")):
        wrong = lab.on(WORKER1, "festoon", "swarm", "join", "--token", bad, f"{OWN_SUBNET}.10:2377")
        assert wrong.returncode == 1
        assert "Error response from daemon" in wrong.stderr
    nobody = lab.on(WORKER1, "festoon", "swarm", "join", "--token", token, f"{OWN_SUBNET}.99:2377")
    assert nobody.returncode == 1
    assert f"dial tcp {OWN_SUBNET}.99:2377" in nobody.stderr
    lab.ok(WORKER1, "festoon", "swarm", "join", "--token", token, f"{OWN_SUBNET}.10:2377")
    assert lab.ok(WORKER1, "festoon", "swarm", "leave") == "Node left the swarm.\n"
    assert until(lambda: "Down" in lab.ok(MANAGER, "festoon", "node", "ls"))
    lab.ok(WORKER1, "festoon", "swarm", "join", "--label", "zone=a", "--label", "fast", "--token", token, f"{OWN_SUBNET}.10:2377")
    assert "map[fast: zone:a]" in lab.ok(
        MANAGER, "sh", "-c", "festoon node inspect -f '{{.Spec.Labels}}' $(festoon node ls -q)"
    )
    lab.ok(MANAGER, "festoon", "swarm", "leave", "--force")
    assert "Swarm: inactive" in lab.ok(MANAGER, "festoon", "info")
    assert lab.ok(MANAGER, "sh", "-c", "ls /var/lib/festoon/raft 2>/dev/null || true") == ""
    lab.ok(MANAGER, "festoon", "swarm", "init", "--advertise-addr", "eth0")


def test_a_manager_that_does_not_answer_is_said_so_within_five_seconds(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab("silent", "--nodes", "1", "--swarm")
    lab.ok(MANAGER, "festoon", "service", "ls")
    for pid in pids(lab, MANAGER, "manager"):
        os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    done = lab.on(MANAGER, "festoon", "service", "ls")
    assert done.returncode == 1
    assert "The swarm does not have a leader" in done.stderr
    assert time.monotonic() - began < 10
    for pid in pids(lab, MANAGER, "manager"):
        os.kill(pid, signal.SIGCONT)
    assert until(lambda: lab.on(MANAGER, "festoon", "service", "ls").returncode == 0)


def test_the_gateway_s_bridge_is_pruned_when_no_swarm_needs_it(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab("bridge", "--nodes", "1", "--swarm")
    assert lab.ok(MANAGER, "docker", "network", "prune", "-f") == ""
    lab.ok(MANAGER, "docker", "swarm", "leave", "--force")
    assert lab.ok(MANAGER, "docker", "network", "prune", "-f").split()[-1] == "docker_gwbridge"
    lab.ok(MANAGER, "docker", "swarm", "init")
    assert "docker_gwbridge" in lab.ok(MANAGER, "docker", "network", "ls", "--format", "{{.Name}}").split()
