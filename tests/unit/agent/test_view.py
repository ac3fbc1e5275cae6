"""From assignments to the fabric's input; interface order as in the seed."""

import msgspec

from agent.view import EMPTY_TABLES, NOTHING_SERVED, ClusterTables, fold, interface_order, published, serve
from cluster.model.assignments import Backend, BalancerItem, EndpointItem, NetworkItem, PortSettings
from cluster.model.ids import NetworkId, NodeId, ServiceId, TaskId
from cluster.model.objects import Network
from cluster.model.specs import NetworkSpec, PortConfig, PublishMode
from netfabric.view import Overlay, PublishedPort

NET = NetworkId("n" * 25)
NETWORK = NetworkItem(Network(NET, NetworkSpec("mynet"), vni=4097, subnet="10.0.1.0/24", gateway="10.0.1.1"), "10.0.1.4/24")
HERE = EndpointItem(NET, "10.0.1.8/24", NodeId("me"), "192.168.200.10", TaskId("t1"))
THERE = EndpointItem(NET, "10.0.1.9/24", NodeId("other"), "192.168.200.11", TaskId("t2"))
WEB = BalancerItem(NET, ServiceId("s"), "web", "10.0.1.5", 256, (PortConfig("tcp", 80, 8080),), (Backend("10.0.1.8"),))


def overlays(tables: ClusterTables, node_id: str) -> tuple[Overlay, ...]:
    return serve(tables, node_id, NOTHING_SERVED).overlays


def test_what_has_not_changed_is_taken_over() -> None:
    other = msgspec.structs.replace(WEB, service_id=ServiceId("o"), service_name="other", mark=257, virtual_ip="10.0.1.6")
    tables = fold(EMPTY_TABLES, (NETWORK, HERE, THERE, WEB, other), (), complete=True)
    before = serve(tables, "me", NOTHING_SERVED)
    for upserts, removals in (
        ((msgspec.structs.replace(WEB, backends=()),), ()),
        ((msgspec.structs.replace(THERE, node_address="192.168.200.12"),), (other.key,)),
        ((msgspec.structs.replace(NETWORK, lb_address="10.0.1.7/24"),), ()),
        ((), (THERE.key, WEB.key)),
        ((), (NETWORK.key,)),
    ):
        changed = fold(tables, upserts, removals, complete=False)
        assert serve(changed, "me", before).overlays == overlays(changed, "me")
        assert serve(changed, "other", before).overlays == overlays(changed, "other")
    after = serve(fold(tables, (msgspec.structs.replace(WEB, backends=()),), (), complete=False), "me", before)
    assert after.overlays[0].remotes is before.overlays[0].remotes
    assert after.overlays[0].balancers[1] is before.overlays[0].balancers[1]


def test_only_other_nodes_endpoints_are_remote() -> None:
    tables = fold(EMPTY_TABLES, (NETWORK, HERE, THERE, WEB), (), complete=True)
    (overlay,) = overlays(tables, "me")
    assert [(r.address, r.vtep) for r in overlay.remotes] == [("10.0.1.9", "192.168.200.11")]
    assert overlay.balancers[0].ports[0].published == 8080


def test_removals_and_a_complete_message() -> None:
    tables = fold(EMPTY_TABLES, (NETWORK, THERE, WEB), (), complete=True)
    less = fold(tables, (), (THERE.key, WEB.key, NETWORK.key), complete=False)
    assert less == EMPTY_TABLES
    assert fold(tables, (NETWORK,), (), complete=True).endpoints == {}


def test_an_unallocated_network_waits() -> None:
    waiting = NetworkItem(Network(NET, NetworkSpec("mynet")), "")
    assert overlays(fold(EMPTY_TABLES, (waiting,), (), complete=True), "me") == ()


def test_host_mode_ports_do_not_go_through_the_mesh() -> None:
    assert published((PortConfig("tcp", 80, 80, PublishMode.HOST), PortConfig("tcp", 80, 0))) == ()


def test_ports_whose_clients_stay_have_a_balancer_of_their_own() -> None:
    ports = (PortConfig("tcp", 80, 8080), PortConfig("udp", 53, 53))
    item = msgspec.structs.replace(WEB, ports=ports, settings=(PortSettings(affinity=True), PortSettings(masquerade=True)))
    (overlay,) = overlays(fold(EMPTY_TABLES, (NETWORK, item), (), complete=True), "me")
    plain, sticky = overlay.balancers
    assert (plain.mark, plain.virtual_ip, plain.affinity, plain.ports) == (256, "10.0.1.5", False, (PublishedPort("udp", 53, 53, masquerade=True),))
    assert (sticky.mark, sticky.virtual_ip, sticky.affinity, sticky.ports) == (65792, "", True, (PublishedPort("tcp", 8080, 80),))


def test_a_service_that_is_only_a_name_is_not_balanced() -> None:
    names_only = msgspec.structs.replace(WEB, virtual_ip="", mark=0)
    (overlay,) = overlays(fold(EMPTY_TABLES, (NETWORK, names_only), (), complete=True), "me")
    assert overlay.balancers == ()


def test_interface_order_is_the_seeds() -> None:
    assert interface_order([("mynet", False)], gateway=True) == ("mynet", "")
    assert interface_order([("mynet", False), ("ingress", True)], gateway=True) == ("ingress", "", "mynet")
    assert interface_order([("bridge", False)], gateway=False) == ("bridge",)
