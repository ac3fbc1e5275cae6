"""What a container is told: which network answers, what is denied, what is asked elsewhere."""

from __future__ import annotations

import random

import dns.message
import pytest

from netfabric.dns import message, zone
from netfabric.dns.cache import ENTRIES_MAX, Cache
from netfabric.dns.message import Query, Rcode, Upstream
from netfabric.dns.zone import FORWARD, Answer, Asker, Contribution, Port, Zone

MYNET, OTHER = "mynet", "other"


def web(*live: str) -> Contribution:
    virtual = ("10.0.1.2",) if live else ()
    return Contribution((("web", virtual), ("tasks.web", live)), (("10.0.1.2", "web"),), (Port("tcp", 80, "api"), Port("udp", 53)))


def task(name: str, address: str) -> Contribution:
    return Contribution(((name, (address,)),), ((address, name),))


@pytest.fixture
def mynet() -> Zone:
    made = Zone(MYNET, ("10.0.1.0/24",))
    made.put("web", web("10.0.1.5", "10.0.1.6"))
    made.put("t1", task("web.1.abc", "10.0.1.5"))
    made.put("t2", task("web.2.def", "10.0.1.6"))
    return made


def ask(zones: tuple[Zone, ...], name: str, kind: str = "A", *, dotless_stay: bool = False) -> tuple[Rcode, list[str]] | None:
    """(status, the records as text), None when it is asked elsewhere."""
    query = message.parse_query(dns.message.make_query(name, kind).to_wire())
    assert isinstance(query, Query)
    found = zone.answer(Asker(zones, dotless_stay), query, random.Random(1))
    if not isinstance(found, Answer):
        assert found == FORWARD
        return None
    seen = dns.message.from_wire(message.respond(query, found.rcode, found.records, found.additional))
    return Rcode(seen.rcode()), sorted(r.to_text() for rrset in seen.answer for r in rrset)


def test_a_service_is_its_virtual_address_and_tasks_are_theirs(mynet: Zone) -> None:
    assert ask((mynet,), "web") == (Rcode.NOERROR, ["10.0.1.2"])
    assert ask((mynet,), "tasks.web") == (Rcode.NOERROR, ["10.0.1.5", "10.0.1.6"])
    assert ask((mynet,), "WEB.1.Abc") == (Rcode.NOERROR, ["10.0.1.5"])


def test_other_kinds_of_records_of_our_names_are_empty_not_asked_elsewhere(mynet: Zone) -> None:
    for kind in ("AAAA", "MX", "TXT", "HTTPS"):
        assert ask((mynet,), "web", kind) == (Rcode.NOERROR, [])


def test_a_name_without_live_addresses_is_denied_here(mynet: Zone) -> None:
    mynet.put("web", web())
    assert ask((mynet,), "web") == (Rcode.NXDOMAIN, [])
    assert ask((mynet,), "tasks.web") == (Rcode.NXDOMAIN, [])


def test_a_source_that_goes_takes_its_names_along(mynet: Zone) -> None:
    mynet.put("t2", Contribution())
    assert ask((mynet,), "web.2.def") is None
    assert ask((mynet,), "6.1.0.10.in-addr.arpa", "PTR") == (Rcode.NXDOMAIN, [])
    for source in mynet.sources():
        mynet.put(source, Contribution())
    assert mynet.empty


def test_two_containers_of_one_name_both_answer(mynet: Zone) -> None:
    mynet.put("a", task("db", "10.0.1.8"))
    mynet.put("b", task("db", "10.0.1.9"))
    assert ask((mynet,), "db") == (Rcode.NOERROR, ["10.0.1.8", "10.0.1.9"])
    mynet.put("a", Contribution())
    assert ask((mynet,), "db") == (Rcode.NOERROR, ["10.0.1.9"])


def test_only_shared_networks_know_a_name(mynet: Zone) -> None:
    other = Zone(OTHER, ("10.0.2.0/24",))
    other.put("db", task("db", "10.0.2.9"))
    assert ask((mynet,), "db") is None
    assert ask((mynet, other), "db") == (Rcode.NOERROR, ["10.0.2.9"])


def test_the_first_network_with_a_live_address_answers(mynet: Zone) -> None:
    other = Zone(OTHER)
    other.put("web", task("web", "10.0.2.2"))
    assert ask((mynet, other), "web") == (Rcode.NOERROR, ["10.0.1.2"])
    assert ask((other, mynet), "web") == (Rcode.NOERROR, ["10.0.2.2"])
    mynet.put("web", web())
    assert ask((mynet, other), "web") == (Rcode.NOERROR, ["10.0.2.2"])


def test_a_network_can_be_named(mynet: Zone) -> None:
    other = Zone(OTHER)
    other.put("web", task("web", "10.0.2.2"))
    assert ask((mynet, other), "web.other") == (Rcode.NOERROR, ["10.0.2.2"])
    assert ask((mynet, other), "tasks.web.mynet") == (Rcode.NOERROR, ["10.0.1.5", "10.0.1.6"])
    assert ask((mynet, other), "web.elsewhere") is None


def test_addresses_have_names_with_their_network(mynet: Zone) -> None:
    assert ask((mynet,), "5.1.0.10.in-addr.arpa", "PTR") == (Rcode.NOERROR, ["web.1.abc.mynet."])
    assert ask((mynet,), "2.1.0.10.in-addr.arpa", "PTR") == (Rcode.NOERROR, ["web.mynet."])
    assert ask((mynet,), "11.0.0.127.in-addr.arpa", "PTR") == (Rcode.NOERROR, ["localhost."])
    assert ask((mynet,), "99.1.0.10.in-addr.arpa", "PTR") == (Rcode.NXDOMAIN, [])
    assert ask((mynet,), "1.2.0.192.in-addr.arpa", "PTR") is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("_api._tcp.web", ["0 0 80 web."]),
        ("_80._tcp.web", ["0 0 80 web."]),
        ("_api._tcp.tasks.web", ["0 0 80 web.1.abc.mynet.", "0 0 80 web.2.def.mynet."]),
        ("_domain._udp.web", ["0 0 53 web."]),
        ("_53._udp.web.mynet", ["0 0 53 web.mynet."]),
    ],
)
def test_a_port_is_found_by_its_name_its_number_or_what_is_well_known(mynet: Zone, name: str, expected: list[str]) -> None:
    assert ask((mynet,), name, "SRV") == (Rcode.NOERROR, expected)


def test_an_endpoint_with_an_address_of_each_family_has_one_service_record() -> None:
    twins = Zone(MYNET, ("10.0.1.0/24", "fd00:1::/64"))
    live = {"web.1.abc": ("10.0.1.5", "fd00:1::5"), "web.2.def": ("10.0.1.6", "fd00:1::6")}
    virtual = ("10.0.1.2", "fd00:1::2")
    names = (("web", virtual), ("tasks.web", tuple(a for pair in live.values() for a in pair)))
    twins.put("web", Contribution(names, tuple((a, "web") for a in virtual), (Port("tcp", 80),)))
    for name, pair in live.items():
        twins.put(name, Contribution(((name, pair),), tuple((a, name) for a in pair)))
    for name, records in (("web", 1), ("tasks.web", 2)):
        query = message.parse_query(dns.message.make_query(f"_80._tcp.{name}", "SRV").to_wire())
        assert isinstance(query, Query)
        found = zone.answer(Asker((twins,)), query, random.Random(1))
        assert isinstance(found, Answer)
        assert (len(found.records), len(found.additional)) == (records, 2 * records)
    assert ask((twins,), "_80._tcp.web", "SRV") == (Rcode.NOERROR, ["0 0 80 web."])


def test_a_port_that_the_service_has_not_is_denied(mynet: Zone) -> None:
    for name in ("_smtp._tcp.web", "_http._tcp.web", "_api._udp.web"):  # 80 has a name of its own: it is not http
        assert ask((mynet,), name, "SRV") == (Rcode.NXDOMAIN, [])
    assert ask((mynet,), "_sip._udp.provider.example", "SRV") is None


def test_single_names_stay_here_when_the_user_has_set_ndots(mynet: Zone) -> None:
    assert ask((mynet,), "nosuch") is None
    assert ask((mynet,), "nosuch", dotless_stay=True) == (Rcode.NOERROR, [])
    assert ask((mynet,), "nosuch.example", dotless_stay=True) is None


def test_what_two_states_have_in_common() -> None:
    before, after = web("10.0.1.5", "10.0.1.6"), web("10.0.1.6", "10.0.1.7")
    assert dict(before.common(after).names) == {"web": ("10.0.1.2",), "tasks.web": ("10.0.1.6",)}
    assert before.common(Contribution()).names == ()


def seen(lifetime_s: int) -> Upstream:
    return Upstream(0, False, lifetime_s, ())


def test_the_cache_forgets_in_time_and_is_bounded() -> None:
    cache = Cache()
    cache.put("a", b"\0\0answer", seen(10), 0)
    assert cache.get("a", 1, 9.9) == b"\0\1answer"
    assert cache.get("a", 1, 10) is None
    cache.put("b", b"\0\0" + b"x" * 5000, seen(10), 0)
    cache.put("c", b"\0\0c", seen(0), 0)
    assert len(cache) == 0
    for number in range(ENTRIES_MAX + 10):
        cache.put(number, b"\0\0", seen(10), 0)
    assert len(cache) == ENTRIES_MAX
    assert cache.get(9, 1, 1) is None
    assert cache.get(10, 1, 1) is not None


def test_a_link_is_a_name_of_its_asker_alone_and_the_first_that_is_known_counts(mynet: Zone) -> None:
    query = message.parse_query(dns.message.make_query("store", "A").to_wire())
    assert isinstance(query, Query)
    linked = zone.answer(Asker((mynet,), links=((mynet, "store", "nosuch"), (mynet, "store", "web.1.abc"))), query, random.Random(1))
    assert isinstance(linked, Answer)
    assert linked.records == (message.address_record("10.0.1.5"),)
    assert zone.answer(Asker((mynet,)), query, random.Random(1)) is FORWARD


def test_a_link_of_one_network_says_nothing_of_another(mynet: Zone) -> None:
    query = message.parse_query(dns.message.make_query("store", "A").to_wire())
    assert isinstance(query, Query)
    left = Zone("left")
    assert zone.answer(Asker((left, mynet), links=((left, "store", "web.1.abc"),)), query, random.Random(1)) is FORWARD
