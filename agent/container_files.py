"""The files of a container, whatever it does: looked at, copied out and in, compared with its image, exported.

Brings a record to the storage worker's Tree: a running container's own root or a stopped one's overlay, with its volumes and its files in /etc.
Owns nothing; raises Docker's words.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterator
from contextlib import asynccontextmanager

import trio

from agent import layer_folders, mount_points
from agent.container_store import ContainerStore
from agent.records import Record
from agent.volumes import Volumes
from cluster.model.errors import ClusterError, Conflict, Internal, InvalidArgument, NotFound, PermissionDenied
from cluster.model.specs import Mount
from runtime.errors import TreeFault, UnpackFailed
from runtime.images import tar_writer
from runtime.images.store import ImageStore
from runtime.storage import archives, changes
from runtime.storage.requests import Bind, PathStat, Tree

RUNNING = frozenset({"running", "paused"})


class ContainerFiles:
    def __init__(self, store: ContainerStore, images: ImageStore, volumes: Volumes) -> None:
        self._store, self._images, self._volumes = store, images, volumes

    async def stat(self, record: Record, path: str, reference: str) -> PathStat:
        """Raises NotFound `Could not find the file PATH in container REFERENCE`."""
        async with self._tree(record) as tree:
            with translated(path, reference):
                return await archives.stat(tree, path)

    async def packed(self, record: Record, path: str, reference: str) -> tuple[PathStat, AsyncGenerator[bytes, None]]:
        """What stands there and its tar, which the caller iterates or closes."""
        found: list[PathStat | None] = []
        pieces = self._pieces(record, path, reference, found)
        await anext(pieces)
        described = found[0]
        assert described is not None
        return described, pieces

    async def _pieces(self, record: Record, path: str, reference: str, found: list[PathStat | None]) -> AsyncGenerator[bytes, None]:
        async with self._tree(record) as tree:
            with translated(path, reference):
                async with archives.packed(tree, path) as (described, pieces):
                    found.append(described)
                    yield b""
                    async for piece in pieces:
                        yield piece

    async def export(self, record: Record) -> AsyncGenerator[bytes, None]:
        """The container's own tree, without what is mounted in it; running or not. Begins with an empty piece once it
        is sure to come.
        """
        lower = await trio.to_thread.run_sync(self._images.lower_dirs, record.image_id)
        with translated("/", record.name):
            async with archives.packed(self._still(record, lower), "") as (_, pieces):
                yield b""
                async for piece in pieces:
                    yield piece

    async def extract(
        self, record: Record, path: str, reference: str, pieces: AsyncIterable[bytes], *, keep_kinds: bool, owner: tuple[int, int] | None
    ) -> None:
        """Raises NotFound, PermissionDenied for what is read-only, InvalidArgument for a bad archive."""
        async with self._tree(record, writing=True) as tree:
            with translated(path, reference):
                await archives.extract(tree, path, pieces, keep_kinds=keep_kinds, owner=owner)

    async def populate(self, record: Record) -> None:
        """Fill the container's empty volumes with what its image has there; `nocopy` leaves one empty."""
        wanted = [(m, place) for m in record.mount_points if m.kind == "volume" and "volume-nocopy" not in dict(m.options) if (place := self._place(m))]
        if not wanted:
            return
        lower = await trio.to_thread.run_sync(self._images.lower_dirs, record.image_id)
        for mount, place in wanted:
            if self._volumes.get(mount.source).options or not changes.may_have(self._store.with_init(lower), mount.target):
                continue
            with translated(mount.target, record.name):
                await archives.populate(self._still(record, lower), mount.target, place)

    def _place(self, mount: Mount) -> str:
        """The folder of a volume that is mounted there; empty where it is none, which is told when the container starts."""
        folder, subpath = self._volumes.data(mount.source), dict(mount.options).get("volume-subpath")
        if not subpath:
            return str(folder)
        try:
            place = mount_points.inside(folder, subpath)
        except InvalidArgument:
            return ""
        return str(place) if place.is_dir() else ""

    async def make_working_folder(self, record: Record) -> None:
        """What is missing of it, below its volumes: with Docker it is there before the first start."""
        lower = await trio.to_thread.run_sync(self._images.lower_dirs, record.image_id)
        there, missing = layer_folders.to_be_made(lower, record.config.working_dir)
        if not missing:
            return

        async def pieces() -> AsyncGenerator[bytes, None]:
            for count in range(1, len(missing) + 1):
                yield tar_writer.plain("/".join(missing[:count]), 0, folder=True, mtime_s=int(time.time()))
            yield tar_writer.END

        with translated(there, record.name), self._store.scratch(record.id) as work:
            tree = Tree(
                lower=self._store.with_init(lower), upper=str(self._store.upper(record.id)), work=work, mount_point=str(self._store.mount_point)
            )
            await archives.extract(tree, there, pieces())

    async def changes(self, record: Record) -> tuple[changes.Change, ...]:
        """What the container changed of its image's files."""
        lower = await trio.to_thread.run_sync(self._images.lower_dirs, record.image_id)
        return await trio.to_thread.run_sync(changes.changes, str(self._store.upper(record.id)), self._store.with_init(lower))

    async def size_bytes(self, record: Record) -> int:
        return await trio.to_thread.run_sync(self._store.size_bytes, record.id)

    def upper(self, record: Record) -> str:
        return str(self._store.upper(record.id))

    def _still(self, record: Record, lower: tuple[str, ...]) -> Tree:
        """The container's own layer and its image's, for reading only: nothing of a running overlay is touched."""
        return Tree(lower=(str(self._store.upper(record.id)), *self._store.with_init(lower)), mount_point=str(self._store.mount_point))

    def _own_files(self, record: Record) -> tuple[Bind, ...]:
        """What is bound into /etc, once the container has been started."""
        files = self._store.files(record.id)
        return tuple(Bind(str(files / name), f"/etc/{name}", record.host.read_only) for name in ("hostname", "hosts", "resolv.conf") if (files / name).exists())

    @asynccontextmanager
    async def _tree(self, record: Record, *, writing: bool = False) -> AsyncIterator[Tree]:
        try:
            mounts = [m for m in await self._volumes.runtime_mounts(record.mount_points) if m.kind == "bind"]
            volumes = tuple(Bind(m.source, m.target, m.read_only) for m in mounts)
            binds = volumes + self._own_files(record)
            if record.state.status in RUNNING:
                yield Tree(
                    pid=record.state.pid, container_id=record.id, binds=binds, mount_point=str(self._store.mount_point), read_only=record.host.read_only
                )
                return
            lower = await trio.to_thread.run_sync(self._images.lower_dirs, record.image_id)
            if not volumes and not writing:
                yield self._still(record, lower)._replace(binds=binds)
                return
            with self._store.scratch(record.id) as work:
                yield Tree(
                    lower=self._store.with_init(lower), upper=str(self._store.upper(record.id)), work=work, binds=binds,
                    mount_point=str(self._store.mount_point), read_only=record.host.read_only,
                )  # fmt: skip
        finally:
            with trio.CancelScope(shield=True):
                await self._volumes.release(record.mount_points)


@contextlib.contextmanager
def translated(path: str, reference: str) -> Iterator[None]:
    """The worker's refusals in Docker's words."""
    try:
        yield
    except TreeFault as fault:
        raise _error(fault, path, reference) from fault


def _error(fault: TreeFault, path: str, reference: str) -> ClusterError:
    match fault.kind:
        case "not-found":
            return NotFound(f"Could not find the file {path} in container {reference}")
        case "not-a-folder":
            return InvalidArgument(f"not a directory: {path}")
        case "no-place":
            return InvalidArgument(str(fault))
        case "read-only":
            return PermissionDenied(str(fault))
        case "stopped":
            return Conflict(f"Container {reference} has just stopped: try again")
        case "bad":
            return InvalidArgument(str(UnpackFailed(str(fault))))
        case _:
            return Internal(str(fault))
