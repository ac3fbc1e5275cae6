"""Three real managers: each of them answers, any of them may die, and nothing that was acknowledged is lost; roles come and go.

A client writes while managers fail; services keep running through all of it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cluster.wire.http_client import Answer, HttpClient
from lab.machines import log_of, socket_of
from tests.cluster.writing import Writer, create
from tests.driver import FESTOON, OCTET, OWN_SUBNET, Lab, until
from tests.labs import standing

MANAGERS = ("swarm-manager", "swarm-manager2", "swarm-manager3")
WORKER = "swarm-worker1"
PROGRAMS = {"node": b"-m\0agent\0", "manager": b"-m\0manager\0"}


@pytest.fixture(scope="module")
def three() -> Iterator[Lab]:
    if os.geteuid() != 0:
        pytest.skip("needs root: namespaces, cgroups and mounts are made")
    with standing(f"mgr{OCTET}", "--swarm", "--nodes", "4", "--managers", "3", "--subnet", f"{OWN_SUBNET}.0/24", timeout_s=120) as lab:
        lab.ok(MANAGERS[0], "festoon", "service", "create", "-d", "--name", "keep", "--replicas", "4", "busybox", "sleep", "100000")
        assert until(lambda: len(lab.running("festoon", "keep")) == 4)
        yield lab


def pids(lab: Lab, node: str, program: str = "") -> set[int]:
    found: set[int] = set()
    for base in Path("/sys/fs/cgroup").glob(f"*/festoon-lab/{lab.name}/{node}"):
        for procs in base.rglob("cgroup.procs"):
            found |= {int(p) for p in procs.read_text().split()}
    return {p for p in found if not program or PROGRAMS[program] in _cmdline(p)}


def _cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def send(lab: Lab, node: str, number: signal.Signals, program: str = "manager") -> None:
    targets = pids(lab, node, program)
    assert targets
    for pid in targets:
        os.kill(pid, number)


def statuses(lab: Lab, node: str) -> dict[str, str]:
    """ManagerStatus by hostname, as this node is told; empty when nobody answers."""
    done = lab.on(node, "festoon", "node", "ls", "--format", "{{.Hostname}}={{.ManagerStatus}}")
    return dict(line.split("=") for line in done.stdout.splitlines())


def leader_of(lab: Lab, node: str = MANAGERS[0]) -> str:
    return until(lambda: next((name for name, status in statuses(lab, node).items() if status == "Leader"), ""))


def all_well(lab: Lab, node: str = MANAGERS[0]) -> bool:
    return until(lambda: sorted(statuses(lab, node).get(name, "") for name in MANAGERS) == ["Leader", "Reachable", "Reachable"], 60)


def services(lab: Lab, node: str) -> set[str]:
    return set(lab.ok(node, "festoon", "service", "ls", "--format", "{{.Name}}").split())


def containers(lab: Lab) -> set[str]:
    """The tasks' programs: their processes, so that a restarted one is another."""
    return {f"{node}:{pid}" for node in (*MANAGERS, WORKER) for pid in pids(lab, node) if _cmdline(pid) == b"sleep\x00100000\x00"}


def at_rest(lab: Lab) -> set[str]:
    """The four programs of the service, once there are no others: a node that was thought lost ends its old ones first."""
    assert until(lambda: len(containers(lab)) == 4)
    return containers(lab)


@contextmanager
def written_through(lab: Lab, prefix: str, nodes: tuple[str, ...] = MANAGERS, *, lost: str = "") -> Iterator[Writer]:
    """A client writes during the block; afterwards all that it was acknowledged is there, and no container was touched but on a node that was lost."""
    before = at_rest(lab)
    with Writer(lab, nodes, prefix) as writer:
        assert writer.goes_on()
        yield writer
        assert writer.goes_on()
    assert all_well(lab)
    for node in nodes:
        assert set(writer.acknowledged) <= services(lab, node)
    assert {one for one in before if not one.startswith(f"{lost}:")} <= containers(lab)


def test_every_manager_answers_and_says_who_leads(three: Lab) -> None:
    assert all_well(three)
    for node in MANAGERS:
        assert leader_of(three, node) == MANAGERS[0]
        info = three.ok(node, "festoon", "info")
        assert "Managers: 3" in info
        assert "Is Manager: true" in info
    inspected = three.ok(MANAGERS[1], "festoon", "node", "inspect", "--format", "{{.ManagerStatus.Reachability}} {{.ManagerStatus.Addr}}", MANAGERS[2])
    assert inspected.strip() == f"reachable {OWN_SUBNET}.12:2377"
    assert three.on(WORKER, "festoon", "node", "ls").returncode != 0


def test_a_leader_that_is_killed_is_followed_by_another(three: Lab) -> None:
    leader = leader_of(three)
    with written_through(three, "killed") as writer:
        send(three, leader, signal.SIGKILL)
        assert writer.goes_on()
        assert leader_of(three) != leader


def test_a_leader_that_is_stopped_hands_over(three: Lab) -> None:
    leader = leader_of(three)
    with written_through(three, "stopped") as writer:
        send(three, leader, signal.SIGTERM)
        assert writer.goes_on()
        assert leader_of(three) != leader


def test_who_waits_for_a_service_to_converge_goes_on_waiting_with_the_next_leader(three: Lab) -> None:
    leader = leader_of(three)
    other = next(node for node in MANAGERS if node != leader)
    command = [FESTOON, "lab", "exec", "--name", three.name, other, "--", "festoon", "service", "create", "--name", "waited", "--replicas", "2"]
    with subprocess.Popen([*command, "busybox", "sleep", "100001"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as creating:
        assert until(lambda: "waited" in services(three, other))
        send(three, leader, signal.SIGKILL)
        said, failed = creating.communicate(timeout=60)
    assert creating.returncode == 0, said + failed
    assert " converged" in said
    three.ok(other, "festoon", "service", "rm", "waited")
    assert all_well(three)


def test_a_leader_that_stands_still_is_followed_and_comes_back_as_another(three: Lab) -> None:
    leader = leader_of(three)
    others = tuple(node for node in MANAGERS if node != leader)
    with written_through(three, "paused", others) as writer:
        send(three, leader, signal.SIGSTOP)
        try:
            assert writer.goes_on()
            assert statuses(three, others[0])[leader] != "Leader"
        finally:
            send(three, leader, signal.SIGCONT)


def test_a_leader_that_is_cut_off_answers_nothing_and_the_others_go_on(three: Lab) -> None:
    leader = leader_of(three)
    others = tuple(node for node in MANAGERS if node != leader)
    with written_through(three, "cut", others, lost=leader) as writer:
        cut(three, leader, others)
        try:
            assert writer.goes_on()
            assert until(lambda: statuses(three, others[0]).get(leader) == "Unreachable")
            assert "The swarm does not have a leader" in three.on(leader, "festoon", "node", "ls").stderr
            info = three.ok(leader, "festoon", "info")
            assert "\n  Error: The swarm does not have a leader." in info
            assert "\n  Is Manager: true" in info
        finally:
            three.ok(leader, "nft", "delete", "table", "inet", "cut")


def cut(lab: Lab, node: str, others: tuple[str, ...]) -> None:
    """Nothing goes between this machine and the other managers any more, in either direction."""
    addresses = ", ".join(f"{OWN_SUBNET}.{10 + MANAGERS.index(other)}" for other in others)
    table = f"""table inet cut {{
        chain in {{ type filter hook input priority -300; ip saddr {{ {addresses} }} drop; }}
        chain out {{ type filter hook output priority -300; ip daddr {{ {addresses} }} drop; }}
    }}"""
    done = lab.on(node, "nft", "-f", "-", stdin=table)
    assert done.returncode == 0, done.stderr


def test_all_managers_killed_at_once_come_back_with_everything(three: Lab) -> None:
    before = at_rest(three)
    names = services(three, MANAGERS[0])
    for node in MANAGERS:
        send(three, node, signal.SIGKILL)
    assert all_well(three)
    assert services(three, MANAGERS[2]) == names
    assert containers(three) == before


def test_a_killed_node_process_takes_its_manager_over_again(three: Lab) -> None:
    manager = pids(three, MANAGERS[1], "manager")
    send(three, MANAGERS[1], signal.SIGKILL, "node")
    assert three.festoon("up").returncode == 0
    assert all_well(three, MANAGERS[1])
    assert pids(three, MANAGERS[1], "manager") == manager


def test_a_worker_is_promoted_and_demoted(three: Lab) -> None:
    before = at_rest(three)
    assert "promoted to a manager in the swarm." in three.ok(MANAGERS[1], "festoon", "node", "promote", WORKER)
    assert until(lambda: statuses(three, WORKER).get(WORKER) == "Reachable")
    assert create(three, WORKER, "bypromoted")
    assert "already a manager" in three.ok(MANAGERS[1], "festoon", "node", "promote", WORKER)
    refused = three.on(MANAGERS[0], "festoon", "node", "rm", "--force", WORKER)
    assert "is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal" in refused.stderr
    three.ok(WORKER, "festoon", "node", "demote", WORKER)
    assert until(lambda: statuses(three, MANAGERS[0]).get(WORKER) == "" and not pids(three, WORKER, "manager"))
    assert until(lambda: "This node is not a swarm manager" in three.on(WORKER, "festoon", "node", "ls").stderr)
    assert containers(three) == before


def test_a_leader_that_is_demoted_leaves_the_lead_to_another(three: Lab) -> None:
    assert all_well(three), "none is demoted while another is not heard"
    leader = leader_of(three)
    other = next(node for node in MANAGERS if node != leader)
    with Writer(three, tuple(node for node in MANAGERS if node != leader), "demoted") as writer:
        assert writer.goes_on()
        three.ok(leader, "festoon", "node", "demote", leader)
        assert until(lambda: statuses(three, other).get(leader) == "" and leader_of(three, other) != leader)
        assert writer.goes_on()
        three.ok(other, "festoon", "node", "update", "--role", "manager", leader)
        assert all_well(three, other)
    assert set(writer.acknowledged) <= services(three, leader)


def test_a_manager_that_was_demoted_and_promoted_while_it_was_dead_comes_back(three: Lab) -> None:
    leader = leader_of(three)
    gone = next(node for node in MANAGERS if node != leader)
    kill_all(three, gone)
    three.ok(leader, "festoon", "node", "demote", gone)
    assert until(lambda: statuses(three, leader).get(gone) == "")
    three.ok(leader, "festoon", "node", "promote", gone)
    assert three.festoon("up").returncode == 0
    assert all_well(three, gone)


def kill_all(lab: Lab, node: str) -> None:
    targets = pids(lab, node)
    assert targets
    for pid in targets:
        os.kill(pid, signal.SIGKILL)


def test_what_would_lose_the_quorum_is_refused(three: Lab) -> None:
    leader = leader_of(three)
    dead, other = (node for node in MANAGERS if node != leader)
    kill_all(three, dead)
    assert until(lambda: statuses(three, leader).get(dead) == "Unreachable")
    refused = three.on(leader, "festoon", "node", "demote", other)
    assert "can't remove member from the raft: this would result in a loss of quorum" in refused.stderr
    leaving = three.on(other, "festoon", "swarm", "leave")
    assert "Removing this node leaves 1 managers out of 3. Without a Raft quorum your swarm will be inaccessible." in leaving.stderr
    assert three.festoon("up").returncode == 0
    assert all_well(three)


def test_a_damaged_log_is_named_once_and_the_manager_is_made_anew_from_the_others(three: Lab) -> None:
    leader = leader_of(three)
    hurt = next(node for node in MANAGERS if node != leader)
    log = log_of(three.name, hurt)
    raft = log.parent / "state" / "raft"
    kill_all(three, hurt)
    with min(raft.glob("log-*")).open("r+b") as segment:
        segment.seek(200)
        segment.write(b"rotten")
    before = log.stat().st_size
    assert three.festoon("up").returncode == 0

    def error() -> str:
        return three.ok(hurt, "festoon", "info", "--format", "{{.Swarm.Error}}")

    assert until(lambda: "of this manager is damaged: " in error())
    sentence = error()
    assert "remove it and let this node join again" in sentence
    (node,) = pids(three, hurt, "node")
    shutil.rmtree(raft)  # as it says
    assert all_well(three, leader)
    assert pids(three, hurt, "node") == {node}
    assert log.read_bytes()[before:].decode().count(sentence.strip()) == 1


def test_two_of_three_lost_and_the_last_one_makes_a_new_cluster_of_all_that_was_there(three: Lab) -> None:
    last = MANAGERS[1]
    with Writer(three, MANAGERS, "lost") as writer:
        assert writer.goes_on()
    for node in (MANAGERS[0], MANAGERS[2]):
        kill_all(three, node)
    assert "The swarm does not have a leader" in three.on(last, "festoon", "service", "ls").stderr
    assert f"none. This is what {last} (Raft id " in three.ok(last, "festoon", "raft", "status")
    peers = {peer["hostname"]: peer for peer in json.loads(three.ok(last, "festoon", "raft", "status", "--format", "json"))["peers"]}
    assert {node: peer["reachable"] for node, peer in peers.items()} == {node: node == last for node in MANAGERS}
    assert peers[last]["state"] in {"follower", "pre-candidate", "candidate"}
    three.ok(last, "festoon", "swarm", "init", "--force-new-cluster")
    assert statuses(three, last)[last] == "Leader"
    assert set(writer.acknowledged) <= services(three, last)
    assert until(lambda: len(running(three, last, "keep")) == 4)
    assert three.festoon("up").returncode == 0
    assert all_well(three, last)  # those that come back hear that they are out, and join anew
    assert set(writer.acknowledged) <= services(three, MANAGERS[0])


def running(lab: Lab, node: str, service: str) -> list[str]:
    rows = lab.rows(node, "festoon", "service", "ps", "--filter", "desired-state=running", service)
    return [row["ID"] for row in rows if row["CurrentState"].startswith("Running")]


def test_a_manager_leaves_and_joins_again(three: Lab) -> None:
    leader = leader_of(three)
    other = next(node for node in MANAGERS if node != leader)
    refused = three.on(leader, "festoon", "swarm", "leave")
    assert "You are attempting to leave the swarm on a node that is participating as a manager." in refused.stderr
    left = three.ok(leader, "festoon", "swarm", "leave", "--force")
    assert left == "Node left the swarm.\n"
    assert until(lambda: statuses(three, other).get(leader) == "" and leader_of(three, other) != leader)
    assert until(lambda: three.on(other, "festoon", "node", "rm", leader).returncode == 0)
    token = three.ok(other, "festoon", "swarm", "join-token", "-q", "manager").strip()
    address = f"{OWN_SUBNET}.{10 + MANAGERS.index(other)}:2377"
    assert three.ok(leader, "festoon", "swarm", "join", "--token", token, address) == "This node joined a swarm as a manager.\n"
    assert all_well(three, leader)


def test_the_log_is_shown_without_secrets(three: Lab) -> None:
    shown = three.ok(MANAGERS[2], "festoon", "raft", "status")
    for node in MANAGERS:
        assert node in shown
    found = json.loads(three.ok(MANAGERS[2], "festoon", "raft", "status", "--format", "json"))
    assert [peer["state"] for peer in found["peers"]].count("replicate") == 2
    assert found["committed"] == found["applied"] == found["last"]
    assert {peer["match"] for peer in found["peers"]} == {found["last"]}
    assert create(three, MANAGERS[0], "shown")
    assert "create service" in three.ok(MANAGERS[1], "festoon", "raft", "log", "--tail", "5")
    token = three.ok(MANAGERS[0], "festoon", "swarm", "join-token", "-q", "worker").strip()
    whole = three.ok(MANAGERS[0], "festoon", "raft", "log", "--tail", "1000", "--format", "json")
    assert "create" in whole
    assert token not in whole
    assert "PRIVATE KEY" not in whole


def test_docker_walks_the_managers_too(three: Lab, program: str) -> None:
    rows = three.ok(MANAGERS[2], program, "node", "ls", "--format", "{{.Hostname}} {{.ManagerStatus}}").splitlines()
    assert sorted(row.split()[-1] for row in rows if "manager" in row) == ["Leader", "Reachable", "Reachable"]
    assert three.ok(MANAGERS[2], program, "swarm", "join-token", "-q", "manager").startswith("SWMTKN-1-")


def test_a_stream_of_commits_goes_on_through_leaders_that_go_with_nothing_missing_or_twice(three: Lab) -> None:
    assert all_well(three)
    name = f"{leader_of(three)}"
    others = tuple(node for node in MANAGERS if node != name)
    lines: list[dict[str, Any]] = []
    connection = HttpClient(socket_of(three.name, others[0]))
    with connection.stream("GET", "/festoon/watch?kinds=service") as stream:
        reading = threading.Thread(target=_read_until, args=(stream, "watched-last", lines), daemon=True)
        reading.start()
        assert until(lambda: bool(lines))
        for number in (signal.SIGKILL, signal.SIGTERM):
            with Writer(three, (others[1],), f"watched{int(number)}-") as writer:
                assert writer.goes_on()
                send(three, leader_of(three, others[0]), number)
                assert writer.goes_on()
            assert all_well(three, others[0])
        assert until(lambda: create(three, others[1], "watched-last"))
        reading.join(timeout=30)
    versions = [line["version"] for line in lines]
    assert versions == sorted(set(versions)), "in order, and none twice"
    assert [bool(line["changes"]) for line in lines] == [False] + [True] * (len(lines) - 1), "it never began anew"
    seen = [change["object"]["Spec"]["Name"] for line in lines for change in line["changes"] if change["op"] == "create"]
    assert len(seen) == len(set(seen))
    assert {name for name in services(three, others[0]) if name.startswith("watched")} == set(seen)
    replayed: list[dict[str, Any]] = []
    with HttpClient(socket_of(three.name, others[1])).stream("GET", f"/festoon/watch?kinds=service&since={versions[1]}") as stream:
        _read_until(stream, "watched-last", replayed)
    assert replayed == [{"version": versions[1], "changes": []}, *lines[2:]]


def _read_until(stream: Answer, name: str, lines: list[dict[str, Any]]) -> None:
    """Every line of the stream until this service has been made."""
    for raw in stream.lines():
        lines.append(json.loads(raw))
        if any(change["object"] and change["object"]["Spec"]["Name"] == name for change in lines[-1]["changes"]):
            return
