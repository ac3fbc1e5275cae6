"""Nodes that come back as something else than they were: set back to an earlier state, cloned, removed meanwhile, of another version."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.cluster.test_managers import MANAGERS, PROGRAMS, WORKER, all_well, containers, leader_of, pids, send, services, statuses
from tests.cluster.writing import create
from tests.driver import OCTET, OWN_SUBNET, Lab, until
from tests.labs import standing

SPARE = "swarm-worker2"
STATE = "/var/lib/festoon"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    if os.geteuid() != 0:
        pytest.skip("needs root: namespaces, cgroups and mounts are made")
    with standing(f"back{OCTET}", "--swarm", "--nodes", "5", "--managers", "3", "--subnet", f"{OWN_SUBNET}.0/24", timeout_s=120) as made:
        yield made


def kill(lab: Lab, node: str) -> None:
    """The node and its manager, at once; its containers and their supervisor go on."""
    for program in PROGRAMS:
        for pid in pids(lab, node, program):
            os.kill(pid, signal.SIGKILL)
    assert until(lambda: not any(pids(lab, node, program) for program in PROGRAMS))


def start(lab: Lab) -> None:
    done = lab.festoon("up", timeout_s=120)
    assert done.returncode == 0, done.stdout + done.stderr


def follower(lab: Lab) -> str:
    leader = leader_of(lab)
    return next(node for node in MANAGERS if node != leader)


def said_by(lab: Lab, node: str) -> str:
    return lab.ok(node, "cat", "/run/festoon/manager.log")


def raft_id(lab: Lab, node: str) -> str:
    rows = [line.split() for line in lab.ok(leader_of(lab), "festoon", "raft", "status").splitlines()]
    return next((row[0] for row in rows if len(row) > 3 and row[2] == node), "")


def swarm_error(lab: Lab, node: str) -> str:
    return lab.on(node, "festoon", "info", "--format", "{{.Swarm.LocalNodeState}}: {{.Swarm.Error}}").stdout.strip()


def test_a_manager_that_was_set_back_is_told_so_and_joins_anew(lab: Lab) -> None:
    assert all_well(lab)
    node = follower(lab)
    before = raft_id(lab, node)
    send(lab, node, signal.SIGSTOP)
    lab.ok(node, "cp", "-a", f"{STATE}/raft", f"{STATE}/snapshot-of-the-machine")
    send(lab, node, signal.SIGCONT)
    assert all_well(lab)
    written = {f"later-{number}" for number in range(5)}
    for name in written:
        assert create(lab, leader_of(lab), name)
    assert until(lambda: written <= services(lab, node))
    kill(lab, node)
    lab.ok(node, "rm", "-r", f"{STATE}/raft")
    lab.ok(node, "mv", f"{STATE}/snapshot-of-the-machine", f"{STATE}/raft")
    start(lab)
    assert until(lambda: "this manager's log lacks what it had acknowledged" in said_by(lab, node))
    assert all_well(lab)
    assert until(lambda: raft_id(lab, node) not in ("", before)), "it is another member now"
    assert "this manager's log lacks what it had acknowledged" in lab.on(node, "festoon", "info").stderr
    for manager in MANAGERS:
        assert until(lambda at=manager: written <= services(lab, at))  # type: ignore[misc]
    for name in written:
        lab.ok(node, "festoon", "service", "rm", name)


def test_a_cloned_agent_is_reported_and_the_first_one_goes_on(lab: Lab) -> None:
    lab.ok(MANAGERS[0], "festoon", "service", "create", "-d", "--name", "keep", "--constraint", f"node.hostname=={WORKER}", "busybox", "sleep", "100000")
    assert until(lambda: len(containers(lab)) == 1)
    running = containers(lab)
    copy = lab.ok(WORKER, "sh", "-c", f"cd {STATE} && tar c node | base64 -w0")
    lab.ok(SPARE, "festoon", "swarm", "leave")
    kill(lab, SPARE)
    put = lab.on(SPARE, "sh", "-c", f"cd {STATE} && base64 -d | tar x", stdin=copy)
    assert put.returncode == 0, put.stderr
    start(lab)
    told = "two agents have this node's identity"
    assert until(lambda: told in swarm_error(lab, SPARE)), swarm_error(lab, SPARE)
    assert swarm_error(lab, SPARE).startswith("error: ")
    assert f"{OWN_SUBNET}.13 has its session" in swarm_error(lab, SPARE)
    assert told in lab.ok(MANAGERS[0], "festoon", "node", "inspect", "--format", "{{.Status.Message}}", WORKER)
    assert "two agents with one identity" in said_by(lab, leader_of(lab))
    assert swarm_error(lab, WORKER) == "active:"
    assert containers(lab) == running
    lab.ok(SPARE, "festoon", "swarm", "leave")
    token = lab.ok(MANAGERS[0], "festoon", "swarm", "join-token", "-q", "worker").strip()
    lab.ok(SPARE, "festoon", "swarm", "join", "--token", token, f"{OWN_SUBNET}.10:2377")
    assert swarm_error(lab, SPARE) == "active:"
    assert containers(lab) == running
    lab.ok(MANAGERS[0], "festoon", "service", "rm", "keep")


@pytest.mark.parametrize("first", ["the manager", "its clone"])
def test_a_cloned_manager_is_refused_and_the_manager_keeps_its_place(lab: Lab, first: str) -> None:
    assert all_well(lab)
    node, leader = follower(lab), leader_of(lab)
    place = raft_id(lab, node)
    send(lab, node, signal.SIGSTOP)
    copy = lab.ok(node, "sh", "-c", f"cd {STATE} && tar cz node raft | base64 -w0")
    send(lab, node, signal.SIGCONT)
    assert all_well(lab)
    assert create(lab, leader, "after-the-copy")
    lab.ok(SPARE, "festoon", "swarm", "leave")
    if first == "its clone":
        kill(lab, node)
    kill(lab, SPARE)
    put = lab.on(SPARE, "sh", "-c", f"cd {STATE} && rm -rf node raft && base64 -d | tar xz", stdin=copy)
    assert put.returncode == 0, put.stderr
    start(lab)  # of both, the clone may be the first
    assert until(lambda: "a cloned machine has to leave" in swarm_error(lab, SPARE)), swarm_error(lab, SPARE)
    assert all_well(lab)
    if first == "the manager":
        assert until(lambda: "two managers with one identity" in "".join(said_by(lab, manager) for manager in MANAGERS))
        assert raft_id(lab, node) == place
    place = raft_id(lab, node)  # a clone that came first may have been told that its log went back, and have joined as another member, for a moment
    assert swarm_error(lab, node) == "active:"
    assert until(lambda: "after-the-copy" in services(lab, node))
    lab.ok(node, "festoon", "service", "rm", "after-the-copy")
    lab.ok(SPARE, "festoon", "swarm", "leave", "--force")
    token = lab.ok(leader, "festoon", "swarm", "join-token", "-q", "worker").strip()
    lab.ok(SPARE, "festoon", "swarm", "join", "--token", token, f"{OWN_SUBNET}.10:2377")
    assert swarm_error(lab, SPARE) == "active:"
    assert all_well(lab)
    assert raft_id(lab, node) == place


def test_nodes_of_neighbouring_versions_make_one_cluster_and_others_are_told(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    node = follower(lab)
    for version in ("1", "3"):  # not upgraded yet; upgraded first
        monkeypatch.setenv("FESTOON_SPEAK", version)
        kill(lab, node)
        start(lab)
        assert all_well(lab)
        assert until(lambda: swarm_error(lab, node) == "active:")
        assert create(lab, node, f"with-{version}")
        send(lab, leader_of(lab), signal.SIGTERM)  # and whoever leads now, the others follow
        assert all_well(lab)
        lab.ok(node, "festoon", "service", "rm", f"with-{version}")
    monkeypatch.setenv("FESTOON_SPEAK", "4")
    other = next(manager for manager in MANAGERS if manager != node)
    kill(lab, node)
    kill(lab, WORKER)
    start(lab)
    words = "speaks version 4 of the managers' protocol and this manager version 2: only neighbours understand each other"
    assert until(lambda: words in swarm_error(lab, WORKER)), swarm_error(lab, WORKER)
    assert until(lambda: words in swarm_error(lab, node)), swarm_error(lab, node)
    assert words in lab.on(node, "festoon", "node", "ls").stderr
    assert until(lambda: statuses(lab, other).get(node) == "Unreachable")
    assert create(lab, other, "without")
    lab.ok(other, "festoon", "service", "rm", "without")
    monkeypatch.delenv("FESTOON_SPEAK")
    kill(lab, node)
    kill(lab, WORKER)
    start(lab)
    assert all_well(lab, other)
    assert until(lambda: swarm_error(lab, WORKER) == swarm_error(lab, node) == "active:")


def test_a_manager_that_was_removed_while_it_was_down_is_told_and_stops(lab: Lab) -> None:
    assert all_well(lab)
    node, leader = follower(lab), leader_of(lab)
    identity = lab.ok(leader, "festoon", "node", "inspect", "--format", "{{.ID}}", node).strip()
    kill(lab, node)
    assert until(lambda: lab.ok(leader, "festoon", "node", "inspect", "--format", "{{.Status.State}}", identity).strip() == "down")
    lab.ok(leader, "festoon", "node", "demote", identity)
    assert until(lambda: lab.on(leader, "festoon", "node", "rm", identity).returncode == 0)
    start(lab)
    assert until(lambda: "This node was removed from the swarm." in swarm_error(lab, node)), swarm_error(lab, node)
    assert until(lambda: not pids(lab, node, "manager"))
    refused = lab.on(node, "festoon", "node", "ls")
    assert (refused.returncode, "This node was removed from the swarm." in refused.stderr) == (1, True), refused.stderr
    lab.ok(node, "festoon", "swarm", "leave")
    token = lab.ok(leader, "festoon", "swarm", "join-token", "-q", "manager").strip()
    lab.ok(node, "festoon", "swarm", "join", "--token", token, f"{OWN_SUBNET}.{10 + MANAGERS.index(leader)}:2377")
    assert all_well(lab, leader)
