"""One real packet followed hop by hop, across nodes, by the command line."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator

import pytest

from tests.driver import ADDRESS, MANAGER, WORKER1, WORKER2, Lab, until

NODES = (MANAGER, WORKER1, WORKER2)
WEB = "echo page > /tmp/index.html; exec httpd -f -p 80 -h /tmp"


@pytest.fixture
def network(lab: Lab) -> Iterator[str]:
    lab.ok(MANAGER, "festoon", "network", "create", "-d", "overlay", "--attachable", "way")
    yield "way"
    lab.on(MANAGER, "festoon", "service", "rm", "way-web")
    for node in NODES:
        lab.on(node, "festoon", "rm", "-f", "way-one", "way-two", "way-three")
    assert until(lambda: lab.on(MANAGER, "festoon", "network", "rm", "way").returncode == 0)


def test_between_containers_on_two_nodes_every_hop_of_both_is_told(lab: Lab, network: str) -> None:
    lab.ok(WORKER1, "festoon", "run", "-d", "--name", "way-one", "--network", network, "busybox", "sleep", "1000")
    lab.ok(WORKER2, "festoon", "run", "-d", "--name", "way-two", "--network", network, "busybox", "sleep", "1000")
    lab.ok(WORKER2, "festoon", "run", "-d", "--name", "way-three", "--network", network, "busybox", "sleep", "1000")  # it sees nothing of what is not for it
    assert until(lambda: lab.on(MANAGER, "festoon", "network", "path", "way-one", "way-two").returncode == 0)
    overlay = lab.ok(MANAGER, "festoon", "network", "inspect", "-f", "{{.Id}}", network)[:10]
    forget = ("nsenter", f"--net=/run/festoon/netns/1-{overlay}", "ip", "link", "set", "br0", "type", "bridge", "fdb_flush")
    lab.ok(WORKER2, *forget)  # what the bridge has learned, as it does by itself of who is silent for five minutes
    shown = lab.ok(MANAGER, "festoon", "network", "path", "way-one", "way-two")
    order = ["container way-one", "overlay way", "node", "node", "overlay way", "container way-two"]
    assert re.findall(r"^  \d+\. (.*)$", shown, re.MULTILINE) == order
    assert [line.split()[0] for line in shown.splitlines() if line.startswith("swarm-")] == [WORKER1] * 3 + [WORKER2] * 3
    assert f"dst {ADDRESS[WORKER2]} self permanent" in shown
    assert f"in VXLAN {ADDRESS[WORKER1]} > {ADDRESS[WORKER2]} vni" in shown
    assert "answered after" in shown
    lab.ok(MANAGER, "festoon", "network", "path", "--svg", "/tmp/way.svg", "way-one", "way-two")
    picture = ElementTree.fromstring(lab.ok(MANAGER, "cat", "/tmp/way.svg"))
    assert sum(1 for rect in picture.iter("{http://www.w3.org/2000/svg}rect") if rect.get("rx")) == len(order)
    lab.on(MANAGER, "rm", "-f", "/tmp/way.svg")


def test_to_a_service_the_rules_of_its_balancer_are_told_and_where_a_packet_is_lost(lab: Lab, network: str) -> None:
    where = ("--constraint", f"node.hostname=={WORKER2}")
    lab.ok(MANAGER, "festoon", "service", "create", "--name", "way-web", "--network", network, *where, "busybox", "sh", "-c", WEB)
    lab.ok(WORKER1, "festoon", "run", "-d", "--name", "way-one", "--network", network, "busybox", "sleep", "1000")
    assert until(lambda: lab.on(MANAGER, "festoon", "network", "path", "way-one", "way-web").returncode == 0)
    shown = lab.ok(MANAGER, "festoon", "network", "path", "way-one", "way-web.1")
    assert "container way-web.1." in shown
    shown = lab.ok(MANAGER, "festoon", "network", "path", "way-one", "way-web")
    assert "balancer of overlay way" in shown
    assert re.search(r"rule ip festoon MARK: ip daddr \S+ meta mark set|ipvs FWM", shown)
    lab.ok(WORKER2, "nft", "add table ip lost; add chain ip lost input { type filter hook input priority -300; }; add rule ip lost input udp dport 4789 drop")
    try:
        lost = lab.on(MANAGER, "festoon", "network", "path", "way-one", "way-web")
    finally:
        lab.ok(WORKER2, "nft", "delete table ip lost")
    assert (lost.returncode, "no answer within" in lost.stdout) == (1, True)
    assert "container way-web.1." not in lost.stdout
    told, *warnings = lost.stdout.split("\nwarning: ")
    assert told.count(WORKER2) == 1  # it came as far as the node
    assert [w.partition(", and")[0] for w in warnings] == [f"{WORKER2}: the firewall chain 'ip lost input' has a rule that drops incoming packets of VXLAN"]
    assert "rule ip lost input: udp dport 4789 drop -> drop" in lost.stdout
    lab.ok(WORKER1, "nft", "add table ip lost; add chain ip lost output { type filter hook output priority 0; }; add rule ip lost output udp dport 4789 drop")
    try:
        unsent = lab.on(MANAGER, "festoon", "network", "path", "way-one", "way-web").stdout
    finally:
        lab.ok(WORKER1, "nft", "delete table ip lost")
    assert "rule ip lost output: udp dport 4789 drop -> drop" in unsent  # no link has seen it


def test_an_ipv6_address_is_followed_to_its_node(lab: Lab) -> None:
    lab.ok(MANAGER, "festoon", "network", "create", "-d", "overlay", "--attachable", "--ipv6", "way6")
    try:
        lab.ok(WORKER1, "festoon", "run", "-d", "--name", "way-one", "--network", "way6", "busybox", "sleep", "1000")
        lab.ok(WORKER2, "festoon", "run", "-d", "--name", "way-two", "--network", "way6", "busybox", "sleep", "1000")
        there = lab.ok(WORKER2, "festoon", "inspect", "-f", "{{.NetworkSettings.Networks.way6.GlobalIPv6Address}}", "way-two").strip()
        assert until(lambda: "container way-two" in lab.on(MANAGER, "festoon", "network", "path", "way-one", there).stdout)
        lab.ok(WORKER2, "nft", "add table ip lost; add chain ip lost input { type filter hook input priority 0; }; add rule ip lost input udp dport 4789 drop")
        try:
            assert "rule ip lost input: udp dport 4789 drop -> drop" in lab.on(MANAGER, "festoon", "network", "path", "way-one", there).stdout
        finally:
            lab.ok(WORKER2, "nft", "delete table ip lost")
    finally:
        for node in (WORKER1, WORKER2):
            lab.on(node, "festoon", "rm", "-f", "way-one", "way-two")
        assert until(lambda: lab.on(MANAGER, "festoon", "network", "rm", "way6").returncode == 0)


def test_a_port_of_a_container_on_a_bridge_is_followed_into_it(lab: Lab, network: str) -> None:
    lab.ok(WORKER1, "festoon", "run", "-d", "--name", "way-one", "-p", "8197:80", "busybox", "sh", "-c", WEB)
    assert until(lambda: lab.on(WORKER1, "festoon", "network", "path", "8197").returncode == 0)
    shown = lab.ok(WORKER1, "festoon", "network", "path", "8197")
    assert re.findall(r"^  \d+\. (.*)$", shown, re.MULTILINE) == ["node", "container way-one"]
    assert re.search(r"rule ip festoon DOCKER: tcp dport 8197 dnat to \S+:80 -> accept", shown)


def test_to_a_published_port_a_connection_is_followed_to_the_task(lab: Lab, network: str) -> None:
    where = ("--constraint", f"node.hostname=={WORKER2}")
    lab.ok(MANAGER, "festoon", "service", "create", "--name", "way-web", "--publish", "8199:80", *where, "busybox", "sh", "-c", WEB)
    assert until(lambda: lab.on(MANAGER, "festoon", "network", "path", "8199").returncode == 0)
    shown = lab.ok(MANAGER, "festoon", "network", "path", "8199").partition("One connection, as it went:")[2]
    assert "rule ip festoon DOCKER-INGRESS: tcp dport 8199 dnat" in shown
    assert "container way-web.1." in shown
    assert "redirect to :80" in shown
    lab.ok(WORKER1, "nft", "add table ip lost; add chain ip lost fw { type filter hook forward priority 0; policy drop; }")
    try:  # its own connection is not forwarded: other people's are
        warned = lab.ok(WORKER1, "festoon", "network", "path", "8199")
    finally:
        lab.ok(WORKER1, "nft", "delete table ip lost")
    assert "warning: the firewall chain 'ip lost fw' drops forwarded packets" in warned
    on_worker = lab.ok(WORKER1, "festoon", "network", "path", "8199")
    assert "not asked: the other nodes: only a manager can ask them" in on_worker


def test_what_can_t_be_followed_is_said(lab: Lab, network: str) -> None:
    for argv, words in (
        (("nosuch", "nosuch"), "task nosuch not found"),
        (("99999",), "invalid port: 99999"),
        (("8198",), "no service publishes port 8198 through the mesh on this node"),
    ):
        done = lab.on(MANAGER, "festoon", "network", "path", *argv)
        assert (done.returncode, words in done.stderr) == (1, True), done.stderr
    refused = lab.on(WORKER1, "festoon", "network", "path", "nosuch", "nosuch")
    assert "This node is not a swarm manager" in refused.stderr
