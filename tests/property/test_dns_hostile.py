"""Whatever bytes a container or an upstream sends, reading them ends, raises nothing, and what is answered is a message."""

from __future__ import annotations

import random
import struct

import dns.message
from hypothesis import given
from hypothesis import strategies as st

from netfabric.dns import message, zone
from netfabric.dns.message import Query, Rcode
from netfabric.dns.zone import Answer, Asker, Contribution, Zone

ZONE = Zone("net", ("10.0.1.0/24", "fd00::/64"))
ZONE.put("web", Contribution((("web", ("10.0.1.2", "fd00::2")), ("a.b", ("10.0.1.3",))), (("10.0.1.2", "web"), ("fd00::2", "web"))))
LABEL = st.one_of(st.sampled_from([b"web", b"net", b"tasks", b"_80", b"_tcp", b"arpa", b"in-addr", b"ip6", b"1", b"f"]), st.binary(min_size=1, max_size=63))


@st.composite
def questions(draw: st.DrawFn) -> bytes:
    """A header that may be sensible, a name that may end, and anything behind it."""
    labels = draw(st.lists(LABEL, max_size=40))
    name = b"".join(bytes([len(label)]) + label for label in labels) + draw(st.sampled_from([b"\0", b"", b"\xc0\x0c"]))
    counts = draw(st.sampled_from([(1, 0, 0, 0), (1, 0, 0, 1), (1, 0, 0, 4), (0, 0, 0, 0), (9, 9, 9, 9)]))
    header = struct.pack("!6H", draw(st.integers(0, 65535)), draw(st.sampled_from([0, 0x100, 0x110, 0x8180, 0x2800])), *counts)
    kind = struct.pack("!2H", draw(st.sampled_from([1, 12, 28, 33, 255, 65])), draw(st.sampled_from([1, 255, 3])))
    return header + name + kind + draw(st.one_of(st.just(b""), st.just(b"\0\0\x29\x04\xd0\0\0\x80\0\0\0"), st.binary(max_size=60)))


@given(st.one_of(st.binary(max_size=600), questions()))
def test_any_packet_of_a_container_is_answered_with_a_message_or_not_at_all(data: bytes) -> None:
    query = message.parse_query(data)
    if query is None:
        return
    if isinstance(query, Query):
        found = zone.answer(Asker((ZONE,)), query, random.Random(0))
        answered = message.respond(query, found.rcode if isinstance(found, Answer) else Rcode.SERVFAIL,
                                   found.records if isinstance(found, Answer) else (), limit=query.limit)  # fmt: skip
        assert len(answered) <= query.limit
    else:
        answered = message.refuse(query)
    assert dns.message.from_wire(answered).id == query.id


@given(st.one_of(st.binary(max_size=600), questions()), st.binary(max_size=80), st.integers(0, 10**6))
def test_any_packet_of_an_upstream_is_kept_only_as_it_came(head: bytes, tail: bytes, age_s: int) -> None:
    data = head + tail
    query = message.parse_query(head)
    question = query.question if isinstance(query, Query) else tail
    if not message.is_answer(data, int.from_bytes(data[:2], "big"), question):
        return
    seen = message.examine(data, question)
    if seen is not None:
        assert len(message.aged(data, 1, seen.ttls, age_s)) == len(data)
