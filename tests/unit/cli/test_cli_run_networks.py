"""`run --network` in both forms, the flags of the first network, and what contradicts itself, in the words of the real client."""

from __future__ import annotations

from typing import Any

import pytest

from cli.failures import CliFailure
from cli.run_fields import parse_domain, parse_publish
from cli.run_networks import endpoints, mode, parse_network

NONE: dict[str, Any] = {"network_alias": (), "ip": "", "ip6": "", "link_local_ip": (), "mac_address": "", "link": ()}


def made(*networks: str, **flags: Any) -> dict[str, Any]:
    return endpoints({**NONE, "network": [parse_network(text) for text in networks], **flags}, "1.44")


def test_the_long_form_says_what_the_flags_of_the_first_network_say() -> None:
    by_flags = made("u1", network_alias=("a", "b"), ip="10.0.0.9", mac_address="02:42:aa:bb:cc:dd", link=("db:x",))
    by_words = made("name=u1,alias=a,alias=b,ip=10.0.0.9,mac-address=02:42:aa:bb:cc:dd", link=("db:x",))
    assert by_flags == by_words == {
        "u1": {"Aliases": ["a", "b"], "IPAMConfig": {"IPv4Address": "10.0.0.9"}, "Links": ["db:x"], "MacAddress": "02:42:aa:bb:cc:dd"}
    }  # fmt: skip
    assert mode({"network": [parse_network("name=u1,ip=10.0.0.9")]}) == "u1"


def test_networks_without_anything_to_say_are_named_only_where_there_are_several() -> None:
    assert made() == {}
    assert made("u1") == {}
    assert made("u1", "u2") == {"u1": {}, "u2": {}}
    assert made(link=("db",)) == {}  # on the default bridge a link is not the endpoint's
    assert made("name=u1,driver-opt=a=b") == {"u1": {"DriverOpts": {"a": "b"}}}
    assert made("name=u1,gw-priority=-5") == {"u1": {"GwPriority": -5}}


@pytest.mark.parametrize(
    ("networks", "flags", "words"),
    [
        (("",), {}, "no name set for network"),
        (("u1", "u1"), {}, 'network "u1" is specified multiple times'),
        (("u1", "host"), {}, "conflicting options: cannot attach both user-defined and non-user-defined network-modes"),
        ((), {"network_alias": ("x",)}, "network-scoped aliases are only supported for user-defined networks"),
        (("name=u1,alias=a",), {"network_alias": ("b",)}, "conflicting options: cannot specify both --network-alias and per-network alias"),
        (("u1",), {"mac_address": "nonsense"}, "nonsense is not a valid mac address"),
    ],
)
def test_contradictions(networks: tuple[str, ...], flags: dict[str, Any], words: str) -> None:
    with pytest.raises(CliFailure) as failure:
        made(*networks, **flags)
    assert failure.value.message == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name=u1,nosuch=q", "invalid field key nosuch"), ("alias=a", "network name/id is not specified"), ("name=u1,alias", "invalid field alias"),
        ("name=u1,gw-priority=z", r"invalid gw-priority \(z\): invalid syntax"),
        ("name=u1,gw-priority=9" + "9" * 20, r"invalid gw-priority \(9+\): value out of range"),
    ],
)
def test_fields_that_are_none(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_network(text)


def test_search_domains_are_domains_or_none() -> None:
    assert [parse_domain(text) for text in (" a.b ", ".", "x", "a-b.c.")] == ["a.b", ".", "x", "a-b.c"]
    for text in ("bad domain", "123", "-a", "a..b", ""):
        with pytest.raises(ValueError, match="is not a valid domain"):
            parse_domain(text)


def test_an_older_api_has_no_hardware_address_of_one_network() -> None:
    networks = [parse_network("name=n,mac-address=02:42:aa:bb:cc:dd")]
    assert endpoints({**NONE, "network": networks}, "1.44") == {"n": {"MacAddress": "02:42:aa:bb:cc:dd"}}
    with pytest.raises(CliFailure) as refused:
        endpoints({**NONE, "network": networks}, "1.41")
    assert str(refused.value) == '"specify mac-address per network" requires API version 1.44, but the Docker daemon API version is 1.41'
    with pytest.raises(CliFailure, match=r"requires API version 1\.44"):
        endpoints({**NONE, "network": [], "mac_address": "02:42:0a:58:00:82"}, "1.41")


def test_an_option_of_the_driver_has_a_value() -> None:
    with pytest.raises(ValueError, match="invalid key value pair format in driver options"):
        parse_network("name=n,driver-opt=a")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[::1:18410:80", "invalid IP address [::1: address [::1:: missing ']' in address"),
        ("18412:80:", "invalid IP address: 18412"),
        ("127.0.0.1:80:", "no port specified: 127.0.0.1:80:<empty>"),
        ("80/x/udp", "invalid proto: x"),
    ],
)
def test_a_port_that_cannot_be_is_refused_in_the_client_s_words(text: str, sentence: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011  the sentence is what counts
        parse_publish(text)
    assert str(refused.value) == sentence


def test_what_follows_a_port_s_protocol_means_nothing() -> None:
    assert parse_publish("80/tcp/udp") == [("80/tcp", {"HostIp": "", "HostPort": ""})]
