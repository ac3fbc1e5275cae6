"""The seed's anatomy as a plan: a node with one task of web, seen as values."""

from __future__ import annotations

import dataclasses

import pytest

from netfabric.anatomy.attachments import UnknownNetwork
from netfabric.anatomy.balancer import Balancing
from netfabric.plan import plan
from netfabric.state import NODE, Address, End, Forwarding, HeldPort, Link, LinkKind, Neighbour, RealServer, ReturnPath, Route, Sysctl
from netfabric.state import VirtualService as Service
from netfabric.view import (
    Backend,
    Balancer,
    Bridge,
    HostPort,
    Interface,
    Overlay,
    PublishedPort,
    Remote,
    Sandbox,
    Subnet,
    View,
)

WEB = PublishedPort("tcp", 8080, 80)
INGRESS = Overlay(
    "14fy2l7a4mcixxxxxxxxxxxxx",
    "ingress",
    4096,
    "10.0.0.0/24",
    "10.0.0.1",
    "10.0.0.2/24",
    ingress=True,
    remotes=(Remote("10.0.0.7", "192.168.200.11"),),
    balancers=(Balancer("web", "10.0.0.5", 256, (Backend("10.0.0.6"), Backend("10.0.0.7")), (WEB,)),),
)
MYNET = Overlay(
    "lpirdge00y3jxxxxxxxxxxxxx",
    "mynet",
    4097,
    "10.0.1.0/24",
    "10.0.1.1",
    "10.0.1.4/24",
    balancers=(Balancer("web", "10.0.1.5", 257, (Backend("10.0.1.13"),)),),
)
TASK = Sandbox(
    "c83ee052787a",
    (
        Interface("eth0", INGRESS.id, "10.0.0.6/24"),
        Interface("eth1", "docker_gwbridge", "172.18.0.3/16", "172.18.0.1"),
        Interface("eth2", MYNET.id, "10.0.1.13/24"),
    ),
    (WEB,),
    (("net.ipv4.ip_unprivileged_port_start", "0"), ("kernel.shmmax", "1")),
)
VIEW = View(
    vtep="192.168.200.10",
    gateway_bridge=Bridge("docker_gwbridge", "172.18.0.0/16", "172.18.0.1/16", isolate=True),
    overlays=(INGRESS, MYNET),
    sandboxes=(TASK,),
)
LOOPBACK = Link("lo", LinkKind.LOOPBACK)


def chains(namespace: str, view: View = VIEW, balancing: Balancing = Balancing.NFT) -> dict[str, tuple[str, ...]]:
    (table,) = plan(view, balancing).state[namespace].tables
    return {chain.name: chain.rules for chain in table.chains}


def test_namespaces_have_docker_s_names() -> None:
    names = set(plan(VIEW, Balancing.NFT).state)
    assert names == {NODE, "1-14fy2l7a4m", "1-lpirdge00y", "ingress_sbox", "lb_lpirdge00", "c83ee052787a"}


def test_overlay_has_bridge_tunnel_and_a_port_for_each_local_interface() -> None:
    overlay = plan(VIEW, Balancing.NFT).state["1-14fy2l7a4m"]
    loopback, bridge, tunnel, balancer, task = overlay.links
    assert loopback == LOOPBACK
    assert bridge == Link("br0", LinkKind.BRIDGE, mac="02:42:0a:00:00:01")
    assert tunnel == Link("vxlan0", LinkKind.VXLAN, mtu=1450, master="br0", vni=4096, port=4789, learning=False)
    assert balancer.peer == End("ingress_sbox", "eth0", "02:42:0a:00:00:02")
    assert task.peer == End("c83ee052787a", "eth0", "02:42:0a:00:00:06")
    assert (task.master, task.mtu, task.isolated) == ("br0", 1450, False)
    assert overlay.addresses == (Address("br0", "10.0.0.1/24"),)


def test_remote_addresses_are_neighbours_and_forwarded_never_learned() -> None:
    overlay = plan(VIEW, Balancing.NFT).state["1-14fy2l7a4m"]
    mac = "02:42:0a:00:00:07"
    assert overlay.neighbours == {Neighbour("vxlan0", "10.0.0.7", mac)}
    assert overlay.forwarding == {Forwarding("vxlan0", mac, "192.168.200.11"), Forwarding("vxlan0", mac)}


def test_task_has_its_interfaces_in_order_with_docker_s_macs() -> None:
    task = plan(VIEW, Balancing.NFT).state["c83ee052787a"]
    assert task.links == (
        LOOPBACK,
        Link("eth0", LinkKind.PEER, mtu=1450, mac="02:42:0a:00:00:06"),
        Link("eth1", LinkKind.PEER, mtu=1500, mac="02:42:ac:12:00:03"),
        Link("eth2", LinkKind.PEER, mtu=1450, mac="02:42:0a:00:01:0d"),
    )
    assert task.addresses == (
        Address("eth0", "10.0.0.6/24"),
        Address("eth1", "172.18.0.3/16"),
        Address("eth2", "10.0.1.13/24"),
    )
    assert task.routes == (Route("eth1", "default", "172.18.0.1"),)


def test_task_takes_published_ports_on_its_ingress_address_and_nothing_else() -> None:
    rules = chains("c83ee052787a")
    assert rules["PREROUTING"] == ("ip daddr 10.0.0.6 tcp dport 8080 counter redirect to :80",)
    assert rules["INPUT"] == (
        "ip daddr 10.0.0.6 tcp dport 80 ct state new,established counter accept",
        "ip daddr 10.0.0.6 meta l4proto { tcp, udp, sctp } counter drop",
    )


def test_only_network_sysctls_are_the_fabric_s() -> None:
    sysctls = plan(VIEW, Balancing.NFT).state["c83ee052787a"].sysctls
    assert Sysctl("net.ipv4.ip_unprivileged_port_start", "0") in sysctls
    assert not any(sysctl.key.startswith("kernel.") for sysctl in sysctls)


def test_ingress_sandbox_stands_on_ingress_and_the_gateway_bridge() -> None:
    sandbox = plan(VIEW, Balancing.NFT).state["ingress_sbox"]
    assert [link.name for link in sandbox.links] == ["lo", "eth0", "eth1"]
    assert sandbox.addresses == (
        Address("eth0", "10.0.0.2/24"),
        Address("eth1", "172.18.0.2/16"),
        Address("eth0", "10.0.0.5/32"),
    )
    assert sandbox.routes == (Route("eth1", "default", "172.18.0.1"),)
    assert Sysctl("net.ipv4.ip_forward", "1") in sandbox.sysctls


def test_ingress_sandbox_marks_picks_in_turn_and_answers_for_the_tasks() -> None:
    rules = chains("ingress_sbox")
    assert rules["MARK"][1:] == (
        "tcp dport 8080 counter meta mark set 0x100",
        "ip daddr 10.0.0.5 counter meta mark set 0x100",
    )
    assert rules["FWM-256"] == ("counter dnat to numgen inc mod 2 map { 0 : 10.0.0.6, 1 : 10.0.0.7 }",)
    local = "{ 10.0.0.0/24, 10.0.1.0/24, 172.18.0.0/16 }"
    assert rules["POSTROUTING"] == (f"ip daddr 10.0.0.0/24 meta mark != 0 ip saddr {local} counter snat to 10.0.0.2",)


def test_a_port_that_hides_its_clients_has_the_sandbox_s_address_for_all_of_them() -> None:
    (ingress, *rest) = VIEW.overlays
    (web,) = ingress.balancers
    ports = (PublishedPort("udp", 53, 53, masquerade=True), PublishedPort("tcp", 8080, 80))
    hidden = dataclasses.replace(ingress, balancers=(dataclasses.replace(web, ports=ports),))
    rules = chains("ingress_sbox", dataclasses.replace(VIEW, overlays=(hidden, *rest)))["POSTROUTING"]
    assert rules[1:] == ("ip daddr 10.0.0.0/24 meta mark != 0 udp dport 53 counter snat to 10.0.0.2",)


def test_a_task_answers_by_the_sandbox_of_the_node_that_sent_it_the_client() -> None:
    (ingress, *rest) = VIEW.overlays
    remotes = (*ingress.remotes, Remote("10.0.0.3", "192.0.2.2", balancer=True))
    task = plan(dataclasses.replace(VIEW, overlays=(dataclasses.replace(ingress, remotes=remotes), *rest)), Balancing.NFT).state["c83ee052787a"]
    assert task.returns == {ReturnPath("eth0", "10.0.0.2"), ReturnPath("eth0", "10.0.0.3")}
    assert {path.table for path in task.returns} == {0x0A000002, 0x0A000003}
    assert Sysctl("net.ipv4.conf.eth0.rp_filter", "0") in task.sysctls
    rules = {chain.name: chain.rules for chain in task.tables[0].chains}
    assert rules["ARRIVAL"] == ('iifname "eth0" ct state new ct mark set @ll,64,32 meta mark set ct mark',)
    assert rules["RETURN"] == ("meta mark 0 ct direction reply ct mark != 0 meta mark set ct mark",)


def test_with_ipvs_services_and_servers_replace_the_picking_chains() -> None:
    sandbox = plan(VIEW, Balancing.IPVS).state["ingress_sbox"]
    assert sandbox.services == (Service(256),)
    assert sandbox.servers == {RealServer(256, "10.0.0.6", 1), RealServer(256, "10.0.0.7", 1)}
    assert set(chains("ingress_sbox", balancing=Balancing.IPVS)) == {"MARK", "POSTROUTING"}
    assert Sysctl("net.ipv4.vs.conntrack", "1", optional=True) in sandbox.sysctls


def test_user_overlay_s_balancer_marks_by_virtual_address_only() -> None:
    assert chains("lb_lpirdge00")["MARK"][1:] == ("ip daddr 10.0.1.5 counter meta mark set 0x101",)
    assert Address("eth0", "10.0.1.5/32") in plan(VIEW, Balancing.NFT).state["lb_lpirdge00"].addresses


def test_node_sends_published_ports_to_the_ingress_sandbox_and_holds_them() -> None:
    rules = chains(NODE)
    assert rules["DOCKER-INGRESS"] == ("tcp dport 8080 counter dnat to 172.18.0.2:8080", "counter return")
    assert "fib daddr type local counter jump DOCKER-INGRESS" in rules["PREROUTING"]
    assert "fib daddr type local counter jump DOCKER-INGRESS" in rules["OUTPUT"]
    assert 'ip saddr 172.18.0.0/16 oifname != "docker_gwbridge" counter masquerade' in rules["POSTROUTING"]
    node = plan(VIEW, Balancing.NFT).state[NODE]
    assert node.ports == {HeldPort("tcp", 8080), HeldPort("tcp", 8080, "::", ("172.18.0.2", 8080))}
    assert Sysctl("net.ipv4.conf.docker_gwbridge.route_localnet", "1") in node.sysctls


def test_a_bridge_may_leave_behind_addresses_of_choice() -> None:
    bridge = Bridge("b0", "172.19.0.0/16", "172.19.0.1/16", subnet6="fd00::/64", gateway6="fd00::1/64", sources=("192.0.2.1", "2001:db8::1"))
    tables = plan(View(bridges=(bridge,)), Balancing.NFT).state[NODE].tables
    rules = [rule for table in tables for chain in table.chains for rule in chain.rules if " snat to " in rule]
    assert rules == ['ip saddr 172.19.0.0/16 oifname != "b0" counter snat to 192.0.2.1', 'ip6 saddr fd00::/64 oifname != "b0" counter snat to 2001:db8::1']


def test_gateway_bridge_isolates_containers_but_not_the_ingress_sandbox() -> None:
    node = plan(VIEW, Balancing.NFT).state[NODE]
    isolated = {link.peer.namespace: link.isolated for link in node.links if link.peer}
    assert isolated == {"ingress_sbox": False, "c83ee052787a": True}
    assert not any("iifname" in rule for rule in chains(NODE)["FORWARD"])


def test_where_rules_see_bridged_packets_they_isolate_and_ports_return_to_their_own_container() -> None:
    view = dataclasses.replace(VIEW, host_ports=(HostPort("tcp", 9000, "172.18.0.3", 90),))
    links = plan(view, Balancing.NFT, bridge_netfilter=True).state[NODE].links
    ports = {link.peer.namespace: (link.isolated, link.hairpin) for link in links if link.peer}
    assert ports == {"ingress_sbox": (False, False), "c83ee052787a": (False, True)}


def test_host_ports_lead_to_one_container_and_are_required() -> None:
    view = View(
        bridges=(Bridge("docker0", "172.17.0.0/16", "172.17.0.1/16"),),
        host_ports=(HostPort("udp", 5353, "172.17.0.2", 53, "127.0.0.1"),),
    )
    assert chains(NODE, view)["DOCKER"] == ("ip daddr 127.0.0.1 udp dport 5353 counter dnat to 172.17.0.2:53",)
    (held,) = plan(view, Balancing.NFT).state[NODE].ports
    assert (held, held.required) == (HeldPort("udp", 5353, "127.0.0.1"), True)
    assert 'iifname "docker0" oifname "docker0" counter accept' in chains(NODE, view)["FORWARD"]


def test_a_node_in_no_swarm_has_nothing() -> None:
    (only,) = plan(View(), Balancing.NFT).state.values()
    assert only.links == only.tables == only.sysctls == ()


def test_tunnel_overhead_comes_off_the_underlay_s_mtu() -> None:
    links = plan(dataclasses.replace(VIEW, underlay_mtu=9000), Balancing.NFT).state["c83ee052787a"].links
    assert [link.mtu for link in links] == [0, 8950, 1500, 8950]


def test_unknown_network_is_refused() -> None:
    broken = Sandbox("c83ee052787a", (Interface("eth0", "nowhere", "10.9.0.2/24"),))
    with pytest.raises(UnknownNetwork, match="eth0 of c83ee052787a is on network nowhere"):
        plan(View(sandboxes=(broken,)), Balancing.NFT)


def test_what_has_not_changed_is_the_same_value() -> None:
    before = plan(VIEW, Balancing.NFT)
    drained = dataclasses.replace(INGRESS.balancers[0], backends=(Backend("10.0.0.6"), Backend("10.0.0.7", 0)))
    view = dataclasses.replace(VIEW, overlays=(dataclasses.replace(INGRESS, balancers=(drained,)), MYNET))
    after = plan(view, Balancing.NFT, before)
    changed = {name for name in after.state if after.state[name] is not before.state[name]}
    assert changed == {"ingress_sbox"}


def test_who_has_an_address_of_one_subnet_reaches_the_others_of_the_same_network_without_a_gateway() -> None:
    two = dataclasses.replace(MYNET, further=(Subnet("10.7.0.0/24", "10.7.0.1"), Subnet("10.8.0.0/24", "10.8.0.9")))
    task = dataclasses.replace(TASK, interfaces=(*TASK.interfaces[:2], Interface("eth2", MYNET.id, "10.7.0.13/24")))
    state = plan(dataclasses.replace(VIEW, overlays=(INGRESS, two), sandboxes=(task,)), Balancing.NFT).state
    assert {Route("eth2", "10.0.1.0/24"), Route("eth2", "10.8.0.0/24")} == {r for r in state[TASK.id].routes if not r.gateway}
    assert {Route("eth0", "10.7.0.0/24"), Route("eth0", "10.8.0.0/24")} == set(state["lb_lpirdge00"].routes)
    assert {a.cidr for a in state["1-lpirdge00y"].addresses} == {"10.0.1.1/24", "10.7.0.1/24", "10.8.0.9/24"}
    (table,) = state["lb_lpirdge00"].tables
    assert any("ip daddr { 10.0.1.0/24, 10.7.0.0/24, 10.8.0.0/24 } meta mark != 0" in rule for chain in table.chains for rule in chain.rules)
    hidden = [rule for chain in state["ingress_sbox"].tables[0].chains for rule in chain.rules if "ip saddr {" in rule]
    assert ["10.8.0.0/24" in rule for rule in hidden] == [True]  # clients inside an overlay's range
