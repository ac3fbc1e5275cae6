"""The node's events -> the API's JSON, and their filters. Pure."""

from __future__ import annotations

from agent.engine.convert import SECOND_NS, Json, mapping
from agent.events import Event


def event_json(event: Event) -> Json:
    out: Json = {}
    if event.type in ("container", "image"):  # the names of API 1.21 that some clients still read
        out = {"status": event.action, "id": event.actor_id}
        if image := mapping(event.attributes).get("image"):
            out["from"] = image
    return out | {
        "Type": event.type,
        "Action": event.action,
        "Actor": {"ID": event.actor_id, "Attributes": mapping(event.attributes)},
        "scope": event.scope,
        "time": event.time_ns // SECOND_NS,
        "timeNano": event.time_ns,
    }
