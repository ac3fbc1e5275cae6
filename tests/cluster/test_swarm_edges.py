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
    for words, complaint in (
        (("--data-path-port", "1", "--advertise-addr", "nonsense"), "advertise address must be a non-zero IP address"),
        (("--data-path-port", "1", "--listen-addr", "nonsense"), "listen address must be an IP address or network interface"),
        (("--data-path-port", "1", "--default-addr-pool-mask-length", "30"), "subnet size is out of range: 30"),
        (("--data-path-port", "1"), "Datapath port number is not in valid range (1024-49151) : 1"),
        (("--listen-addr", "192.0.2.1:2377"), "manager stopped: failed to listen on remote API address: listen tcp 192.0.2.1:2377: bind: cannot assign"),
    ):  # in Docker's order: addresses before numbers, then what only a manager can find out
        refused = lab.on(MANAGER, "festoon", "swarm", "init", *words)
        assert (refused.returncode, complaint in refused.stderr) == (1, True), refused.stderr
    refused = lab.on(MANAGER, "festoon", "swarm", "join", "--listen-addr", "nonsense", "--token", "nonsense", f"{OWN_SUBNET}.10:2377")
    assert "listen address must be an IP address or network interface" in refused.stderr
    refused = lab.on(MANAGER, "festoon", "swarm", "join", "--advertise-addr", "nonsense", "--token", "nonsense", f"{OWN_SUBNET}.10:2377")
    assert "invalid join token" in refused.stderr
    out = lab.ok(MANAGER, "festoon", "swarm", "init")
    assert f"{OWN_SUBNET}.10:2377" in out
    refused = lab.on(MANAGER, "festoon", "network", "rm", "docker_gwbridge")  # the mesh stands on it
    assert "error while removing network: network docker_gwbridge id " in refused.stderr
    assert "has active endpoints" in refused.stderr
    kept = lab.ok(MANAGER, "sh", "-c", "ls /var/lib/festoon/node /var/lib/festoon/raft; cat /var/lib/festoon/raft/* | grep -c SWMTKN || true").split()
    assert {"node.key", "node.crt", "root.crt"} <= set(kept)
    assert kept[-1] == "0", "the log on disk shows a join token in clear"
    token = lab.ok(MANAGER, "festoon", "swarm", "join-token", "-q", "worker").strip()
    for bad in (token[:-4] + "aaaa", "SWMTKN-1-nonsense", token.replace(token[9:20], "00000000000")):
        wrong = lab.on(WORKER1, "festoon", "swarm", "join", "--token", bad, f"{OWN_SUBNET}.10:2377")
        assert wrong.returncode == 1
        assert "Error response from daemon" in wrong.stderr
    malformed = {"": 'invalid remoteAddr "": invalid empty address', "10.0.0.1:x": "could not find local IP address: dial udp: address udp/x: unknown port"}
    for address, why in malformed.items():
        wrong = lab.on(WORKER1, "festoon", "swarm", "join", "--token", token, address)
        assert (wrong.returncode, wrong.stderr) == (1, f"Error response from daemon: {why}\n")
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


def test_who_leaves_takes_its_containers_off_the_swarm_s_networks(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab("left", "--nodes", "1", "--swarm")
    lab.ok(MANAGER, "docker", "network", "create", "-d", "overlay", "--attachable", "over")
    lab.ok(MANAGER, "docker", "network", "create", "-d", "overlay", "--attachable", "over2")
    lab.ok(MANAGER, "docker", "network", "create", "-d", "bridge", "--scope", "swarm", "--attachable", "each")
    lab.ok(MANAGER, "docker", "network", "create", "own")
    sleep = ("busybox", "sleep", "1000")
    lab.ok(MANAGER, "docker", "run", "-d", "--name", "alone", "--network", "over", *sleep)
    lab.ok(MANAGER, "docker", "create", "--name", "later", "--network", "over", *sleep)
    lab.ok(MANAGER, "docker", "run", "-d", "--name", "both", "--network", "over", *sleep)
    lab.ok(MANAGER, "docker", "network", "connect", "over2", "both")
    lab.ok(MANAGER, "docker", "network", "connect", "own", "both")
    lab.ok(MANAGER, "docker", "run", "-d", "--name", "bridged", "--network", "each", *sleep)
    lab.ok(MANAGER, "docker", "service", "create", "-d", "--name", "task", "--network", "over", *sleep)
    assert until(lambda: lab.running("docker", "task"))
    assert lab.ok(MANAGER, "docker", "swarm", "leave", "--force") == "Node left the swarm.\n"
    assert set(lab.ok(MANAGER, "docker", "ps", "-a", "--format", "{{.Names}} {{.State}}").splitlines()) == {
        "alone running", "both running", "bridged running", "later created",
    }
    assert "network over not found" in lab.on(MANAGER, "docker", "start", "later").stderr
    links = ("ls", "/sys/class/net")
    assert lab.ok(MANAGER, "docker", "exec", "alone", *links).split() == lab.ok(MANAGER, "docker", "exec", "bridged", *links).split() == ["lo"]
    assert len(lab.ok(MANAGER, "docker", "exec", "both", *links).split()) == 2
    assert lab.ok(MANAGER, "docker", "inspect", "-f", "{{range $k, $v := .NetworkSettings.Networks}}{{$k}} {{end}}", "both") == "own \n"
    assert lab.ok(MANAGER, "festoon", "network", "diff") == ""
    assert set(lab.ok(MANAGER, "docker", "network", "ls", "--format", "{{.Name}}").split()) == {"bridge", "docker_gwbridge", "host", "none", "own"}
    lab.ok(MANAGER, "docker", "swarm", "init")
    lab.ok(MANAGER, "docker", "network", "create", "-d", "overlay", "--attachable", "over")
    lab.ok(MANAGER, "docker", "network", "connect", "over", "alone")


def test_who_is_killed_while_it_leaves_has_left_after_its_next_start(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab("torn", "--nodes", "1", "--swarm")
    lab.ok(MANAGER, "docker", "network", "create", "-d", "overlay", "--attachable", "over")
    lab.ok(MANAGER, "docker", "run", "-d", "--name", "alone", "--network", "over", "busybox", "sleep", "1000")
    lab.ok(MANAGER, "docker", "service", "create", "-d", "--name", "task", "--network", "over", "busybox", "sleep", "1000")
    assert until(lambda: lab.running("docker", "task"))
    identity = "/var/lib/festoon/node/identity.json"
    for pid in pids(lab, MANAGER, "node"):
        os.kill(pid, signal.SIGKILL)
    left = "import json,sys; p=sys.argv[1]; d=json.load(open(p)); d['left']=True; json.dump(d, open(p, 'w'))"  # what is written first
    lab.ok(MANAGER, "python3", "-I", "-c", left, identity)
    assert lab.festoon("up").returncode == 0
    assert until(lambda: lab.on(MANAGER, "festoon", "info").returncode == 0)
    assert not pids(lab, MANAGER, "manager")
    assert lab.ok(MANAGER, "docker", "ps", "-a", "--format", "{{.Names}}").split() == ["alone"]
    assert lab.ok(MANAGER, "docker", "exec", "alone", "ls", "/sys/class/net").split() == ["lo"]
    assert lab.ok(MANAGER, "festoon", "network", "diff") == ""
    assert lab.ok(MANAGER, "sh", "-c", "ls /var/lib/festoon/node /var/lib/festoon/raft 2>/dev/null || true") == ""
    lab.ok(MANAGER, "docker", "swarm", "init")
