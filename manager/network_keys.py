"""The ring of keys that encrypts overlays between nodes: when it turns, and into what. Pure.

There is a ring as soon as there is an encrypted network. The manager that leads turns it every twelve hours: a new key in front, three are kept, so that
nodes have the newest before anybody sends with it (netfabric/encryption.py). Source: SwarmKit manager/keymanager.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Final

import msgspec

from cluster.model.changes import Change, updated
from cluster.model.objects import Cluster, Network, NetworkKey

RING: Final = 3  # keys
ROTATION_NS: Final = 12 * 3600 * 1_000_000_000
KEY_BYTES: Final = 16


def is_encrypted(network: Network) -> bool:
    """Whether the user asked for it: the option counts by its name, as in Docker."""
    return any(key == "encrypted" for key, _ in network.spec.driver_opts)


def turn(cluster: Cluster | None, networks: Iterable[Network], now_ns: int, entropy: Random) -> tuple[tuple[Change, ...], int | None]:
    """What to propose now, and when to ask again (Unix ns; None: when something changes). `entropy` must be the system's."""
    if cluster is None or not any(is_encrypted(network) for network in networks):
        return (), None
    newest = cluster.network_keys[0] if cluster.network_keys else None
    if newest is not None and now_ns < newest.created_at_ns + ROTATION_NS:
        return (), newest.created_at_ns + ROTATION_NS
    made = [NetworkKey(newest.tag + 1 if newest else 1, entropy.randbytes(KEY_BYTES), now_ns)]
    ring = (*made, *cluster.network_keys)[:RING]
    return (updated(msgspec.structs.replace(cluster, network_keys=ring)),), now_ns + ROTATION_NS
