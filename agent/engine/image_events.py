"""What `docker events` says of images: an image's actions, with its labels and a name, which is that of a tag or else the id."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.events import Event

if TYPE_CHECKING:
    from agent.node import Node
    from runtime.images.config import Image


def publish(node: Node, action: str, image: Image, name: str = "") -> None:
    node.events.publish(Event("image", action, image.id, (*image.config.labels, ("name", name or image.id))))
