"""XFRM messages, packed by hand: IPsec associations and policies of encrypted overlays. Bytes only; no socket.

Ours are known again by their request id and mark. Sources: linux/xfrm.h, ip-xfrm(8), RFC 4106.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterator

from netfabric.encryption import MARK
from netfabric.netlink.exchange import Answer
from netfabric.netlink.messages import CHANGE, NEW, NLM_F_DUMP, NLM_F_REQUEST, Message, attribute, attributes
from netfabric.state import Association, Policy

NEWSA, DELSA, GETSA, UPDSA, FLUSHSA = 0x10, 0x11, 0x12, 0x1A, 0x1C
NEWPOLICY, DELPOLICY, GETPOLICY, UPDPOLICY, FLUSHPOLICY = 0x13, 0x14, 0x15, 0x19, 0x1D
_AEAD, _TEMPLATE, _SOURCE, _MARK = 18, 5, 13, 21
_ESP, _UDP = 50, 17
_ICV_BITS = 64
_REPLAY_WINDOW = 32
_FOREVER = 0xFFFFFFFFFFFFFFFF
_LIFETIMES = struct.pack("=8Q", *(_FOREVER,) * 4, 0, 0, 0, 0)
_USED = bytes(32)
_SELECTOR_BYTES, _INFO_BYTES, _POLICY_BYTES = 56, 224, 168
_OUT = 1


def _wide(address: str) -> bytes:
    return ipaddress.IPv4Address(address).packed + bytes(12)


def _plain(value: bytes) -> str:
    return str(ipaddress.IPv4Address(value[:4]))


def _selector(source: str = "", destination: str = "", port: int = 0) -> bytes:
    addresses = b"".join(_wide(address) if address else bytes(16) for address in (destination, source))
    ports = struct.pack(">HHHH", port, 0xFFFF if port else 0, 0, 0)
    prefixes = (32 if destination else 0, 32 if source else 0)
    return addresses + ports + struct.pack("=HBBB3xiI", socket.AF_INET, *prefixes, _UDP if port else 0, 0, 0)


def new_association(one: Association) -> Message:
    identity = _wide(one.destination) + struct.pack(">I", one.spi) + struct.pack("=B3x", _ESP)
    rest = bytes(12) + struct.pack("=IIHBBB7x", 0, MARK, socket.AF_INET, 0, _REPLAY_WINDOW, 0)
    salted = one.key + struct.pack(">I", one.spi)
    algorithm = b"rfc4106(gcm(aes))".ljust(64, b"\0") + struct.pack("=II", len(salted) * 8, _ICV_BITS) + salted
    body = _selector() + identity + _wide(one.source) + _LIFETIMES + _USED + rest + attribute(_AEAD, algorithm)
    return Message(NEWSA, NEW, body, f"associate {one.source} with {one.destination}")


def delete_association(one: Association) -> Message:
    body = _wide(one.destination) + struct.pack(">I", one.spi) + struct.pack("=HBx", socket.AF_INET, _ESP) + attribute(_SOURCE, _wide(one.source))
    return Message(DELSA, CHANGE, body, f"end the association of {one.source} with {one.destination}")


def put_policy(one: Policy) -> Message:
    """Makes or replaces what is sent between the two."""
    info = _selector(one.source, one.destination, one.port) + _LIFETIMES + _USED + struct.pack("=IIBBBB4x", 0, 0, _OUT, 0, 0, 0)
    template = _wide(one.destination) + struct.pack(">I", one.spi) + struct.pack("=B3x", _ESP) + struct.pack("=H2x", socket.AF_INET) + _wide(one.source)
    template += struct.pack("=IBBBxIII", MARK, 0, 0, 0, *(0xFFFFFFFF,) * 3)
    body = info + attribute(_TEMPLATE, template) + attribute(_MARK, struct.pack("=II", MARK, 0xFFFFFFFF))
    return Message(UPDPOLICY, CHANGE, body, f"encrypt what goes from {one.source} to {one.destination}")


def delete_policy(one: Policy) -> Message:
    body = _selector(one.source, one.destination, one.port) + struct.pack("=IB3x", 0, _OUT) + attribute(_MARK, struct.pack("=II", MARK, 0xFFFFFFFF))
    return Message(DELPOLICY, CHANGE, body, f"encrypt no more what goes from {one.source} to {one.destination}")


def dump_associations() -> Message:
    return Message(GETSA, NLM_F_REQUEST | NLM_F_DUMP, b"", "list associations")


def dump_policies() -> Message:
    return Message(GETPOLICY, NLM_F_REQUEST | NLM_F_DUMP, b"", "list policies")


def associations_of(answer: Answer) -> Iterator[Association]:
    for _, payload in answer:
        identity, (number,) = payload[_SELECTOR_BYTES : _SELECTOR_BYTES + 24], struct.unpack_from("=I", payload, 208)
        algorithm = dict(attributes(payload, _INFO_BYTES)).get(_AEAD, b"")
        if number == MARK and len(algorithm) > 76:
            (spi,) = struct.unpack_from(">I", identity, 16)
            yield Association(_plain(payload[80:84]), _plain(identity), spi, algorithm[72:-4])


def policies_of(answer: Answer) -> Iterator[Policy]:
    for _, payload in answer:
        found = dict(attributes(payload, _POLICY_BYTES))
        if found.get(_MARK, b"")[:4] == struct.pack("=I", MARK) and _TEMPLATE in found:
            (spi,), (port,) = struct.unpack_from(">I", found[_TEMPLATE], 16), struct.unpack_from(">H", payload, 32)
            yield Policy(_plain(payload[16:20]), _plain(payload), spi, port)


def association_gone(payload: bytes) -> tuple[str, int]:
    """(destination, index) of the word that one is gone."""
    (spi,) = struct.unpack_from(">I", payload, 16)
    return _plain(payload), spi


def ends_of_policy(payload: bytes) -> tuple[str, str]:
    """(source, destination) of any word of a policy."""
    return _plain(payload[16:20]), _plain(payload)
