"""`/volumes`: agent/volumes.py does it; this converts and filters."""

from __future__ import annotations

import os
from typing import Final

from agent.engine.answers import NO_CONTENT, json_answer
from agent.engine.call import Call, Filters, matches_labels, matches_pattern
from agent.engine.convert import mapping
from agent.engine.convert_volumes import volume_json
from agent.engine.services import version_of
from agent.events import pruned
from agent.volumes import DRIVER
from cluster.model.errors import InvalidArgument, NotFound, Unavailable
from cluster.wire.http import Response
from runtime.storage.volumes import Volume

FILTERS: Final = frozenset({"dangling", "driver", "label", "name"})
PRUNE_FILTERS: Final = frozenset({"all", "label", "label!"})
ANONYMOUS_ONLY: Final = (1, 42)
"""From this version on, prune spares volumes with names unless all=true is asked for."""


async def list_(call: Call) -> Response:
    filters = call.filters(FILTERS)
    call.truth(filters, "dangling")  # refused also where there is no volume
    volumes = call.node.volumes
    return json_answer({"Volumes": [volume_json(v, str(volumes.data(v.name))) for v in volumes.all() if _matches(call, v, filters)], "Warnings": None})


def _matches(call: Call, volume: Volume, filters: Filters) -> bool:
    dangling, names, drivers = call.truth(filters, "dangling"), filters.get("name", ()), filters.get("driver", ())
    return (
        (dangling is None or (not call.node.volumes.users_of(volume.name)) is dangling)
        and (not names or any(matches_pattern(volume.name, wanted) for wanted in names))
        and (not drivers or DRIVER in drivers)
        and matches_labels(mapping(volume.labels), filters.get("label", ()))
    )


async def inspect(call: Call) -> Response:
    volume = call.node.volumes.get(call.names["name"])
    return json_answer(volume_json(volume, str(call.node.volumes.data(volume.name))))


async def create(call: Call) -> Response:
    fields = await call.fields()
    if fields.has("ClusterVolumeSpec"):
        raise InvalidArgument("volumes of the cluster are not served: they need CSI drivers")
    volumes, name = call.node.volumes, fields.text("Name")
    volume = await volumes.create(
        name or os.urandom(32).hex(),
        driver=fields.text("Driver"),
        labels=fields.pairs("Labels"),
        options=fields.pairs("DriverOpts"),
        anonymous=not name,
    )
    return json_answer(volume_json(volume, str(volumes.data(volume.name))), 201)


async def remove(call: Call) -> Response:
    await call.node.volumes.remove(call.names["name"], force=call.flag("force"))
    return NO_CONTENT


async def prune(call: Call) -> Response:
    filters = call.filters(PRUNE_FILTERS)
    if "all" in filters and call.version < ANONYMOUS_ONLY:
        raise InvalidArgument("invalid filter 'all'")
    named_too = call.version < ANONYMOUS_ONLY or call.truth(filters, "all") is True

    def wanted(volume: Volume) -> bool:
        labels = mapping(volume.labels)
        spared = any(matches_labels(labels, (unwanted,)) for unwanted in filters.get("label!", ()))
        return (named_too or volume.anonymous) and matches_labels(labels, filters.get("label", ())) and not spared

    gone, reclaimed = await call.node.volumes.prune(wanted)
    call.node.events.publish(pruned("volume", reclaimed))
    return json_answer({"VolumesDeleted": list(gone) or None, "SpaceReclaimed": reclaimed})


async def update(call: Call) -> Response:
    """Only the cluster's own volumes (CSI) can be updated, of which there are none here: Docker's answers for every other one."""
    if not call.node.swarm.is_manager:
        raise Unavailable("volume update only valid for cluster volumes, but swarm is unavailable")
    version_of(call, "swarm object")
    raise NotFound(f"volume {call.names['name']} not found")
