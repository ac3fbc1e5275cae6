"""Whether what the kernel tells of is a deviation from what is wanted: pure.

Word of our own doing comes too, by the same way. It is told apart by its outcome: what the last word about a thing says is compared with what is wanted
of that thing, so that what we made as wanted is no deviation, whoever else saw it being made. Only what is missing or changed counts, not what others
have added (a container with the capability may have its own addresses). Of nftables the kernel says how many transactions there were: more than ours
means that there was somebody else's. Sources: rtnetlink(7), linux/netconf.h, linux/xfrm.h, linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from netfabric import encryption
from netfabric.firewall.rules import TABLE
from netfabric.indexes import LOOPBACK_INDEX, Indexes
from netfabric.links.bridge import IFLA_BRPORT_ISOLATED, IFLA_BRPORT_LEARNING, IFLA_BRPORT_MODE
from netfabric.links.neighbours import NDA_DST, NDA_LLADDR, NUD_PERMANENT, RTM_DELNEIGH, RTM_NEWNEIGH
from netfabric.links.seen import number
from netfabric.links.veth import mac_of
from netfabric.netlink import messages, xfrm
from netfabric.netlink.messages import NETLINK_NETFILTER, NETLINK_XFRM, attributes
from netfabric.state import Forwarding, Link, LinkKind, Namespace, Neighbour, State

RTM_NEWRULE, RTM_DELRULE = 32, 33
_NFT_SUBSYSTEM: Final = 10
_NFT_NEWGEN: Final = 15
_TABLES: Final = frozenset({TABLE, encryption.TABLE})
_NFT_TABLE: Final = 1
"""The attribute with the table's name, the same number in every message that speaks of one."""


_COMPARED: Final = frozenset({messages.IFLA_IFNAME, messages.IFLA_ADDRESS, messages.IFLA_MTU, messages.IFLA_MASTER})
_PORT: Final = frozenset({messages.IFLA_PROTINFO})
_COMPARED_OF_PORT: Final = frozenset({IFLA_BRPORT_LEARNING, IFLA_BRPORT_ISOLATED, IFLA_BRPORT_MODE})
_INDEX: Final = slice(4, 8)
"""Of the link, in a link's message."""


class Word(NamedTuple):
    """One message that the kernel sent to all who listen. `namespace` as in State."""

    namespace: str
    protocol: int
    kind: int
    payload: bytes


def deviating(desired: State, indexes: Indexes, words: Iterable[Word], own: Mapping[str, int] | None = None) -> frozenset[str]:
    """The namespaces that are no longer as wanted. `own`: how many nftables transactions of ours are among the words, by namespace; None when none of
    the words can be of our own doing."""
    last: dict[Hashable, tuple[str, bool]] = {}
    links: dict[tuple[str, bool, bytes], Word] = {}  # of a link it is dear to judge a word, and only its last one counts
    transactions: dict[str, int] = {}
    touched: dict[str, bool] = {}
    numbers: dict[str, dict[int, Link]] = {}
    found: set[str] = set()
    for word in words:
        wanted = desired.get(word.namespace)
        if wanted is None:
            continue
        if word.protocol == NETLINK_NETFILTER:
            if word.kind == _NFT_SUBSYSTEM << 8 | _NFT_NEWGEN:
                transactions[word.namespace] = transactions.get(word.namespace, 0) + touched.pop(word.namespace, False)
            elif word.kind >> 8 == _NFT_SUBSYSTEM and (wanted.tables or wanted.guard):
                touched[word.namespace] = touched.get(word.namespace, False) or _table(word.payload) in _TABLES
        elif word.protocol == NETLINK_XFRM:
            for key, wrong in _sealed(wanted, word):
                last[word.namespace, key] = word.namespace, wrong
        elif word.kind in (messages.RTM_NEWLINK, messages.RTM_DELLINK):
            links[word.namespace, word.payload[0] == socket.AF_BRIDGE, word.payload[_INDEX]] = word
        else:
            if word.namespace not in numbers:
                numbers[word.namespace] = _numbers(wanted, indexes, word.namespace)
            for key, wrong in _judged(wanted, numbers[word.namespace], word, ours=own is not None):
                last[word.namespace, key] = word.namespace, wrong
    for word in links.values():
        wanted = desired[word.namespace]
        if word.namespace not in numbers:
            numbers[word.namespace] = _numbers(wanted, indexes, word.namespace)
        if _link_is_wrong(numbers[word.namespace], word):
            found.add(word.namespace)
    found |= {namespace for namespace, count in transactions.items() if count > (own or {}).get(namespace, 0)}
    return frozenset(found | {namespace for namespace, wrong in last.values() if wrong})


def unfinished(words: Sequence[Word]) -> tuple[Word, ...]:
    """Those of nftables' transactions whose end the kernel has not said yet: it says that apart, and we may be woken in between."""
    ended: set[str] = set()
    found = []
    for word in reversed(words):
        if word.protocol == NETLINK_NETFILTER:
            if word.kind == _NFT_SUBSYSTEM << 8 | _NFT_NEWGEN:
                ended.add(word.namespace)
            elif word.namespace not in ended:
                found.append(word)
    return tuple(reversed(found))


def _table(payload: bytes) -> str:
    return dict(attributes(payload, 4)).get(_NFT_TABLE, b"").rstrip(b"\0").decode(errors="replace")


def _numbers(wanted: Namespace, indexes: Indexes, name: str) -> dict[int, Link]:
    known = indexes.all_of(name)
    return {LOOPBACK_INDEX if link.kind is LinkKind.LOOPBACK else known.get(link.name, 0): link for link in wanted.links}


def _link_is_wrong(links: Mapping[int, Link], word: Word) -> bool:
    (index,) = struct.unpack("=i", word.payload[_INDEX])
    gone = word.kind == messages.RTM_DELLINK
    link = links.get(index)
    if link is None:
        return False
    if word.payload[0] == socket.AF_BRIDGE:
        return bool(link.master) and (gone or not _port_as_wanted(link, word.payload))
    return gone or not _as_wanted(link, word.payload, links)


def _judged(wanted: Namespace, links: Mapping[int, Link], word: Word, *, ours: bool) -> Iterator[tuple[Hashable, bool]]:
    """(the thing that the word is about, whether it is not as wanted now)."""
    kind, payload = word.kind, word.payload
    if kind in (messages.RTM_NEWADDR, messages.RTM_DELADDR):
        _, prefix, _, _, index = struct.unpack_from("=BBBBi", payload)
        found = dict(attributes(payload, 8))
        address = _ip(found.get(messages.IFA_LOCAL) or found.get(messages.IFA_ADDRESS, b""))
        if index in links and any((a.link, a.cidr) == (links[index].name, f"{address}/{prefix}") for a in wanted.addresses):
            yield ("address", index, address), kind == messages.RTM_DELADDR
    elif kind in (messages.RTM_NEWROUTE, messages.RTM_DELROUTE):
        yield from _route(wanted, links, payload, gone=kind == messages.RTM_DELROUTE)
    elif kind in (RTM_NEWNEIGH, RTM_DELNEIGH):
        yield from _neighbour(wanted, links, payload, gone=kind == RTM_DELNEIGH)
    elif kind == RTM_DELRULE and wanted.returns and not ours:
        yield ("rule",), True
    elif kind == messages.RTM_NEWNETCONF:
        yield from _setting(wanted, links, payload)


def _setting(wanted: Namespace, links: Mapping[int, Link], payload: bytes) -> Iterator[tuple[Hashable, bool]]:
    found = dict(attributes(payload, 4))
    (index,) = struct.unpack("=i", found.get(messages.NETCONF_INDEX, b"\0\0\0\0"))
    if index == messages.ALL_LINKS and messages.NETCONF_FORWARDING in found:
        key = "net.ipv6.conf.all.forwarding" if payload[0] == socket.AF_INET6 else "net.ipv4.ip_forward"
        value = str(int.from_bytes(found[messages.NETCONF_FORWARDING], "little"))
        yield ("forwarding", payload[0]), any(s.key == key and s.value != value for s in wanted.sysctls)
    name = "all" if index == messages.ALL_LINKS else links[index].name if index in links else ""
    if name and payload[0] == socket.AF_INET and messages.NETCONF_RP_FILTER in found:
        value = str(int.from_bytes(found[messages.NETCONF_RP_FILTER], "little"))
        yield ("filter", index), any(s.key == f"net.ipv4.conf.{name}.rp_filter" and s.value != value for s in wanted.sysctls)


def _sealed(wanted: Namespace, word: Word) -> Iterator[tuple[Hashable, bool]]:
    """Of IPsec. Who flushes associations or policies takes ours along."""
    kind, payload = word.kind, word.payload
    if kind in (xfrm.FLUSHSA, xfrm.FLUSHPOLICY):
        yield ("flushed", kind), bool(wanted.associations if kind == xfrm.FLUSHSA else wanted.policies)
    elif kind == xfrm.DELSA:
        destination, spi = xfrm.association_gone(payload)
        if any((one.destination, one.spi) == (destination, spi) for one in wanted.associations):
            yield ("association", destination, spi), True
    elif kind in (xfrm.NEWSA, xfrm.UPDSA):
        for one in xfrm.associations_of(((kind, payload),)):
            yield ("association", one.destination, one.spi), any((a.destination, a.spi) == (one.destination, one.spi) and a != one for a in wanted.associations)
    elif kind in (xfrm.NEWPOLICY, xfrm.UPDPOLICY, xfrm.DELPOLICY):
        source, destination = xfrm.ends_of_policy(payload)
        if any((one.source, one.destination) == (source, destination) for one in wanted.policies):
            yield ("policy", source, destination), kind == xfrm.DELPOLICY or not wanted.policies.issuperset(xfrm.policies_of(((kind, payload),)))


def _as_wanted(link: Link, payload: bytes, links: Mapping[int, Link]) -> bool:
    """What netfabric/observe.py would compare; no more of the message is read than that."""
    _, _, _, flags, _ = struct.unpack_from("=BxHiII", payload)
    found = messages.chosen(payload, 16, _COMPARED)
    if (found[messages.IFLA_IFNAME].rstrip(b"\0").decode(), bool(flags & messages.IFF_UP)) != (link.name, link.up):
        return False
    if link.kind in (LinkKind.BRIDGE, LinkKind.PEER) and link.mac and messages.mac_text(found.get(messages.IFLA_ADDRESS, b"")) != link.mac:
        return False
    if link.kind in (LinkKind.VETH, LinkKind.VXLAN, LinkKind.PEER) and link.mtu and number(found.get(messages.IFLA_MTU, b"")) != link.mtu:
        return False
    master = number(found.get(messages.IFLA_MASTER, b""))
    return not link.master or (master in links and links[master].name == link.master)


def _port_as_wanted(link: Link, payload: bytes) -> bool:
    """A bridge's own word of its port: it says this also when the port's state changes by itself."""
    port = messages.chosen(messages.chosen(payload, 16, _PORT).get(messages.IFLA_PROTINFO, b""), 0, _COMPARED_OF_PORT)
    said = ((IFLA_BRPORT_LEARNING, link.learning), (IFLA_BRPORT_ISOLATED, link.isolated), (IFLA_BRPORT_MODE, link.hairpin))
    return all(port[number] == bytes([value]) for number, value in said if number in port)


def _route(wanted: Namespace, links: Mapping[int, Link], payload: bytes, *, gone: bool) -> Iterator[tuple[Hashable, bool]]:
    _, prefix, _, _, table, protocol, _, _, _ = struct.unpack_from("=BBBBBBBBI", payload)
    found = dict(attributes(payload, 12))
    index = int.from_bytes(found.get(messages.RTA_OIF, b""), "little")
    if protocol not in (messages.RTPROT_STATIC, messages.RTPROT_KERNEL) or index not in links:
        return
    if protocol == messages.RTPROT_KERNEL:
        network = f"{_ip(found.get(messages.RTA_DST, b''))}/{prefix}"
        if any(a.link == links[index].name and str(ipaddress.ip_interface(a.cidr).network) == network for a in wanted.addresses):
            yield ("connected", index, network), gone
        return
    gateway = _ip(found.get(messages.RTA_GATEWAY, b""))
    name = links[index].name
    if table == messages.RT_TABLE_MAIN:
        destination = f"{_ip(found.get(messages.RTA_DST, b''))}/{prefix}" if prefix else "default"
        if any((r.link, r.destination, r.gateway) == (name, destination, gateway) for r in wanted.routes):
            yield ("route", index, destination, gateway), gone
    elif any((r.link, r.gateway) == (name, gateway) for r in wanted.returns):
        yield ("return", index, gateway), gone


def _neighbour(wanted: Namespace, links: Mapping[int, Link], payload: bytes, *, gone: bool) -> Iterator[tuple[Hashable, bool]]:
    family, index, state, _, _ = struct.unpack_from("=BxxxiHBB", payload)
    link = links.get(index)
    if link is None or link.kind is not LinkKind.VXLAN:
        return
    found = dict(attributes(payload, 12))
    mac = messages.mac_text(found.get(NDA_LLADDR, b""))
    address = _ip(found.get(NDA_DST, b""))
    if family == socket.AF_BRIDGE:
        if Forwarding(link.name, mac, address) in wanted.forwarding:
            yield ("forwarding", index, mac, bool(address)), gone
        elif not gone and address and any((f.link, f.mac) == (link.name, mac) and f.vtep for f in wanted.forwarding):
            yield ("forwarding", index, mac, True), True
        return
    if not gone and state & NUD_PERMANENT and Neighbour(link.name, address, mac) in wanted.neighbours:
        yield ("neighbour", index, address), False
        return
    if not address or (":" not in address and Neighbour(link.name, address, mac_of(address)) not in wanted.neighbours):
        return  # one in a thousand that is gone because nobody wants it: its hardware address follows from its own
    for neighbour in wanted.neighbours:
        if neighbour.address == address and neighbour.link == link.name:
            yield ("neighbour", index, address), gone or not state & NUD_PERMANENT or mac != neighbour.mac


def _ip(value: bytes) -> str:
    return messages.address_text(value) if len(value) in (4, 16) else ""
