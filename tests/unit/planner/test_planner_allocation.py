"""Addresses, subnets, ports and marks as the planner gives them out."""

from __future__ import annotations

import msgspec

from cluster.model.changes import Kind, deleted
from cluster.model.ids import ClusterId
from cluster.model.objects import Cluster, NodeState
from cluster.model.specs import EndpointMode, EndpointSpec, IpamConfig, PublishMode
from cluster.model.task_state import TaskState
from manager.allocator.addresses import AddressBook
from tests.unit.planner.world import World, port


def addresses(world: World, service: str) -> list[list[str]]:
    return [[n.address for n in t.networks] for t in world.live(service)]


def test_the_seed_gets_the_addresses_of_the_seed() -> None:
    world = World(nodes=3, ingress=True)
    world.network("mynet")
    world.service("web", replicas=2, networks=["mynet"], ports=[port(80, 8080)])
    world.settle()
    ingress, mynet = world.get_network("ingress"), world.get_network("mynet")
    assert (ingress.vni, ingress.subnet, ingress.gateway) == (4096, "10.0.0.0/24", "10.0.0.1")
    assert (mynet.vni, mynet.subnet, mynet.gateway) == (4097, "10.0.1.0/24", "10.0.1.1")
    balancers = [world.get_node(n).attachments[0].address for n in ("n1", "n2", "n3")]
    assert balancers == ["10.0.0.2/24", "10.0.0.3/24", "10.0.0.4/24"]
    endpoint = world.get_service("web").endpoint
    assert endpoint is not None
    assert [(v.network_id, v.address, v.mark) for v in endpoint.virtual_ips] == [
        ("ingress", "10.0.0.5/24", 256),
        ("mynet", "10.0.1.2/24", 256),
    ]
    assert addresses(world, "web") == [["10.0.0.6/24", "10.0.1.3/24"], ["10.0.0.7/24", "10.0.1.4/24"]]


def test_a_subnet_is_not_put_where_a_nodes_routes_lead_unless_nothing_else_is_left() -> None:
    world = World(nodes=1)
    held = world.get_node("n1")
    world.change(held, description=msgspec.structs.replace(held.description, routes=("10.0.0.0/23", "10.0.3.7/32")))
    for name in ("one", "two", "three"):
        world.network(name)
    world.settle()
    assert [world.get_network(n).subnet for n in ("one", "two", "three")] == ["10.0.2.0/24", "10.0.4.0/24", "10.0.5.0/24"]
    held = world.get_node("n1")
    world.change(held, description=msgspec.structs.replace(held.description, routes=("10.0.0.0/8",)))
    world.network("four")
    world.settle()
    assert world.get_network("four").subnet == "10.0.0.0/24"


def test_a_network_gets_nothing_of_one_whose_last_tasks_still_stop() -> None:
    world = World(nodes=1)
    world.network("old")
    world.service("web", replicas=1, networks=["old"])
    world.run()
    before = world.get_network("old")
    world.remove("web")
    world.commit(deleted(before))
    world.network("new")
    world.settle()
    new = world.get_network("new")
    assert new.subnet
    assert (new.subnet == before.subnet, new.vni == before.vni) == (False, False)
    world.run()
    world.network("later")
    world.settle()
    later = world.get_network("later")
    assert (later.subnet, later.vni) == (before.subnet, before.vni)


def test_a_network_that_each_node_makes_for_itself_has_no_addresses_and_may_go_before_its_tasks() -> None:
    world = World(nodes=1)
    world.network("own", driver="bridge")
    world.service("web", networks=["own"])
    world.run()
    (task,) = world.running("web")
    assert [(n.network_id, n.address) for n in task.networks] == [("own", "")]
    assert (world.get_network("own").subnet, world.get_network("own").vni, world.get_node("n1").attachments) == ("", 0, ())
    world.remove("web")
    world.commit(deleted(world.get_network("own")))
    world.network("new")
    world.settle()
    assert world.get_network("new").subnet == "10.0.0.0/24"


def test_a_node_gets_its_balancer_address_on_a_user_network_with_its_first_task_there() -> None:
    world = World(nodes=2)
    world.network("mynet")
    world.service("one", networks=["mynet"])
    world.settle()
    (task,) = world.tasks("one")
    assert [a.network_id for a in world.get_node(task.node_id).attachments] == ["mynet"]
    (other,) = {"n1", "n2"} - {task.node_id}
    assert world.get_node(other).attachments == ()


def test_the_ingress_network_comes_first_and_reaches_nodes_that_join_later() -> None:
    world = World(nodes=1)
    world.network("mynet")
    world.network("ingress", ingress=True)
    world.settle()
    assert world.get_network("ingress").subnet == "10.0.0.0/24"
    world.node("late")
    world.node("down")
    world.set_state("down", NodeState.DOWN)
    world.settle()
    assert world.get_node("late").attachments[0].address == "10.0.0.3/24"
    assert world.get_node("down").attachments == ()


def test_given_subnets_are_honoured_and_stepped_over() -> None:
    world = World(nodes=1)
    world.network("given", ipam=(IpamConfig("10.0.0.0/23", gateway="10.0.1.254"),))
    world.settle()
    world.network("chosen")
    world.network("ranged", ipam=(IpamConfig("10.9.0.0/24", ip_range="10.9.0.64/26"),))
    world.settle()
    assert world.get_network("ranged").gateway == "10.9.0.64"
    assert (world.get_network("given").subnet, world.get_network("given").gateway) == ("10.0.0.0/23", "10.0.1.254")
    assert world.get_network("chosen").subnet == "10.0.2.0/24"


def test_a_further_subnet_gives_addresses_when_those_before_have_none_left() -> None:
    world = World(nodes=2)
    ipam = (IpamConfig("10.9.0.0/29"), IpamConfig("10.9.4.0/24", gateway="10.9.4.9", ip_range="10.9.4.8/30", reserved=(("kept", "10.9.4.8"),)))
    world.network("two", ipam=ipam)
    world.service("web", replicas=5, networks=["two"])
    world.settle()
    network = world.get_network("two")
    assert (network.subnet, network.gateway, [(n.subnet, n.gateway) for n in network.further]) == ("10.9.0.0/29", "10.9.0.1", [("10.9.4.0/24", "10.9.4.9")])
    given = [address for some in addresses(world, "web") for address in some]
    balancers = [attachment.address for n in ("n1", "n2") for attachment in world.get_node(n).attachments]
    firsts = [f"10.9.0.{number}/29" for number in range(3, 7)]  # the service has the one before
    assert sorted([*given, *balancers]) == [*firsts, "10.9.4.10/24", "10.9.4.11/24"]
    (waits,) = (task for task in world.tasks("web") if not task.networks)
    assert "no available IPv4 addresses on this network's address pools" in waits.status.err


def test_subnets_of_two_networks_may_not_overlap_also_where_one_is_a_further_one() -> None:
    world = World(nodes=1)
    world.network("two", ipam=(IpamConfig("10.9.0.0/24"), IpamConfig("10.8.0.0/24")))
    world.settle()
    world.network("late", ipam=(IpamConfig("10.8.0.0/16"),))
    world.settle()
    assert "Pool overlaps with other one on this address space" in world.reasons["late"].summary


def test_an_overlapping_subnet_is_refused_with_a_reason_until_the_other_network_is_gone() -> None:
    world = World(nodes=1)
    world.network("first", ipam=(IpamConfig("10.9.0.0/16"),))
    world.settle()
    world.network("second", ipam=(IpamConfig("10.9.1.0/24"),))
    world.service("web", networks=["second"])
    world.settle()
    assert world.get_network("second").subnet == ""
    assert "Pool overlaps with other one on this address space" in world.reasons["second"].summary
    (task,) = world.tasks("web")
    assert task.status.state is TaskState.NEW
    assert "Pool overlaps" in task.status.err
    world.commit(deleted(world.get_network("first")))
    world.run()
    assert world.get_network("second").subnet == "10.9.1.0/24"
    assert len(world.running("web")) == 1


def test_a_cluster_pool_that_is_used_up_is_a_reason() -> None:
    pool = Cluster(ClusterId("c"), default_address_pool=("10.1.0.0/24",), subnet_size=25)
    world = World(nodes=1, cluster=pool)
    for name in ("a", "b", "c"):
        world.network(name)
        world.settle()
    assert [world.get_network(n).subnet for n in "abc"] == ["10.1.0.0/25", "10.1.0.128/25", ""]
    assert "non-overlapping IPv4 address pool" in world.reasons["c"].summary


def test_a_full_network_leaves_the_rest_waiting_and_resumes_when_an_address_is_free() -> None:
    world = World(nodes=1)
    world.network("tiny", ipam=(IpamConfig("10.7.0.0/29"),))  # .1 gateway, .2 VIP, four for tasks and the balancer
    world.service("web", replicas=5, networks=["tiny"])
    world.run()
    waiting = [t for t in world.live("web") if t.status.state is TaskState.PENDING]
    assert waiting
    assert "no available IPv4 addresses on this network's address pools: tiny" in waiting[0].status.err
    running = len(world.running("web"))
    world.scale("web", 3)
    world.run()
    assert running >= 3
    assert len(world.running("web")) == 3


def test_an_address_is_not_given_again_while_its_owner_may_still_run() -> None:
    world = World(nodes=2)
    world.network("tiny", ipam=(IpamConfig("10.7.0.0/29"),))
    world.service("web", networks=["tiny"])
    world.run()
    (old,) = world.running("web")
    world.set_state(old.node_id, NodeState.DOWN)
    world.run()
    held = old.networks[0].address
    for _ in range(4):
        world.fail(world.live("web")[0])
        world.advance(6)
        world.run()
        assert all(t.networks[0].address != held for t in world.live("web"))
    world.remove_node(old.node_id)
    world.settle()
    assert held not in [n.address for t in world.live("web") for n in t.networks]
    assert world.index.addresses.used["tiny"].get(0x0A070000 + int(held.split("/")[0].rsplit(".", 1)[1])) is None


def test_addresses_go_round_before_they_come_again() -> None:
    world = World(nodes=1)
    world.network("mynet")
    world.service("web", networks=["mynet"])
    world.run()
    seen = [world.live("web")[0].networks[0].address]
    for _ in range(3):
        world.advance(6)
        world.fail(world.live("web")[0])
        world.run()
        seen.append(world.live("web")[0].networks[0].address)
    assert len(set(seen)) == len(seen)


def test_next_free_goes_around_the_ring_and_ends() -> None:
    world = World(nodes=1)
    world.network("tiny", ipam=(IpamConfig("10.7.0.0/29"),))
    world.settle()
    book = AddressBook()
    book.set_network(world.get_network("tiny").id, world.get_network("tiny"))
    given = []
    while (address := book.next_free(world.get_network("tiny").id)) is not None:
        given.append(address)
        book.claim(world.get_network("tiny").id, address)
    assert given == [f"10.7.0.{n}/29" for n in (2, 3, 4, 5, 6)]
    book.release(world.get_network("tiny").id, "10.7.0.3/29")
    assert book.next_free(world.get_network("tiny").id) == "10.7.0.3/29"


def test_dynamic_ports_count_per_protocol_and_unchanged_ones_keep_their_number() -> None:
    world = World(nodes=1, ingress=True)
    world.service("a", ports=[port(80)])
    world.service("b", ports=[port(81)])
    world.settle()
    assert numbers(world, "a") == [30000]
    assert numbers(world, "b") == [30001]
    world.remove("a")
    world.settle()
    world.update("b", ports=[port(79), port(81)])
    world.settle()
    assert numbers(world, "b") == [30000, 30001]


def numbers(world: World, service: str) -> list[int]:
    endpoint = world.get_service(service).endpoint
    assert endpoint is not None
    return [p.published_port for p in endpoint.ports]


def test_a_port_that_raced_with_another_service_waits_with_the_reason() -> None:
    world = World(nodes=1, ingress=True)
    world.service("a", ports=[port(80, 8080)])
    world.service("b", ports=[port(80, 8080)])
    world.run()
    assert len(world.running()) == 1
    (waiting,) = [t for t in world.live() if t.status.state is TaskState.NEW]
    assert "port '8080' is already in use by service" in waiting.status.err
    other = {"a": "b", "b": "a"}[waiting.service_name]
    world.remove(other)
    world.run()
    assert [t.service_name for t in world.running()] == [waiting.service_name]


def test_host_mode_ports_are_left_to_the_node() -> None:
    world = World(nodes=1, ingress=True)
    world.service("a", ports=[port(80, publish_mode=PublishMode.HOST)])
    world.settle()
    assert numbers(world, "a") == [0]
    assert world.tasks("a")[0].networks == ()


def test_dnsrr_has_no_virtual_address() -> None:
    world = World(nodes=1)
    world.network("mynet")
    world.service("a", networks=["mynet"], endpoint=EndpointSpec(EndpointMode.DNSRR))
    world.settle()
    endpoint = world.get_service("a").endpoint
    assert endpoint is not None
    assert [(v.network_id, v.address, v.mark) for v in endpoint.virtual_ips] == [("mynet", "", 0)]


def test_a_removed_network_takes_the_balancers_addresses_with_it() -> None:
    world = World(nodes=1)
    world.network("mynet")
    world.service("a", networks=["mynet"])
    world.run()
    world.remove("a")
    world.run()
    world.commit(deleted(world.get_network("mynet")))
    world.settle()
    assert world.get_node("n1").attachments == ()
    assert world.index.addresses.used == {}
    assert world.store.all(Kind.TASK) == ()


def test_a_load_balancer_that_found_no_address_gets_one_when_one_is_free() -> None:
    world = World(nodes=6)
    world.network("mesh", ingress=True, ipam=(IpamConfig("10.7.0.0/29"),))  # five to give
    world.settle()
    assert [len(world.get_node(f"n{number}").attachments) for number in range(1, 7)] == [1, 1, 1, 1, 1, 0]
    assert "none is left for the load balancer of node n6" in world.reasons["mesh"].summary
    world.commit(deleted(world.get_node("n1")))
    world.settle()
    assert [a.network_id for a in world.get_node("n6").attachments] == ["mesh"]


def test_no_task_is_placed_where_its_nodes_load_balancer_would_get_no_address() -> None:
    """Five addresses: one is the service's, and each node that gets a task needs one more for itself."""
    world = World(nodes=3)
    world.network("tiny", ipam=(IpamConfig("10.50.0.0/29"),))
    world.service("full", networks=["tiny"], replicas=8)
    world.run()
    running = world.running("full")
    assert len(running) == 2
    for task in running:
        assert [a.network_id for a in world.get_node(task.node_id).attachments] == ["tiny"]
    waiting = [task for task in world.tasks("full") if not task.node_id]
    assert len(waiting) == 6
    assert {task.status.err for task in waiting} == {"no available IPv4 addresses on this network's address pools: tiny (tiny)"}
