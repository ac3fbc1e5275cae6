"""What others may have changed without a word from the kernel: IPVS, and sysctls. Reads and compares; changes nothing.

IPVS's family has no multicast group, a write to a sysctl wakes nobody (inotify sees no change of /proc/sys), and of single settings RTNLGRP_*_NETCONF
tells only those of forwarding and rp_filter, which netfabric/deviation.py hears. So a service's servers are read again whenever they are about to change,
and all of it every AUDIT_S: one namespace after the other, a few reads each. What a container's own programs set in its namespace is theirs, but for what
the mesh needs of it. Sources: ip_vs_genl_family in linux/netfilter/ipvs/ip_vs_ctl.c, inet_netconf_notify_devconf in linux/net/ipv4/devinet.c.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Final

import trio

from netfabric.anatomy.sandbox import RETURNING
from netfabric.diff import Change, Drop, Operations, Put
from netfabric.handles import Handles
from netfabric.observe import seen_servers, seen_services, seen_sysctls
from netfabric.state import Namespace, RealServer, State, Sysctl

AUDIT_S: Final = 30.0
"""Between two looks at all that the kernel tells nobody of."""


async def audited(handles: Handles, applied: State, family: int) -> State:
    """What was applied, as it is now; the same object where nobody has changed it. `family`: 0 without IPVS. Raises OSError."""
    found = {}
    for name, namespace in applied.items():
        found[name] = await _audited(handles, name, namespace, family) if handles.there(name) else namespace
        await trio.lowlevel.checkpoint()
    return found if any(found[name] is not namespace for name, namespace in applied.items()) else applied


async def _audited(handles: Handles, name: str, namespace: Namespace, family: int) -> Namespace:
    watched = tuple(one for one in namespace.sysctls if not namespace.shared or _is_the_mesh_s(one))
    sysctls = seen_sysctls(handles.descriptor(name), watched)
    services, servers, timeouts = await seen_services(handles, name, namespace, family)
    if sysctls == watched and (set(services), servers, timeouts) == (set(namespace.services), namespace.servers, namespace.timeouts):
        return namespace
    others = tuple(one for one in namespace.sysctls if one not in watched)
    return dataclasses.replace(namespace, sysctls=(*others, *sysctls), services=services, servers=servers, timeouts=timeouts)


def _is_the_mesh_s(sysctl: Sysctl) -> bool:
    """Whether connections through the mesh depend on it."""
    return sysctl in RETURNING or sysctl.key.endswith(".rp_filter")


async def with_servers(handles: Handles, applied: State, operations: Operations, family: int) -> State:
    """What was applied, with the servers that IPVS has now of each service that gets or loses some by these operations. Raises OSError."""
    services: dict[str, set[tuple[int, bool]]] = {}
    for one in operations:
        if isinstance(one, Put | Change | Drop) and isinstance(one.item, RealServer):
            services.setdefault(one.namespace, set()).add((one.item.mark, ":" in one.item.address))
    changed = {}
    for name, some in services.items():
        if name in applied and handles.there(name):
            known = frozenset(one for one in applied[name].servers if (one.mark, ":" in one.address) in some)
            if (there := await _servers(handles, name, some, family)) != known:
                changed[name] = dataclasses.replace(applied[name], servers=applied[name].servers - known | there)
    return {**applied, **changed} if changed else applied


async def _servers(handles: Handles, name: str, services: Collection[tuple[int, bool]], family: int) -> frozenset[RealServer]:
    found: frozenset[RealServer] = frozenset()
    for mark, ipv6 in services:
        found |= await seen_servers(handles, name, mark, ipv6=ipv6, family=family)
    return found
