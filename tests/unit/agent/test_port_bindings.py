"""The node's ports that a container gets."""

import pytest

from agent import port_bindings as pb
from agent.records import HostConfig, PortBinding
from cluster.model.errors import Internal, InvalidArgument


def bound(number: int, ip: str = "", protocol: str = "tcp", last: int = 0) -> PortBinding:
    return PortBinding(container_port=80, protocol=protocol, host_port=number, host_ip=ip, host_port_last=last)


def free(_: PortBinding) -> str:
    return ""


def test_a_port_that_another_container_has_is_refused_in_dockers_words() -> None:
    with pytest.raises(Internal, match=r"^Bind for 0\.0\.0\.0:8080 failed: port is already allocated$"):
        pb.allocate([bound(8080)], [bound(8080, "0.0.0.0")], free)  # noqa: S104
    with pytest.raises(Internal, match=r"^Error starting userland proxy: listen tcp4 127\.0\.0\.1:8080: bind: address already in use$"):
        pb.allocate([bound(8080, "127.0.0.1")], [bound(8080, "0.0.0.0")], free)  # noqa: S104
    with pytest.raises(Internal, match=r"^Error starting userland proxy: listen tcp4 10\.9\.9\.9:8080: bind: cannot assign requested address$"):
        pb.allocate([bound(8080, "10.9.9.9")], [], lambda _: "cannot assign requested address")


def test_different_addresses_and_protocols_do_not_collide() -> None:
    taken = [bound(53, "127.0.0.1"), bound(53, protocol="udp"), bound(53, "::")]
    assert pb.allocate([bound(53, "127.0.0.2")], taken, free)[0].host_port == 53


def test_a_port_without_an_address_is_one_of_both_families_with_the_same_number() -> None:
    found = pb.allocate([bound(0)], [], lambda b: "taken" if (b.host_ip, b.host_port) == ("::", pb.FREE_FIRST) else "")
    assert [(b.host_ip, b.host_port) for b in found] == [("0.0.0.0", pb.FREE_FIRST + 1), ("::", pb.FREE_FIRST + 1)]  # noqa: S104
    assert [b.host_ip for b in pb.allocate([bound(80)], [], free, ipv6=False)] == ["0.0.0.0"]  # noqa: S104


def test_any_port_and_ranges_take_the_first_free_one() -> None:
    refused = "address already in use"
    found = pb.allocate(
        [bound(0), bound(0), bound(9000, last=9002)], [bound(9000)], lambda b: refused if b.host_port == pb.FREE_FIRST else "", ipv6=False
    )
    assert [b.host_port for b in found] == [pb.FREE_FIRST + 1, pb.FREE_FIRST + 2, 9001]
    with pytest.raises(Internal, match="all ports are allocated"):
        pb.allocate([bound(9000, last=9001)], [], lambda _: refused)


def test_publish_all_takes_the_exposed_ports_that_are_not_bound() -> None:
    host = HostConfig(port_bindings=(bound(8080),), publish_all=True)
    assert [(b.container_port, b.protocol, b.host_port) for b in pb.wanted(host, ("80/tcp", "81/udp"))] == [(80, "tcp", 8080), (81, "udp", 0)]


def test_of_the_ports_that_lead_to_one_the_highest_comes_first() -> None:
    host = HostConfig(port_bindings=(bound(8080), bound(8081, "127.0.0.1")))
    assert [b.host_port for b in pb.wanted(host, ())] == [8081, 8080]


def test_addresses_are_checked() -> None:
    with pytest.raises(InvalidArgument, match="invalid IP address: x"):
        pb.check_address(bound(1, "x"))
    pb.check_address(bound(1, "::1"))
