"""Any way to a view leads to the same networks: step by step, at once, or from damage."""

from __future__ import annotations

import dataclasses
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from netfabric.anatomy.balancer import Balancing
from netfabric.diff import diff
from netfabric.plan import Plan, plan
from netfabric.state import NOTHING, State
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
    View,
)
from tests.unit.netfabric.model_kernel import ModelKernel, unordered

GATEWAY = Bridge("docker_gwbridge", "172.18.0.0/16", "172.18.0.1/16", isolate=True)
DOCKER0 = Bridge("docker0", "172.17.0.0/16", "172.17.0.1/16")
NAMES = ("aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc")


@st.composite
def overlays(draw: st.DrawFn, number: int) -> Overlay:
    hosts = st.integers(30, 33)
    remotes = {draw(hosts): draw(st.sampled_from(["192.0.2.2", "192.0.2.3"])) for _ in range(draw(st.integers(0, 3)))}
    balancers = []
    for service in sorted(draw(st.sets(st.integers(0, 2), max_size=2))):
        backends = draw(st.dictionaries(st.integers(10, 13), st.integers(0, 2), max_size=3))
        balancers.append(
            Balancer(
                f"s{service}",
                draw(st.sampled_from([f"10.0.{number}.{5 + service}", ""])),
                256 + service,
                tuple(Backend(f"10.0.{number}.{host}", weight) for host, weight in backends.items()),
                (PublishedPort("tcp", 8080 + service, 80),) if number == 0 and draw(st.booleans()) else (),
            )
        )
    return Overlay(
        id=f"{number}" * 25,
        name=f"net{number}",
        vni=4096 + number + draw(st.sampled_from([0, 0, 0, 100])),
        subnet=f"10.0.{number}.0/24",
        gateway=f"10.0.{number}.1",
        lb_address=draw(st.sampled_from([f"10.0.{number}.2/24", f"10.0.{number}.2/24", ""])),
        ingress=number == 0,
        remotes=tuple(Remote(f"10.0.{number}.{host}", vtep, balancer=host > 31) for host, vtep in remotes.items()),
        balancers=tuple(balancers),
    )


@st.composite
def views(draw: st.DrawFn) -> View:
    gateway = GATEWAY if draw(st.booleans()) else None
    bridges = (DOCKER0,) if draw(st.booleans()) else ()
    some = tuple(draw(overlays(number)) for number in sorted(draw(st.sets(st.integers(0, 2), max_size=2))))
    networks = [overlay.id for overlay in some] + [b.name for b in (*bridges, *((gateway,) if gateway else ()))]
    sandboxes = []
    for position, name in enumerate(NAMES):
        if not draw(st.booleans()):
            continue
        chosen = draw(st.lists(st.sampled_from(networks), unique=True, max_size=3)) if networks else []
        interfaces = []
        for number, network in enumerate(chosen):
            prefix = {"docker_gwbridge": "172.18.0", "docker0": "172.17.0"}.get(network, f"10.0.{network[0]}")
            length = "16" if network.startswith("docker") else "24"
            way_out = "172.18.0.1" if network == "docker_gwbridge" else ""
            host = 10 + position + 10 * draw(st.booleans())
            interfaces.append(Interface(f"eth{number}", network, f"{prefix}.{host}/{length}", way_out))
        ports = (PublishedPort("tcp", 8080, 80),) if draw(st.booleans()) else ()
        sandboxes.append(Sandbox(name, tuple(interfaces), ports))
    host_ports = (HostPort("tcp", 9000, "172.17.0.10", 90),) if bridges and draw(st.booleans()) else ()
    return View(
        vtep="192.0.2.1",
        underlay_mtu=draw(st.sampled_from([1500, 1500, 9000])),
        gateway_bridge=gateway,
        bridges=bridges,
        overlays=some,
        sandboxes=tuple(sandboxes),
        host_ports=host_ports,
    )


@given(st.lists(views(), min_size=1, max_size=4), st.sampled_from(Balancing))
def test_views_one_after_another_end_where_the_last_one_alone_does(sequence: list[View], balancing: Balancing) -> None:
    kernel = ModelKernel()
    before: State = NOTHING
    previous: Plan | None = None
    for view in sequence:
        previous = plan(view, balancing, previous)
        assert previous.state == plan(view, balancing).state
        kernel.carry_out(diff(previous.state, before))
        before = previous.state
        assert unordered(kernel.state()) == unordered(before)
    assert diff(before, kernel.state()) == ()


@st.composite
def with_other_servers(draw: st.DrawFn, view: View) -> View:
    """The same services by other servers, and other remote endpoints: the changes that come often, and are made from what there was."""

    def backends(number: str) -> tuple[Backend, ...]:
        weights = draw(st.dictionaries(st.integers(10, 13), st.integers(0, 2), max_size=3))
        return tuple(Backend(f"10.0.{number}.{host}", weight, draw(st.sampled_from(["", f"fd00::{host}"]))) for host, weight in weights.items())

    def overlay(one: Overlay) -> Overlay:
        balancers = tuple(dataclasses.replace(b, backends=backends(one.id[0])) if draw(st.booleans()) else b for b in one.balancers)
        hosts = draw(st.sets(st.integers(30, 33), max_size=3))
        remotes = tuple(Remote(f"10.0.{one.id[0]}.{host}", "192.0.2.2", balancer=host > 31) for host in hosts)
        return dataclasses.replace(one, balancers=balancers, remotes=remotes)

    return dataclasses.replace(view, overlays=tuple(map(overlay, view.overlays)))


def with_ipv6(view: View) -> View:
    def overlay(one: Overlay) -> Overlay:
        balancers = tuple(dataclasses.replace(b, virtual_ip6=f"fd00::{b.mark}", affinity=b.mark == 257) for b in one.balancers)
        own = "fd00::2/64" if one.lb_address else ""
        return dataclasses.replace(one, subnet6="fd00::/64", gateway6="fd00::1", lb_address6=own, balancers=balancers)

    return dataclasses.replace(view, overlays=tuple(map(overlay, view.overlays)))


@given(st.data(), views().flatmap(lambda view: st.sampled_from([view, with_ipv6(view)])), st.sampled_from(Balancing))
def test_other_servers_are_made_from_what_there_was_as_from_nothing(data: st.DataObject, view: View, balancing: Balancing) -> None:
    made = plan(view, balancing)
    for _ in range(3):
        view = data.draw(with_other_servers(view))
        before, made = made.state, plan(view, balancing, made)
        fresh = plan(view, balancing).state
        assert made.state == fresh
        assert sorted(map(repr, diff(made.state, before))) == sorted(map(repr, diff(fresh, before)))


@given(views(), views(), st.sampled_from(Balancing), st.randoms(use_true_random=False))
def test_damage_is_found_and_mended(old: View, new: View, balancing: Balancing, random: Random) -> None:
    kernel = ModelKernel()
    kernel.carry_out(diff(plan(old, balancing).state, NOTHING))
    for namespace in list(kernel.namespaces.values()):
        choose = random.random
        namespace.addresses = {a for a in sorted(namespace.addresses, key=repr) if choose() < 0.8}
        namespace.routes = {r for r in sorted(namespace.routes, key=repr) if choose() < 0.8}
        namespace.returns = {g: p if choose() < 0.8 else dataclasses.replace(p, link="", whole=False) for g, p in namespace.returns.items() if choose() < 0.8}
        namespace.neighbours = {k: n for k, n in namespace.neighbours.items() if choose() < 0.8}
        namespace.forwarding = {k: f for k, f in namespace.forwarding.items() if choose() < 0.8}
        for name, link in list(namespace.links.items()):
            if name in namespace.links and link.peer is not None and choose() < 0.3:
                namespace.lose(name)
                kernel.namespaces[link.peer.namespace].lose(link.peer.link)
            elif name in namespace.links and choose() < 0.2:
                namespace.links[name] = dataclasses.replace(namespace.links[name], up=False)
        if choose() < 0.2:
            namespace.tables.clear()
    desired = plan(new, balancing).state
    kernel.carry_out(diff(desired, kernel.state()))
    assert unordered(kernel.state()) == unordered(desired)


@given(views(), st.sampled_from(Balancing))
def test_nothing_is_done_when_nothing_changed(view: View, balancing: Balancing) -> None:
    once, again = plan(view, balancing), plan(view, balancing)
    assert diff(once.state, again.state) == ()


@given(views(), st.sampled_from(Balancing))
def test_removing_everything_leaves_nothing(view: View, balancing: Balancing) -> None:
    kernel = ModelKernel()
    state = plan(view, balancing).state
    kernel.carry_out(diff(state, NOTHING))
    kernel.carry_out(diff(plan(View(), balancing).state, state))
    assert unordered(kernel.state()) == unordered(NOTHING)
