"""DNS messages, against an independent implementation: what we read is what it wrote, what we write it reads."""

from __future__ import annotations

import struct

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from netfabric.dns import message
from netfabric.dns.message import Query, Rcode, Refusal


def asked(name: str, kind: str = "A", **edns: int) -> bytes:
    made = dns.message.make_query(name, kind, use_edns=0 if edns else -1, **edns)  # type: ignore[arg-type]
    return made.to_wire()


def parsed(data: bytes) -> Query:
    query = message.parse_query(data)
    assert isinstance(query, Query)
    return query


def test_a_question_is_read_as_it_was_written() -> None:
    query = parsed(asked("Web.MyNet", "AAAA"))
    assert (query.name, query.kind, query.klass, query.udp_bytes, query.limit) == ("web.mynet", message.AAAA, message.IN, 0, 512)


def test_edns_says_how_much_the_asker_takes() -> None:
    query = parsed(asked("web", payload=1400, ednsflags=dns.flags.DO))
    assert (query.udp_bytes, query.limit, query.dnssec_ok) == (1400, 1400, True)
    assert parsed(asked("web", payload=65000)).limit == message.UDP_MAX_BYTES
    assert parsed(asked("web", payload=100)).limit == 512


def test_an_answer_reads_as_it_was_meant() -> None:
    data = asked("web", payload=1232)
    records = [message.address_record(a) for a in ("10.0.1.2", "10.0.1.3")]
    seen = dns.message.from_wire(message.respond(parsed(data), Rcode.NOERROR, records, ttl=7))
    assert dns.message.from_wire(data).is_response(seen)
    assert seen.flags & dns.flags.RA
    assert not seen.flags & dns.flags.TC
    assert sorted(r.to_text() for r in seen.answer[0]) == ["10.0.1.2", "10.0.1.3"]
    assert seen.answer[0].ttl == 7
    assert seen.edns == 0
    assert seen.payload == message.UDP_MAX_BYTES


def test_every_kind_of_record_reads_as_it_was_meant() -> None:
    def first(name: str, kind: str, record: message.Record) -> str:
        seen = dns.message.from_wire(message.respond(parsed(asked(name, kind)), Rcode.NOERROR, [record]))
        return str(seen.answer[0][0].to_text())

    assert first("web", "AAAA", message.address_record("fd00::5")) == "fd00::5"
    assert first("5.1.0.10.in-addr.arpa", "PTR", message.pointer_record("web.1.abc.ov")) == "web.1.abc.ov."
    assert first("_http._tcp.web", "SRV", message.service_record(8080, "web")) == "0 0 8080 web."


def test_what_does_not_fit_is_left_out_and_marked() -> None:
    records = [message.address_record(f"10.0.{i // 250}.{i % 250 + 1}") for i in range(200)]
    query = parsed(asked("tasks.web"))
    short = message.respond(query, Rcode.NOERROR, records, limit=query.limit)
    seen = dns.message.from_wire(short)
    assert len(short) <= 512
    assert seen.flags & dns.flags.TC
    assert len(seen.answer[0]) == 30
    whole = dns.message.from_wire(message.respond(query, Rcode.NOERROR, records))
    assert not whole.flags & dns.flags.TC
    assert len(whole.answer[0]) == 200


def test_a_version_of_edns_that_we_do_not_speak_is_refused_by_its_number() -> None:
    query = parsed(dns.message.make_query("web", "A", use_edns=3).to_wire())
    assert query.edns_version == 3
    assert dns.message.from_wire(message.respond(query, Rcode.BADVERS)).rcode() == 16


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", None),
        (b"\0" * 11, None),
        (struct.pack("!6H", 7, 0x8000, 1, 0, 0, 0), None),  # an answer itself
        (struct.pack("!6H", 7, 0x2800, 1, 0, 0, 0), Rcode.NOTIMP),  # an update
        (struct.pack("!6H", 7, 0, 0, 0, 0, 0), Rcode.FORMERR),
        (struct.pack("!6H", 7, 0, 2, 0, 0, 0) + b"\1a\0\0\1\0\1" * 2, Rcode.FORMERR),
        (struct.pack("!6H", 7, 0, 1, 0, 0, 0) + b"\xc0\x0c\0\1\0\1", Rcode.FORMERR),  # a name that points to itself
        (struct.pack("!6H", 7, 0, 1, 0, 0, 0) + b"\x3f" + b"a" * 20, Rcode.FORMERR),
        (struct.pack("!6H", 7, 0, 1, 0, 0, 0) + (b"\x3f" + b"a" * 63) * 5 + b"\0\0\1\0\1", Rcode.FORMERR),  # longer than a name is
        (struct.pack("!6H", 7, 0, 1, 0, 0, 60000) + b"\1a\0\0\1\0\1", Rcode.FORMERR),
        (asked("web") + b"\0" * 5000, Rcode.FORMERR),
    ],
)  # fmt: skip
def test_a_packet_that_is_no_question_is_refused_or_ignored(data: bytes, expected: Rcode | None) -> None:
    found = message.parse_query(data)
    if expected is None:
        assert found is None
    else:
        assert isinstance(found, Refusal)
        assert found.rcode == expected
        assert dns.message.from_wire(message.refuse(found), ignore_trailing=True).rcode() == expected


def test_a_label_with_a_dot_inside_is_no_name_of_ours() -> None:
    data = struct.pack("!6H", 7, 0, 1, 0, 0, 0) + b"\7web.net\0\0\1\0\1"
    assert parsed(data).name == ""


def test_reverse_names_are_addresses() -> None:
    assert message.reversed_address("5.1.0.10.in-addr.arpa") == "10.0.1.5"
    assert message.reversed_address("5." + "0." * 27 + "0.0.d.f.ip6.arpa") == "fd00::5"
    for wrong in ("1.0.10.in-addr.arpa", "300.1.0.10.in-addr.arpa", "a.ip6.arpa", "web"):
        assert message.reversed_address(wrong) == ""


def upstream(answer: tuple[str, ...] = (), authority: tuple[str, ...] = (), rcode: int = 0) -> tuple[bytes, bytes]:
    """(what an upstream answers, the question's bytes)."""
    query = dns.message.make_query("host.example", "A")
    made = dns.message.make_response(query)
    made.set_rcode(dns.rcode.Rcode(rcode))
    for text, section in [(t, made.answer) for t in answer] + [(t, made.authority) for t in authority]:
        name, ttl, _, kind, *rest = text.split()
        section.append(dns.rrset.from_text(name, int(ttl), "IN", kind, " ".join(rest)))
    return made.to_wire(), parsed(query.to_wire()).question


SOA = "example. 900 IN SOA ns.example. root.example. 1 2 3 4 60"


@pytest.mark.parametrize(
    ("answer", "authority", "rcode", "lifetime"),
    [
        (("host.example. 300 IN A 192.0.2.1",), (), 0, 300),
        (("host.example. 300 IN CNAME x.example.", "x.example. 20 IN A 192.0.2.1"), (), 0, 20),
        ((), (SOA,), 3, 60),
        ((), (SOA,), 0, 60),
        ((), (), 3, 0),
        ((), (SOA,), 2, 0),
        (("host.example. 0 IN A 192.0.2.1",), (), 0, 0),
    ],
)  # fmt: skip
def test_an_answer_is_kept_for_as_long_as_it_says(answer: tuple[str, ...], authority: tuple[str, ...], rcode: int, lifetime: int) -> None:
    data, question = upstream(answer, authority, rcode)
    seen = message.examine(data, question)
    assert seen is not None
    assert seen.lifetime_s == lifetime


def test_a_kept_answer_grows_older() -> None:
    data, question = upstream(("host.example. 300 IN A 192.0.2.1",))
    seen = message.examine(data, question)
    assert seen is not None
    older = dns.message.from_wire(message.aged(data, 4711, seen.ttls, 100))
    assert (older.id, older.answer[0].ttl) == (4711, 200)


def test_only_the_answer_to_our_question_is_one() -> None:
    data, question = upstream(("host.example. 300 IN A 192.0.2.1",))
    number = int.from_bytes(data[:2], "big")
    assert message.is_answer(data, number, question)
    assert not message.is_answer(data, number ^ 1, question)
    assert not message.is_answer(data, number, question.replace(b"host", b"most"))
    assert not message.is_answer(data[:12], number, question)
