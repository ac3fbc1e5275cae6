"""The end of a rotation of the root, as soon as the last node uses its new certificate. Owns the waiting; manager/ca/rotation.py decides."""

from __future__ import annotations

import logging
from collections.abc import Callable
from random import Random

from cluster.model.changes import Kind, updated
from cluster.model.errors import OutOfSequence, Unavailable
from manager.ca import rotation
from manager.raft.driver import Driver
from manager.store import Store, WatchLagged

log = logging.getLogger("festoon.identity")


async def run(store: Store, driver: Driver, wall_ns: Callable[[], int], entropy: Random) -> None:
    """Look after every commit, for as long as this manager leads. `entropy` draws tokens: it must be the system's."""
    watch = store.watch()
    try:
        while True:
            await _end(store, driver, wall_ns, entropy)
            try:
                await watch.next()
            except WatchLagged:
                watch.close()
                watch = store.watch()
    finally:
        watch.close()


async def _end(store: Store, driver: Driver, wall_ns: Callable[[], int], entropy: Random) -> None:
    clusters = store.all(Kind.CLUSTER)
    after = rotation.ended(clusters[0], store.all(Kind.NODE), wall_ns(), entropy) if clusters else None
    if after is None:
        return
    try:
        await driver.propose((updated(after),))
    except (OutOfSequence, Unavailable) as error:
        log.info("the root is not exchanged yet", extra={"fields": {"error": error.message}})  # the commit that came between wakes us
        return
    log.warning("the root of this swarm is another one now; its join tokens, too")
