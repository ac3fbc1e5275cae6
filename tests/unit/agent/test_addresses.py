"""Which address a node advertises, in Docker's words."""

import pytest

from agent.addresses import choose, interfaces, own_manager, remote, split_port, toward
from cluster.model.errors import InvalidArgument

ONE = (("lo", "127.0.0.1"), ("eth0", "192.168.200.10"), ("docker_gwbridge", "172.18.0.1"))
TWO = (*ONE, ("eth1", "10.9.0.2"))


def test_the_only_candidate_is_taken() -> None:
    assert choose("", ONE) == ("192.168.200.10", 0)


def test_a_bridge_for_containers_is_no_candidate_whatever_its_name() -> None:
    assert choose("", (*ONE, ("festoon0", "172.20.0.1"), ("br0", "172.21.0.1")), bridges={"festoon0", "br0"}) == ("192.168.200.10", 0)
    assert choose("br0", (*ONE, ("br0", "172.21.0.1")), bridges={"br0"}) == ("172.21.0.1", 0), "unless its user names it"


def test_several_are_listed() -> None:
    with pytest.raises(InvalidArgument) as caught:
        choose("", TWO)
    assert str(caught.value) == (
        "could not choose an IP address to advertise since this system has multiple addresses on different interfaces "
        "(192.168.200.10 on eth0 and 10.9.0.2 on eth1)"
    ), "the clients add what to do about it"


def test_an_interface_or_an_address_with_a_port() -> None:
    assert choose("eth1:4000", TWO) == ("10.9.0.2", 4000)
    assert choose("10.1.1.1", TWO) == ("10.1.1.1", 0)


def test_a_manager_is_reached_from_its_own_node_without_what_it_advertises() -> None:
    assert own_manager("0.0.0.0:2377") == "127.0.0.1:2377"
    assert own_manager("192.168.200.10:4000") == "192.168.200.10:4000"


@pytest.mark.parametrize("text", ["nonsense", "0.0.0.0"])
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="must be a non-zero IP address or network interface"):
        choose(text, ONE)


def test_ports_are_checked() -> None:
    assert split_port("h:1") == ("h", 1)
    with pytest.raises(InvalidArgument):
        split_port("h:x")


@pytest.mark.parametrize(("text", "reached"), [
    ("10.0.0.1", "10.0.0.1:2377"), ("10.0.0.1:", "10.0.0.1:2377"), ("10.0.0.1:99", "10.0.0.1:99"), (":2377", "0.0.0.0:2377"),
    ("[::1]", "[::1]:2377"), ("[::1]:99", "[::1]:99"), ("swarm-manager", "swarm-manager:2377"),
])  # fmt: skip
def test_a_manager_is_named_with_or_without_a_port(text: str, reached: str) -> None:
    assert remote(text) == reached


@pytest.mark.parametrize(("text", "why"), [
    ("", 'invalid remoteAddr "": invalid empty address'),
    ("10.0.0.1:x", "could not find local IP address: dial udp: address udp/x: unknown port"),
    ("10.0.0.1:99999", "could not find local IP address: dial udp: address 99999: invalid port"),
    ("[::1:2377", "could not find local IP address: dial udp: address [::1:2377: missing ']' in address"),
    ("http://10.0.0.1:2377", "could not find local IP address: dial udp: address http://10.0.0.1:2377: too many colons in address"),
])  # fmt: skip
def test_what_names_no_manager_is_refused_in_docker_s_words(text: str, why: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        remote(text)
    assert refused.value.message == why


@pytest.mark.parametrize("name", ["nosuch.invalid", "a..b"])
def test_a_name_without_an_address_leads_nowhere(name: str) -> None:
    with pytest.raises(InvalidArgument, match=f"^could not find local IP address: dial udp: lookup {name}: no such host$"):
        toward(f"{name}:2377")


def test_loopback_is_found_and_leads_to_itself() -> None:
    assert ("lo", "127.0.0.1") in interfaces()
    assert toward("127.0.0.1:2377") == "127.0.0.1"
