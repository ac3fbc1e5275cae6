"""IPVS over generic netlink: virtual services by firewall mark, their real servers, and dumps of both.

Requests are packed and answers read here: pyroute2's classes would do the first, and their import stops a node on a slow machine for seconds. Traps that were
measured: without an explicit forwarding method real servers are routed directly, services by mark need a netmask,
and changing a server is "set", never "update". Sources: linux/ip_vs.h, net/netfilter/ipvs/ip_vs_ctl.c.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

from netfabric.netlink.exchange import Answer
from netfabric.netlink.messages import CHANGE, NLM_F_DUMP, NLM_F_REQUEST, Message, address_bytes, attribute, attributes, text, u16, u16_network, u32

FAMILY_NAME = "IPVS"
IPVS_CMD_NEW_SERVICE, IPVS_CMD_SET_SERVICE, IPVS_CMD_DEL_SERVICE, IPVS_CMD_GET_SERVICE = 1, 2, 3, 4
IPVS_CMD_SET_CONFIG, IPVS_CMD_GET_CONFIG = 12, 13
IPVS_CMD_NEW_DEST, IPVS_CMD_SET_DEST, IPVS_CMD_DEL_DEST, IPVS_CMD_GET_DEST = 5, 6, 7, 8
_GENL_ID_CTRL, _CTRL_CMD_GETFAMILY = 16, 3
_CTRL_ATTR_FAMILY_ID, _CTRL_ATTR_FAMILY_NAME = 1, 2
_GENL_HEADER_BYTES = 4
_IPVS_VERSION = 1
_MASQUERADE = 0
_CMD_ATTR_SERVICE, _CMD_ATTR_DEST, _CMD_ATTR_TIMEOUT_TCP, _CMD_ATTR_TIMEOUT_TCP_FIN, _CMD_ATTR_TIMEOUT_UDP = 1, 2, 4, 5, 6
_SVC_FAMILY, _SVC_FWMARK, _SVC_SCHED_NAME, _SVC_FLAGS, _SVC_TIMEOUT, _SVC_NETMASK = 1, 5, 6, 7, 8, 9
_DEST_ADDR, _DEST_PORT, _DEST_METHOD, _DEST_WEIGHT, _DEST_UPPER, _DEST_LOWER = 1, 2, 3, 4, 5, 6
_DEST_ACTIVE, _DEST_INACTIVE, _DEST_STATS, _DEST_FAMILY = 7, 8, 10, 11
_STATS_CONNS = 1
_WHOLE_ADDRESS = socket.inet_aton("255.255.255.255")
_WHOLE_ADDRESS6 = struct.pack("=I", 128)  # a prefix's length where IPv4 has a mask
_SH_FALLBACK = 0x8  # source hashing: a client whose server drains gets another one instead of a refusal


@dataclass(frozen=True, slots=True)
class SeenService:
    mark: int
    scheduler: str
    ipv6: bool = False


@dataclass(frozen=True, slots=True)
class SeenServer:
    """A real server with its connections now (`active`, `inactive`) and all that it ever got."""

    address: str
    weight: int
    active: int
    inactive: int
    connections: int


def get_family() -> Message:
    """Asks the kernel for the IPVS family; it loads the module when it can. Answered with ENOENT where there is
    none.
    """
    body = struct.pack("=BBH", _CTRL_CMD_GETFAMILY, 1, 0) + text(_CTRL_ATTR_FAMILY_NAME, FAMILY_NAME)
    return Message(_GENL_ID_CTRL, CHANGE, body, "look for the IPVS family")


def family_of(answer: Answer) -> int:
    """The number of the family in the answer to get_family()."""
    for _, payload in answer:
        for kind, value in attributes(payload, _GENL_HEADER_BYTES):
            if kind == _CTRL_ATTR_FAMILY_ID:
                (number,) = struct.unpack("=H", value)
                return int(number)
    raise ValueError("the answer names no generic netlink family")


def put_service(family: int, mark: int, scheduler: str, *, ipv6: bool = False, change: bool = False) -> Message:
    service = (
        _service_key(mark, ipv6=ipv6)
        + text(_SVC_SCHED_NAME, scheduler)
        + attribute(_SVC_FLAGS, struct.pack("=II", _SH_FALLBACK if scheduler == "sh" else 0, 0xFFFFFFFF))
        + u32(_SVC_TIMEOUT, 0)
        + attribute(_SVC_NETMASK, _WHOLE_ADDRESS6 if ipv6 else _WHOLE_ADDRESS)
    )
    command = IPVS_CMD_SET_SERVICE if change else IPVS_CMD_NEW_SERVICE
    return _message(family, command, CHANGE, f"virtual service FWM {mark}", service)


def delete_service(family: int, mark: int, *, ipv6: bool = False) -> Message:
    return _message(family, IPVS_CMD_DEL_SERVICE, CHANGE, f"delete virtual service FWM {mark}", _service_key(mark, ipv6=ipv6))


def put_server(family: int, mark: int, address: str, weight: int, *, change: bool = False) -> Message:
    """Port 0: connections keep the port that they came for."""
    server = _server_key(address) + u32(_DEST_METHOD, _MASQUERADE) + u32(_DEST_WEIGHT, weight) + u32(_DEST_UPPER, 0) + u32(_DEST_LOWER, 0)
    command = IPVS_CMD_SET_DEST if change else IPVS_CMD_NEW_DEST
    return _message(family, command, CHANGE, f"real server {address} of FWM {mark}", _service_key(mark, ipv6=":" in address), server)


def delete_server(family: int, mark: int, address: str) -> Message:
    what = f"delete real server {address} of FWM {mark}"
    return _message(family, IPVS_CMD_DEL_DEST, CHANGE, what, _service_key(mark, ipv6=":" in address), _server_key(address))


def put_timeouts(family: int, tcp_s: int, tcp_fin_s: int, udp_s: int) -> Message:
    """How long the namespace keeps idle connections."""
    body = struct.pack("=BBH", IPVS_CMD_SET_CONFIG, _IPVS_VERSION, 0)
    body += u32(_CMD_ATTR_TIMEOUT_TCP, tcp_s) + u32(_CMD_ATTR_TIMEOUT_TCP_FIN, tcp_fin_s) + u32(_CMD_ATTR_TIMEOUT_UDP, udp_s)
    return Message(family, CHANGE, body, "set IPVS timeouts")


def get_timeouts(family: int) -> Message:
    return Message(family, CHANGE, struct.pack("=BBH", IPVS_CMD_GET_CONFIG, _IPVS_VERSION, 0), "read IPVS timeouts")


def timeouts_of(answer: Answer) -> tuple[int, int, int] | None:
    """(tcp, tcp after FIN, udp) in seconds; None when the answer does not say."""
    for _, payload in answer:
        found = dict(attributes(payload, _GENL_HEADER_BYTES))
        kinds = (_CMD_ATTR_TIMEOUT_TCP, _CMD_ATTR_TIMEOUT_TCP_FIN, _CMD_ATTR_TIMEOUT_UDP)
        if all(kind in found for kind in kinds):
            tcp, fin, udp = (_number(found[kind]) for kind in kinds)
            return tcp, fin, udp
    return None


def dump_services(family: int) -> Message:
    return _message(family, IPVS_CMD_GET_SERVICE, NLM_F_REQUEST | NLM_F_DUMP, "list virtual services")


def dump_servers(family: int, mark: int, *, ipv6: bool = False) -> Message:
    what = f"list real servers of FWM {mark}"
    return _message(family, IPVS_CMD_GET_DEST, NLM_F_REQUEST | NLM_F_DUMP, what, _service_key(mark, ipv6=ipv6))


def services_of(answer: Answer) -> tuple[SeenService, ...]:
    """The services by mark in a dump; others are not ours and left out."""
    found = []
    for _, payload in answer:
        seen = _within(payload, _CMD_ATTR_SERVICE)
        if _SVC_FWMARK in seen:
            scheduler = seen.get(_SVC_SCHED_NAME, b"").rstrip(b"\0").decode()
            ipv6 = seen.get(_SVC_FAMILY, b"")[:2] == struct.pack("=H", socket.AF_INET6)
            found.append(SeenService(_number(seen[_SVC_FWMARK]), scheduler, ipv6))
    return tuple(found)


def servers_of(answer: Answer) -> tuple[SeenServer, ...]:
    found = []
    for _, payload in answer:
        seen = _within(payload, _CMD_ATTR_DEST)
        if _DEST_ADDR in seen:
            stats = dict(attributes(seen.get(_DEST_STATS, b"")))
            ipv6 = seen.get(_DEST_FAMILY, b"")[:2] == struct.pack("=H", socket.AF_INET6)
            found.append(
                SeenServer(
                    socket.inet_ntop(socket.AF_INET6, seen[_DEST_ADDR][:16]) if ipv6 else socket.inet_ntop(socket.AF_INET, seen[_DEST_ADDR][:4]),
                    _number(seen.get(_DEST_WEIGHT, b"")),
                    _number(seen.get(_DEST_ACTIVE, b"")),
                    _number(seen.get(_DEST_INACTIVE, b"")),
                    _number(stats.get(_STATS_CONNS, b"")),
                )
            )
    return tuple(found)


def _service_key(mark: int, *, ipv6: bool = False) -> bytes:
    return u16(_SVC_FAMILY, socket.AF_INET6 if ipv6 else socket.AF_INET) + u32(_SVC_FWMARK, mark)


def _server_key(address: str) -> bytes:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return u16(_DEST_FAMILY, family) + attribute(_DEST_ADDR, address_bytes(address)) + u16_network(_DEST_PORT, 0)


def _message(family: int, command: int, flags: int, what: str, service: bytes = b"", server: bytes = b"") -> Message:
    body = struct.pack("=BBH", command, _IPVS_VERSION, 0)
    if service:
        body += attribute(_CMD_ATTR_SERVICE, service)
    if server:
        body += attribute(_CMD_ATTR_DEST, server)
    return Message(family, flags, body, what)


def _within(payload: bytes, wanted: int) -> dict[int, bytes]:
    for kind, value in attributes(payload, _GENL_HEADER_BYTES):
        if kind == wanted:
            return dict(attributes(value))
    return {}


def _number(value: bytes) -> int:
    return int.from_bytes(value[:4], "little" if struct.pack("=H", 1)[0] else "big")
