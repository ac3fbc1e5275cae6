"""Looking into a node's networks by the command line: what deviates, what is repaired, what packets pass."""

from __future__ import annotations

import os
import signal
import struct
from collections.abc import Callable

import pytest

from tests.cluster.test_survival import pids
from tests.driver import MANAGER, WORKER1, WORKER2, Lab, until


def test_what_is_deleted_by_hand_comes_back_and_what_nobody_is_told_of_is_shown_and_repaired(lab: Lab) -> None:
    assert until(lambda: lab.on(MANAGER, "festoon", "network", "diff").returncode == 0), lab.on(MANAGER, "festoon", "network", "diff").stdout
    lab.ok(MANAGER, "nft", "flush", "ruleset")
    assert until(lambda: "table ip festoon" in lab.ok(MANAGER, "nft", "list", "tables"))
    assert until(lambda: lab.on(MANAGER, "festoon", "network", "diff").stdout == "")
    key = "net.ipv4.conf.docker_gwbridge.route_localnet"
    lab.ok(MANAGER, "sysctl", "-qw", f"{key}=0")
    shown = lab.on(MANAGER, "festoon", "network", "diff")
    assert shown.returncode == 1
    assert shown.stdout == f"{MANAGER}: missing: sysctl key={key} value=1\n"
    lab.ok(MANAGER, "festoon", "network", "diff", "--repair")
    assert lab.on(MANAGER, "festoon", "network", "diff").stdout == ""
    assert lab.ok(MANAGER, "sysctl", "-n", key).strip() == "1"


def test_a_capture_has_the_packets_of_a_container(lab: Lab) -> None:
    lab.ok(MANAGER, "festoon", "network", "create", "seen")
    try:
        lab.ok(MANAGER, "festoon", "run", "-d", "--name", "chatty", "--network", "seen", "busybox", "ping", "-q", "-i", "0.1", "127.0.0.1")
        lab.ok(MANAGER, "festoon", "network", "capture", "chatty", "-c", "4", "--duration", "20s", "-o", "/tmp/chatty.pcap")
        seen = captured(lab, "/tmp/chatty.pcap")
        assert (len(seen), 98 in seen) == (4, True)  # an echo over Ethernet; the bridge's own words come in between
        refused = lab.on(MANAGER, "festoon", "network", "capture", "nobody", "-c", "1")
        assert (refused.returncode, refused.stderr.strip()) == (1, "Error response from daemon: no such task, container or network: nobody")
        assert lab.on(MANAGER, "festoon", "network", "capture", "chatty", "-s", "0x").returncode != 0
    finally:
        lab.on(MANAGER, "festoon", "rm", "-f", "chatty")
        lab.on(MANAGER, "festoon", "network", "rm", "seen")
        lab.on(MANAGER, "rm", "-f", "/tmp/chatty.pcap")


def captured(lab: Lab, path: str) -> list[int]:
    """How long the packets are that a capture on the manager has."""
    octets = bytes(int(word) for word in lab.ok(MANAGER, "od", "-An", "-v", "-tu1", path).split())
    magic, major, minor, _, _, _, kind = struct.unpack_from("=IHHiIII", octets)
    assert (magic, major, minor, kind) == (0xA1B2C3D4, 2, 4, 1)
    lengths, offset = [], 24
    while offset < len(octets):
        kept, length = struct.unpack_from("=8xII", octets, offset)
        lengths.append(length)
        offset += 16 + kept
    return lengths


@pytest.mark.parametrize("network", ["host", "none"])
def test_a_capture_has_the_packets_of_a_container_without_a_network_of_ours(lab: Lab, network: str) -> None:
    """On the node's own, on none, and in another container's."""
    try:
        lab.ok(MANAGER, "festoon", "run", "-d", "--name", "apart", "--network", network, "busybox", "ping", "-q", "-i", "0.1", "127.0.0.1")
        lab.ok(MANAGER, "festoon", "run", "-d", "--name", "joined", "--network", "container:apart", "busybox", "sleep", "1000")
        for reference in ("apart", "joined"):
            lab.ok(MANAGER, "festoon", "network", "capture", reference, "-c", "2", "--duration", "30s", "-o", "/tmp/apart.pcap")
            assert len(captured(lab, "/tmp/apart.pcap")) == 2, reference
    finally:
        lab.on(MANAGER, "festoon", "rm", "-f", "joined", "apart")


def test_a_capture_of_a_network_says_why_there_is_nothing_to_hear(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab("quiet", "--nodes", "1")
    for network, words in (("none", "network none has no packets"), ("bridge", "no container is on network bridge on this node")):
        refused = lab.on(MANAGER, "festoon", "network", "capture", network, "-c", "1")
        assert (refused.returncode, refused.stderr.strip()) == (1, f"Error response from daemon: {words}")
    lab.ok(MANAGER, "sh", "-c", "ping -q -i 0.1 127.0.0.1 >/dev/null & festoon network capture host -c 2 --duration 30s -o /tmp/host.pcap; kill $!")
    assert len(captured(lab, "/tmp/host.pcap")) == 2


def test_a_capture_has_the_packets_of_a_task_and_a_network_of_another_node(lab: Lab) -> None:
    lab.ok(MANAGER, "festoon", "network", "create", "-d", "overlay", "--subnet", "10.77.5.0/24", "far")
    try:
        lab.ok(MANAGER, "festoon", "service", "create", "--name", "talker", "--network", "far", "--constraint", f"node.hostname=={WORKER1}",
               "busybox", "ping", "-q", "-i", "0.1", "10.77.5.1")  # fmt: skip
        task = lab.ok(MANAGER, "festoon", "service", "ps", "-q", "--no-trunc", "talker").strip()
        for reference in ("talker.1", task, "talker", "far"):
            lab.ok(MANAGER, "festoon", "network", "capture", reference, "-c", "2", "--duration", "30s", "-o", "/tmp/far.pcap")
            assert len(captured(lab, "/tmp/far.pcap")) == 2, reference
        refused = lab.on(WORKER2, "festoon", "network", "capture", "far", "-c", "1")
        assert (refused.returncode, refused.stderr.strip()) == (
            1,
            "Error response from daemon: no such task, container or network: far: a worker captures what is on itself, a manager what is on any node",
        )
    finally:
        lab.on(MANAGER, "festoon", "service", "rm", "talker")
        assert until(lambda: lab.on(MANAGER, "festoon", "network", "rm", "far").returncode == 0)
        lab.on(MANAGER, "rm", "-f", "/tmp/far.pcap")


def test_what_the_kernel_tells_nobody_of_is_looked_at_when_a_session_begins(lab: Lab) -> None:
    key = "net.ipv4.conf.docker_gwbridge.route_localnet"
    lab.ok(WORKER1, "sysctl", "-qw", f"{key}=0")
    for pid in pids(lab, MANAGER, "manager"):
        os.kill(pid, signal.SIGKILL)
    assert until(lambda: lab.ok(WORKER1, "sysctl", "-n", key).strip() == "1")
    assert until(lambda: lab.on(WORKER1, "festoon", "network", "diff").stdout == "")


def test_a_route_that_appears_later_is_no_place_for_a_new_overlay(lab: Lab) -> None:
    def subnet() -> str:
        lab.ok(MANAGER, "festoon", "network", "create", "-d", "overlay", "routed")
        try:
            return lab.ok(MANAGER, "festoon", "network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}}", "routed").strip()
        finally:
            lab.ok(MANAGER, "festoon", "network", "rm", "routed")

    first = subnet()
    lab.ok(WORKER1, "ip", "route", "add", first, "dev", "eth0")
    try:
        assert until(lambda: subnet() != first)
    finally:
        lab.ok(WORKER1, "ip", "route", "del", first, "dev", "eth0")
    assert until(lambda: subnet() == first)


def test_a_port_of_the_mesh_that_somebody_has_already_is_named_on_its_node(lab: Lab) -> None:
    lab.ok(WORKER1, "festoon", "run", "-d", "--name", "taker", "--network", "host", "busybox", "httpd", "-f", "-p", "8099")
    try:
        lab.ok(MANAGER, "festoon", "service", "create", "-d", "--name", "wanter", "-p", "8099:80", "busybox", "sleep", "1000")
        said = "a published port of the mesh can't be held: listen tcp4 0.0.0.0:8099: bind: address already in use"
        assert until(lambda: said in lab.ok(WORKER1, "festoon", "info", "--format", "{{json .Warnings}}"))
        assert said not in lab.ok(WORKER2, "festoon", "info", "--format", "{{json .Warnings}}")
        lab.ok(MANAGER, "festoon", "service", "rm", "wanter")
        assert until(lambda: said not in lab.ok(WORKER1, "festoon", "info", "--format", "{{json .Warnings}}"))
    finally:
        lab.on(MANAGER, "festoon", "service", "rm", "wanter")
        lab.on(WORKER1, "festoon", "rm", "-f", "taker")
