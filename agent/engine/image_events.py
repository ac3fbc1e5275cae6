"""What `docker events` says of images: an image's actions, with its name and labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.events import Event

if TYPE_CHECKING:
    from agent.node import Node


def publish(node: Node, action: str, image_id: str, name: str) -> None:
    node.events.publish(Event("image", action, image_id, (("name", name),)))
