"""The wheel from which the nftables backend picks real servers, and IPVS's messages."""

from __future__ import annotations

import socket
import struct

import pytest

from netfabric.firewall.nftables import Chain
from netfabric.ingress.ipvs import services
from netfabric.ingress.nft import WEIGHT_SLOTS, balancer_table, ring, wheel
from netfabric.netlink import ipvs
from netfabric.netlink.messages import CHANGE, Message, attributes
from netfabric.view import Backend, Balancer, PublishedPort

FAMILY = 33


def test_equal_weights_alternate() -> None:
    assert wheel([Backend("10.0.0.6"), Backend("10.0.0.7")]) == ("10.0.0.6", "10.0.0.7")
    assert wheel([Backend("10.0.0.6", 5), Backend("10.0.0.7", 5)]) == ("10.0.0.6", "10.0.0.7")


def test_a_draining_server_is_never_picked() -> None:
    assert wheel([Backend("10.0.0.6", 0), Backend("10.0.0.7")]) == ("10.0.0.7",)
    assert wheel([Backend("10.0.0.6", 0)]) == ()
    assert wheel([]) == ()


def test_weights_are_spread_evenly() -> None:
    assert wheel([Backend("a", 3), Backend("b", 1)]) == ("a", "a", "b", "a")
    assert wheel([Backend("a", 2), Backend("b", 4)]) == ("b", "a", "b")


def test_the_wheel_is_bounded_and_still_has_everyone() -> None:
    picked = wheel([Backend("a", 1_000_000), Backend("b", 1)])
    assert len(picked) <= WEIGHT_SLOTS + 1
    assert set(picked) == {"a", "b"}


def test_a_service_without_live_servers_has_no_way() -> None:
    table = balancer_table([Balancer("web", "10.0.0.5", 256, (Backend("10.0.0.6", 0),))], Chain("POSTROUTING"))
    assert "FWM-256" not in {chain.name for chain in table.chains}
    assert table.maps[0].elements == frozenset()


def test_only_the_clients_of_a_server_that_goes_meet_another_one() -> None:
    four = [Backend(f"10.0.0.{host}") for host in (6, 7, 8, 9)]
    before, after = ring(four), ring([*four[:3], Backend("10.0.0.9", 0)])
    assert set(before) == {backend.address for backend in four}
    assert all(new == old for old, new in zip(before, after, strict=True) if old != "10.0.0.9")
    assert set(after) == {"10.0.0.6", "10.0.0.7", "10.0.0.8"}
    assert max(map(before.count, set(before))) < 2 * min(map(before.count, set(before)))
    assert ring(four[::-1]) == before
    assert ring([Backend("10.0.0.6", 0)]) == ()


def test_clients_that_stay_are_hashed_alike_on_every_node() -> None:
    sticky = Balancer("web", "", 0x10100, (Backend("10.0.0.6"),), (PublishedPort("tcp", 8080, 80),), affinity=True)
    (rule,) = next(chain.rules for chain in balancer_table([sticky], Chain("POSTROUTING")).chains if chain.name == "FWM-65792")
    assert "dnat to jhash ip saddr mod 256 seed 0x46535459 map" in rule
    (service,) = services([sticky])
    assert service.scheduler == "sh"
    assert within(ipvs.put_service(FAMILY, service.mark, service.scheduler), 1)[7] == struct.pack("=II", 0x8, 0xFFFFFFFF)


@pytest.mark.parametrize(("message", "packed"), [
    (ipvs.put_service(FAMILY, 256, "rr"),
     "01010000380001000600010002000000080005000001000007000600727200000c00070000000000ffffffff080008000000000008000900ffffffff"),
    (ipvs.put_server(FAMILY, 256, "10.0.0.6", 1),
     "0501000014000100060001000200000008000500000100003c00020006000b0002000000080001000a000006060002000000000008000300000000000800040001000000"
     "08000500000000000800060000000000"),
    (ipvs.delete_server(FAMILY, 9, "fd00::7"),
     "0701000014000100060001000a00000008000500090000002800020006000b000a00000014000100fd0000000000000000000000000000070600020000000000"),
])  # fmt: skip
def test_messages_are_as_pyroute2_packs_them(message: Message, packed: str) -> None:
    assert message.body.hex() == packed


def test_what_meets_a_chain_that_is_just_replaced_is_led_there_once_more_after_it() -> None:
    web = Balancer("web", "", 0x100, (Backend("10.0.0.6"),), (PublishedPort("tcp", 8080, 80),))
    chains = {chain.name: chain for chain in balancer_table([web], Chain("POSTROUTING")).chains}
    first, second = chains["PREROUTING"], chains["ONCE-MORE"]
    assert second.rules == first.rules
    assert second.hook == first.hook.replace("priority dstnat;", "priority dstnat + 1;") != first.hook


def test_timeouts_are_read_back() -> None:
    message = ipvs.put_timeouts(FAMILY, 7200, 120, 300)
    assert (message.body[0], ipvs.timeouts_of(((FAMILY, message.body),))) == (12, (7200, 120, 300))
    assert ipvs.timeouts_of(((FAMILY, ipvs.get_timeouts(FAMILY).body),)) is None


def within(message: Message, kind: int) -> dict[int, bytes]:
    found = dict(attributes(message.body, 4))
    return dict(attributes(found[kind])) if kind in found else {}


@pytest.mark.parametrize(("change", "command"), [(False, 1), (True, 2)])
def test_a_service_is_named_by_its_mark_with_an_explicit_netmask(change: bool, command: int) -> None:
    message = ipvs.put_service(FAMILY, 256, "rr", change=change)
    assert (message.kind, message.flags, message.body[0]) == (FAMILY, CHANGE, command)
    service = within(message, 1)
    assert service[1] == struct.pack("=H", socket.AF_INET)
    assert service[5] == struct.pack("=I", 256)
    assert service[6] == b"rr\0"
    assert service[9] == b"\xff\xff\xff\xff"


@pytest.mark.parametrize(("change", "command"), [(False, 5), (True, 6)])
def test_a_server_is_masqueraded_and_keeps_the_port(change: bool, command: int) -> None:
    message = ipvs.put_server(FAMILY, 256, "10.0.0.6", 3, change=change)
    assert message.body[0] == command
    assert within(message, 1)[5] == struct.pack("=I", 256)
    server = within(message, 2)
    assert server[1][:4] == bytes([10, 0, 0, 6])
    assert server[2] == b"\0\0"
    assert server[3] == struct.pack("=I", 0)
    assert server[4] == struct.pack("=I", 3)


def test_deletions_name_their_keys_only() -> None:
    assert ipvs.delete_service(FAMILY, 256).body[0] == 3
    assert set(within(ipvs.delete_service(FAMILY, 256), 1)) == {1, 5}
    assert set(within(ipvs.delete_server(FAMILY, 256, "10.0.0.6"), 2)) == {1, 2, 11}


def test_dumps_are_read_back() -> None:
    service = ipvs.put_service(FAMILY, 257, "rr")
    assert ipvs.services_of(((FAMILY, service.body),)) == (ipvs.SeenService(257, "rr"),)
    server = ipvs.put_server(FAMILY, 257, "10.0.0.6", 0)
    assert ipvs.servers_of(((FAMILY, server.body),)) == (ipvs.SeenServer("10.0.0.6", 0, 0, 0, 0),)


def test_the_family_s_number_is_in_the_answer() -> None:
    body = struct.pack("=BBH", 1, 2, 0) + struct.pack("=HHH2x", 6, 1, 33)
    assert ipvs.family_of(((16, body),)) == 33
