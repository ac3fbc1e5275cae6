"""DNS messages as bytes: a query is read, an answer written, an upstream's answer walked through. Pure and bounded.

Nothing here follows a compression pointer, so no packet can make it loop: a question has none (RFC 9619), and of an upstream's answer only the fixed
parts are read. Never decides what a name means (netfabric/dns/zone.py does). Sources: RFC 1035, 2308 (negative answers), 2782 (SRV), 6891 (EDNS0).
"""

from __future__ import annotations

import enum
import ipaddress
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

A: Final = 1
SOA: Final = 6
PTR: Final = 12
AAAA: Final = 28
SRV: Final = 33
OPT: Final = 41
ANY: Final = 255
IN: Final = 1

HEADER_BYTES: Final = 12
QUERY_MAX_BYTES: Final = 4096
"""A longer query is not read."""
MESSAGE_MAX_BYTES: Final = 65535
PLAIN_UDP_BYTES: Final = 512
"""What a client without EDNS0 takes in a datagram."""
UDP_MAX_BYTES: Final = 4096
"""What we send in a datagram at most, and say that we take."""
NAME_MAX_BYTES: Final = 255
ADDITIONAL_MAX: Final = 4
"""Records that a query may bring along (EDNS0's and a signature); more is no query that we read."""
RECORDS_MAX: Final = 1024
"""Records of an upstream's answer that are looked at; one with more is passed on but not kept."""
TTL_MAX_S: Final = 0x7FFFFFFF

_QR, _AA, _TC, _RD, _RA, _CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0010
_OPCODE, _RCODE = 0x7800, 0x000F
_DNSSEC_OK = 0x8000
_POINTER_TO_QUESTION: Final = b"\xc0\x0c"


class Rcode(enum.IntEnum):
    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    BADVERS = 16


class Query(NamedTuple):
    """A question with one name. `name` is in lower case without the last dot; "" when it has bytes that no name of ours has. `question` are its bytes
    as they came. `udp_bytes` 0: no EDNS0."""

    id: int
    flags: int
    name: str
    kind: int
    klass: int
    question: bytes
    udp_bytes: int = 0
    dnssec_ok: bool = False
    edns_version: int = 0

    @property
    def checking_disabled(self) -> bool:
        return bool(self.flags & _CD)

    @property
    def limit(self) -> int:
        """Bytes that the asker takes in one datagram."""
        return min(max(self.udp_bytes, PLAIN_UDP_BYTES), UDP_MAX_BYTES)


class Refusal(NamedTuple):
    """A packet that can't be answered but with a status. `question` may be empty."""

    id: int
    flags: int
    rcode: Rcode
    question: bytes = b""


@dataclass(frozen=True, slots=True)
class Record:
    """One resource record of an answer, its data packed. `owner` "": the question's own name."""

    kind: int
    data: bytes
    owner: str = ""


def parse_query(data: bytes) -> Query | Refusal | None:
    """The query in a packet; None for what gets no answer at all (an answer itself, or less than a header)."""
    if len(data) < HEADER_BYTES:
        return None
    number, flags, questions, answers, authorities, additional = struct.unpack_from("!6H", data)
    if flags & _QR:
        return None
    if flags & _OPCODE:
        return Refusal(number, flags, Rcode.NOTIMP)
    if questions != 1 or answers or authorities or additional > ADDITIONAL_MAX or len(data) > QUERY_MAX_BYTES:
        return Refusal(number, flags, Rcode.FORMERR)
    found = _question(data)
    if found is None:
        return Refusal(number, flags, Rcode.FORMERR)
    name, kind, klass, offset = found
    question = data[HEADER_BYTES:offset]
    udp_bytes, options, seen = 0, 0, 0
    for _ in range(additional):
        walked = _record(data, offset)
        if walked is None:
            return Refusal(number, flags, Rcode.FORMERR, question)
        if walked.kind == OPT:
            udp_bytes, options, seen = max(walked.klass, PLAIN_UDP_BYTES), walked.ttl, seen + 1
        offset = walked.end
    if seen > 1:
        return Refusal(number, flags, Rcode.FORMERR, question)
    return Query(number, flags, name, kind, klass, question, udp_bytes, bool(options & _DNSSEC_OK), options >> 16 & 0xFF)


def _question(data: bytes) -> tuple[str, int, int, int] | None:
    """(name, type, class, where it ends) of the only question."""
    offset, labels, plain = HEADER_BYTES, [], True
    while True:
        if offset >= len(data):
            return None
        length = data[offset]
        offset += 1
        if not length:
            break
        if length > 63 or offset + length > len(data) or offset + length - HEADER_BYTES >= NAME_MAX_BYTES:
            return None
        label = data[offset : offset + length]
        plain = plain and _plain(label)
        labels.append(label)
        offset += length
    if offset + 4 > len(data):
        return None
    kind, klass = struct.unpack_from("!2H", data, offset)
    name = b".".join(labels).decode("ascii").lower() if plain else ""
    return name, kind, klass, offset + 4


def _plain(label: bytes) -> bool:
    """Whether a label can be compared as text."""
    return label.isascii() and b"." not in label and b"\0" not in label


class _Walked(NamedTuple):
    kind: int
    klass: int
    ttl: int
    ttl_at: int
    data_at: int
    end: int


def _skip_name(data: bytes, offset: int) -> int:
    """Where a name ends, its pointer unfollowed; -1 when it does not."""
    start = offset
    while offset < len(data) and offset - start <= NAME_MAX_BYTES:
        length = data[offset]
        if not length:
            return offset + 1
        if length >= 0xC0:
            return offset + 2
        if length > 63:
            return -1
        offset += 1 + length
    return -1


def _record(data: bytes, offset: int) -> _Walked | None:
    offset = _skip_name(data, offset)
    if offset < 0 or offset + 10 > len(data):
        return None
    kind, klass, ttl, length = struct.unpack_from("!HHIH", data, offset)
    end = offset + 10 + length
    return _Walked(kind, klass, ttl, offset + 4, offset + 10, end) if end <= len(data) else None


# -- answers ----------------------------------------------------------------------------------------------------------


def respond(query: Query, rcode: Rcode, answers: Sequence[Record] = (), additional: Sequence[Record] = (), *, ttl: int = 0,
            limit: int = MESSAGE_MAX_BYTES) -> bytes:  # fmt: skip
    """The answer to a query. What does not fit into `limit` bytes is left out and the answer marked as cut off."""
    edns = _edns(rcode) if query.udp_bytes else b""
    room = limit - HEADER_BYTES - len(query.question) - len(edns)
    body = bytearray()
    counts = [0, 0]
    cut = False
    for section, records in enumerate((answers, additional)):
        for record in records:
            packed = _packed(record, ttl)
            if len(body) + len(packed) > room:
                cut = cut or section == 0  # an additional record that is left out is only a hint less
                break
            body += packed
            counts[section] += 1
        if cut:
            break
    flags = _QR | _RA | query.flags & (_RD | _CD) | (_TC if cut else 0) | rcode & _RCODE
    header = struct.pack("!6H", query.id, flags, 1, counts[0], 0, counts[1] + bool(edns))
    return header + query.question + bytes(body) + edns


def refuse(refusal: Refusal) -> bytes:
    flags = _QR | _RA | refusal.flags & (_RD | _OPCODE) | refusal.rcode
    return struct.pack("!6H", refusal.id, flags, 1 if refusal.question else 0, 0, 0, 0) + refusal.question


def _edns(rcode: Rcode) -> bytes:
    return struct.pack("!BHHIH", 0, OPT, UDP_MAX_BYTES, rcode >> 4 << 24, 0)


def _packed(record: Record, ttl: int) -> bytes:
    owner = pack_name(record.owner) if record.owner else _POINTER_TO_QUESTION
    return owner + struct.pack("!HHIH", record.kind, IN, ttl, len(record.data)) + record.data


def pack_name(name: str) -> bytes:
    """ "web.mynet" in wire form. Raises ValueError for a label or a name that is too long or empty."""
    packed = bytearray()
    for label in name.split("."):
        encoded = label.encode("ascii")
        if not 0 < len(encoded) < 64:
            raise ValueError(f"no DNS name: {name!r}")
        packed += bytes([len(encoded)]) + encoded
    if len(packed) >= NAME_MAX_BYTES:
        raise ValueError(f"no DNS name: {name!r}")
    return bytes(packed) + b"\0"


def address_record(address: str, owner: str = "") -> Record:
    """A or AAAA of a plain address."""
    parsed = ipaddress.ip_address(address)
    return Record(A if parsed.version == 4 else AAAA, parsed.packed, owner)


def pointer_record(name: str) -> Record:
    return Record(PTR, pack_name(name))


def service_record(port: int, target: str) -> Record:
    return Record(SRV, struct.pack("!HHH", 0, 0, port) + pack_name(target))


def reversed_address(name: str) -> str:
    """ "8.1.0.10.in-addr.arpa" -> "10.0.1.8"; also ip6.arpa; "" for any other name."""
    if name.endswith(".in-addr.arpa"):
        octets = name.removesuffix(".in-addr.arpa").split(".")
        if len(octets) == 4 and all(o.isdecimal() and len(o) <= 3 and int(o) < 256 for o in octets):
            return ".".join(str(int(o)) for o in reversed(octets))
    elif name.endswith(".ip6.arpa"):
        digits = name.removesuffix(".ip6.arpa").split(".")
        if len(digits) == 32 and all(len(d) == 1 and d in "0123456789abcdef" for d in digits):
            return str(ipaddress.IPv6Address(int("".join(reversed(digits)), 16)))
    return ""


# -- what an upstream answered ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Upstream:
    """An upstream's answer. `lifetime_s`: for how long it may be kept (0: not at all); `ttls`: where its records' times to live are."""

    rcode: int
    truncated: bool
    lifetime_s: int
    ttls: tuple[int, ...]


def is_answer(data: bytes, number: int, question: bytes) -> bool:
    """Whether the packet answers this question, which was asked under this number."""
    if len(data) < HEADER_BYTES:
        return False
    got, flags, questions = struct.unpack_from("!3H", data)
    asked = data[HEADER_BYTES : HEADER_BYTES + len(question)]
    if got != number or not flags & _QR:
        return False
    return asked.lower() == question.lower() if questions == 1 else not questions and flags & _RCODE in (Rcode.FORMERR, Rcode.NOTIMP, Rcode.REFUSED)


def examine(data: bytes, question: bytes) -> Upstream | None:
    """Walks through an answer for which is_answer() holds; None when it is broken."""
    _, flags, questions, answers, authorities, additional = struct.unpack_from("!6H", data)
    rcode, truncated = flags & _RCODE, bool(flags & _TC)
    count = answers + authorities + additional
    if count > RECORDS_MAX or questions != 1:
        return Upstream(rcode, truncated, 0, ())
    offset = HEADER_BYTES + len(question)
    ttls, lifetime, negative = [], TTL_MAX_S, 0
    for position in range(count):
        walked = _record(data, offset)
        if walked is None:
            return None
        if walked.kind != OPT:
            ttl = min(walked.ttl, TTL_MAX_S) if walked.ttl <= TTL_MAX_S else 0
            ttls.append(walked.ttl_at)
            lifetime = min(lifetime, ttl)
            if walked.kind == SOA and answers <= position < answers + authorities and walked.end - walked.data_at >= 22:
                (minimum,) = struct.unpack_from("!I", data, walked.end - 4)
                negative = min(ttl, minimum)
        offset = walked.end
    if truncated or rcode not in (Rcode.NOERROR, Rcode.NXDOMAIN):
        lifetime = 0
    elif rcode == Rcode.NXDOMAIN or not answers:
        lifetime = negative  # RFC 2308: without an SOA a denial is not kept
    return Upstream(rcode, truncated, lifetime if ttls else 0, tuple(ttls))


def aged(data: bytes, number: int, ttls: Iterable[int], age_s: int) -> bytes:
    """A kept answer for another asker: its number, and what is left of the times to live."""
    changed = bytearray(data)
    struct.pack_into("!H", changed, 0, number)
    for at in ttls:
        (ttl,) = struct.unpack_from("!I", changed, at)
        struct.pack_into("!I", changed, at, max(0, ttl - age_s))
    return bytes(changed)


def numbered(data: bytes, number: int) -> bytes:
    return struct.pack("!H", number) + data[2:]


def cut_short(data: bytes, question: bytes) -> bytes:
    """An answer that is too long for its asker's datagram: nothing but the mark that it is."""
    number, flags = struct.unpack_from("!2H", data)
    return struct.pack("!6H", number, flags | _TC, 1, 0, 0, 0) + question
