"""What is done, and in which order, to get from one state to another."""

from __future__ import annotations

import dataclasses

from netfabric.anatomy.balancer import Balancing
from netfabric.diff import Change, CreateNamespace, Drop, Put, RemoveNamespace, Transact, diff
from netfabric.plan import plan
from netfabric.state import NODE, NOTHING, Address, Forwarding, Guard, Link, Namespace, RealServer, Sysctl, Target
from netfabric.view import Backend, Balancer, Bridge, Interface, Overlay, PublishedPort, Remote, Sandbox, View

WEB = PublishedPort("tcp", 8080, 80)
TASK = Sandbox("aaaaaaaaaaaa", (Interface("eth0", "0" * 25, "10.0.0.6/24"),), (WEB,))
OVERLAY = Overlay("0" * 25, "ingress", 4096, "10.0.0.0/24", "10.0.0.1", "10.0.0.2/24", ingress=True)
BRIDGE = Bridge("docker_gwbridge", "172.18.0.0/16", "172.18.0.1/16")
VIEW = View(gateway_bridge=BRIDGE, overlays=(OVERLAY,), sandboxes=(TASK,))
STATE = plan(VIEW, Balancing.NFT).state


def with_overlay(**changed: object) -> View:
    return dataclasses.replace(VIEW, overlays=(dataclasses.replace(OVERLAY, **changed),))  # type: ignore[arg-type]


def test_a_state_differs_in_nothing_from_itself() -> None:
    assert diff(STATE, STATE) == ()
    assert diff(plan(VIEW, Balancing.NFT).state, STATE) == ()


def test_guards_stand_before_the_links_that_they_guard() -> None:
    operations = diff(STATE, NOTHING)
    kinds = [type(o) for o in operations if o.namespace == TASK.id]
    assert kinds[0] is CreateNamespace
    assert kinds.index(Transact) < next(i for i, o in enumerate(operations) if isinstance(o, Put) and isinstance(o.item, Link))


def test_a_new_namespace_knows_the_order_of_its_links() -> None:
    created = {o.namespace: o.links for o in diff(STATE, NOTHING) if isinstance(o, CreateNamespace)}
    assert created["ingress_sbox"] == ("eth0", "eth1")


def test_a_task_that_goes_takes_its_port_before_its_namespace() -> None:
    after = plan(dataclasses.replace(VIEW, sandboxes=()), Balancing.NFT).state
    dropped, removed = diff(after, STATE)
    assert isinstance(dropped, Drop)
    assert dropped.namespace == "1-0000000000"
    assert removed == RemoveNamespace(TASK.id)


def test_one_more_remote_is_three_entries() -> None:
    after = plan(with_overlay(remotes=(Remote("10.0.0.9", "192.0.2.2"),)), Balancing.NFT).state
    assert len(diff(after, STATE)) == 3


def test_a_remote_that_moves_is_replaced_without_a_gap() -> None:
    before = plan(with_overlay(remotes=(Remote("10.0.0.9", "192.0.2.2"),)), Balancing.NFT).state
    after = plan(with_overlay(remotes=(Remote("10.0.0.9", "192.0.2.3"),)), Balancing.NFT).state
    entry = Forwarding("vxlan0", "02:42:0a:00:00:09", "192.0.2.3")
    assert diff(after, before) == (Put("1-0000000000", entry),)


def test_another_vni_makes_the_tunnel_anew_with_all_that_stands_on_it() -> None:
    remotes = (Remote("10.0.0.9", "192.0.2.2"),)
    before = plan(with_overlay(remotes=remotes), Balancing.NFT).state
    operations = diff(plan(with_overlay(remotes=remotes, vni=5000), Balancing.NFT).state, before)
    assert [type(o) for o in operations] == [Drop, Put, Put, Put, Put]


def test_an_interface_that_moves_to_another_network_gets_its_address_again() -> None:
    other = dataclasses.replace(OVERLAY, id="1" * 25, vni=4097, ingress=False, lb_address="")
    base = dataclasses.replace(VIEW, overlays=(OVERLAY, other))
    moved = dataclasses.replace(TASK, interfaces=(Interface("eth0", other.id, "10.0.0.6/24"),), ingress_ports=())
    before = plan(base, Balancing.NFT).state
    operations = diff(plan(dataclasses.replace(base, sandboxes=(moved,)), Balancing.NFT).state, before)
    assert Put(TASK.id, Address("eth0", "10.0.0.6/24")) in operations
    positions = [i for i, o in enumerate(operations) if isinstance(o.item if hasattr(o, "item") else None, Link)]
    assert isinstance(operations[positions[0]], Drop)


def test_a_link_that_is_down_is_set_up() -> None:
    damaged = dict(STATE)
    links = tuple(dataclasses.replace(link, up=link.name != "vxlan0") for link in STATE["1-0000000000"].links)
    damaged["1-0000000000"] = dataclasses.replace(STATE["1-0000000000"], links=links)
    (change,) = diff(STATE, damaged)
    assert isinstance(change, Change)
    assert (change.before.up, change.item.up) == (False, True)  # type: ignore[union-attr]


def test_a_sysctl_of_a_link_follows_the_link() -> None:
    operations = diff(STATE, NOTHING)
    sysctl = Put(NODE, Sysctl("net.ipv4.conf.docker_gwbridge.route_localnet", "1"))
    bridge = next(i for i, o in enumerate(operations) if isinstance(o, Put) and getattr(o.item, "name", "") == BRIDGE.name)
    assert operations.index(sysctl) > bridge


def test_a_draining_server_is_changed_not_removed() -> None:
    def served(weight: int) -> View:
        return with_overlay(balancers=(Balancer("web", "10.0.0.5", 256, (Backend("10.0.0.6", weight),), (WEB,)),))

    operations = diff(plan(served(0), Balancing.IPVS).state, plan(served(1), Balancing.IPVS).state)
    assert operations == (Change("ingress_sbox", RealServer(256, "10.0.0.6", 1), RealServer(256, "10.0.0.6", 0)),)


def test_a_service_that_goes_takes_its_servers_along() -> None:
    balancers = (Balancer("web", "10.0.0.5", 256, (Backend("10.0.0.6"),)),)
    before = plan(with_overlay(balancers=balancers), Balancing.IPVS).state
    after = plan(with_overlay(), Balancing.IPVS).state
    dropped = [o for o in diff(after, before) if isinstance(o, Drop)]
    assert not any(isinstance(o.item, RealServer) for o in dropped)


def test_connections_to_a_server_that_is_gone_are_forgotten_last() -> None:
    def served(*addresses: str) -> View:
        backends = tuple(Backend(address) for address in addresses)
        return with_overlay(balancers=(Balancer("web", "10.0.0.5", 256, backends, (WEB,)),))

    before = plan(served("10.0.0.6", "10.0.0.7"), Balancing.NFT).state
    transaction, forgotten = diff(plan(served("10.0.0.6"), Balancing.NFT).state, before)
    assert isinstance(transaction, Transact)
    assert forgotten == Drop("ingress_sbox", Target("10.0.0.7", 256))


def test_a_guard_goes_with_the_last_encrypted_overlay_and_never_leaves_a_gap() -> None:
    one, two = Guard(4789, False, frozenset({4097})), Guard(4789, False, frozenset({4098}))
    both = Guard(4789, False, frozenset({4097, 4098}))
    assert diff({NODE: Namespace()}, {NODE: Namespace(guard=one)}) == (Drop(NODE, one),)
    assert diff({NODE: Namespace(guard=one)}, {NODE: Namespace()}) == (Put(NODE, one),)
    assert diff({NODE: Namespace(guard=two)}, {NODE: Namespace(guard=one)}) == (Put(NODE, both), Change(NODE, one, two))
    assert diff({NODE: Namespace(guard=one)}, {NODE: Namespace(guard=one)}) == ()
