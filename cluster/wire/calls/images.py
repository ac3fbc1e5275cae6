"""An image that one node has and another one needs (ARCHITECTURE.md, "An image that one node has")."""

from __future__ import annotations

from cluster.wire.calls.body import Body


class FindImage(Body, frozen=True):
    """An image that a task of the calling node needs, by the reference in the task's specification."""

    reference: str


class FoundImage(Body, frozen=True):
    """`image_id`: its identity, the digest of its configuration (`config_bytes` long), which names its layers by their content; `layers`: (digest, bytes) of
    the layers' files as they are kept where it was found, lowest first."""

    node_id: str
    image_id: str
    config_bytes: int
    layers: tuple[tuple[str, int], ...]


class ReadImage(Body, frozen=True):
    """Of the image that was found there the file of this digest, from byte `start` on."""

    reference: str
    node_id: str
    image_id: str
    digest: str
    start: int = 0
