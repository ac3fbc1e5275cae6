"""The node's volumes as people and containers use them: the local driver's rules, who uses what, events.

Owns the refusals in Docker's words; the folders are runtime/storage/volumes.py's. A volume whose driver options name a
file system (`type=tmpfs`, a bind of a folder, nfs) is mounted on its folder while a container that uses it runs.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import trio

from agent import mount_points, propagation
from agent.events import Event, EventBus
from cluster.model.errors import Conflict, InvalidArgument, NotFound
from cluster.model.specs import Mount, Pairs
from runtime.spec import Mount as RuntimeMount
from runtime.storage import volume_mounts
from runtime.storage.volumes import MAX_NAME_BYTES, NAME, Volume, VolumeStore

DRIVER: Final = "local"
OPTIONS: Final = frozenset({"type", "o", "device", "size"})
CREATED: Final = ("create-mountpoint", "true")
UsersOf = Callable[[str], tuple[str, ...]]


class Volumes:
    """`users_of`: the ids of the containers that have a volume of this name mounted or will have; `in_use`: whether one of them runs or is
    started. State: the volumes that a container which is being made will use, which nobody may remove meanwhile.
    """

    def __init__(self, store: VolumeStore, events: EventBus) -> None:
        self._store, self._events = store, events
        self._promised: dict[str, int] = {}
        self.users_of: UsersOf = lambda _: ()
        self.in_use: Callable[[str], bool] = lambda _: False

    def all(self) -> tuple[Volume, ...]:
        return self._store.all()

    def get(self, name: str) -> Volume:
        """Raises NotFound in Docker's words."""
        volume = self._store.get(name)
        if volume is None:
            raise NotFound(f"get {name}: no such volume")
        return volume

    def data(self, name: str) -> Path:
        """The folder that containers see."""
        return self._store.data(name)

    async def create(self, name: str, *, driver: str = DRIVER, labels: Pairs = (), options: Pairs = (), anonymous: bool = False) -> Volume:
        """Make a volume, or find the one of that name. Raises InvalidArgument or NotFound in Docker's words, OSError."""
        check(name, driver, options)
        if (known := self._store.get(name)) is not None:
            return known
        wanted = Volume(name=name, created_at_ns=time.time_ns(), labels=labels, options=options, anonymous=anonymous)
        volume = await trio.to_thread.run_sync(self._store.create, wanted)
        self._publish("create", name)
        return volume

    async def remove(self, name: str, *, force: bool = False) -> None:
        """Raises NotFound (not with `force`), Conflict while containers use it."""
        if force and self._store.get(name) is None:
            return
        self.get(name)
        if users := self.users_of(name):
            raise Conflict(f"remove {name}: volume is in use - [{', '.join(users)}]")
        if name in self._promised:
            raise Conflict(f"remove {name}: volume is in use")
        await trio.to_thread.run_sync(volume_mounts.detach, self._store.data(name))
        await trio.to_thread.run_sync(self._store.remove, name)
        self._publish("destroy", name)

    async def prune(self, wanted: Callable[[Volume], bool]) -> tuple[tuple[str, ...], int]:
        """Remove the unused ones that are wanted; their names and bytes. One with driver options stays, as in Docker: what it holds may be elsewhere."""
        gone, reclaimed = [], 0
        for volume in self._store.all():
            if not wanted(volume) or volume.options or self.users_of(volume.name) or volume.name in self._promised:
                continue
            size = await trio.to_thread.run_sync(self._store.size_bytes, volume.name)
            try:
                await self.remove(volume.name)
            except (Conflict, NotFound):
                continue  # taken into use, or removed by somebody else, in between
            gone.append(volume.name)
            reclaimed += size
        return tuple(gone), reclaimed

    async def size_bytes(self, name: str) -> int:
        return await trio.to_thread.run_sync(self._store.size_bytes, name)

    # -- for containers -------------------------------------------------------------------------------------------

    async def provide(self, mounts: Iterable[Mount]) -> None:
        """Make the volumes of a container's mount points that are not there yet. They can't be removed until `settle`."""
        mounts = tuple(mounts)
        for name in mount_points.volume_names(mounts):
            self._promised[name] = self._promised.get(name, 0) + 1
        for mount in mounts:
            if mount.kind == "bind" and CREATED not in mount.options:
                await trio.to_thread.run_sync(_must_exist, mount.source)
            if mount.kind == "volume":
                options = dict(mount.options)
                labels = tuple((k.removeprefix("volume-label:"), v) for k, v in mount.options if k.startswith("volume-label:"))
                driver_options = tuple((k.removeprefix("volume-opt:"), v) for k, v in mount.options if k.startswith("volume-opt:"))
                driver, anonymous = options.get("volume-driver", DRIVER), mount_points.ANONYMOUS in mount.options
                await self.create(mount.source, driver=driver, labels=labels, options=driver_options, anonymous=anonymous)

    def settle(self, mounts: Iterable[Mount]) -> None:
        """The container of `provide` exists, or does not: its own record counts from here on."""
        for name in mount_points.volume_names(mounts):
            self._promised[name] = self._promised.get(name, 1) - 1
            if not self._promised[name]:
                del self._promised[name]

    async def discard(self, mounts: Iterable[Mount]) -> None:
        """Remove the volumes that were made for one container alone, unless another one has come to use them."""
        for name in mount_points.anonymous_names(mounts):
            try:
                await self.remove(name, force=True)
            except Conflict:
                continue

    async def runtime_mounts(self, mounts: Iterable[Mount]) -> tuple[RuntimeMount, ...]:
        """What the runtime mounts. Makes the folders of -v binds that are missing, as Docker does. Raises InvalidArgument,
        OSError."""
        mounts = tuple(mounts)
        await self.restore(mounts)
        return await trio.to_thread.run_sync(functools.partial(self._runtime_mounts, mounts))

    async def restore(self, mounts: Iterable[Mount]) -> None:
        """Volumes of a stopped container that have gone are made again, empty."""
        missing = tuple(m for m in mounts if m.kind == "volume" and self._store.get(m.source) is None)
        if missing:
            try:
                await self.provide(missing)
            finally:
                self.settle(missing)

    def _runtime_mounts(self, mounts: tuple[Mount, ...]) -> tuple[RuntimeMount, ...]:
        for mount in mounts:
            if mount.kind == "bind" and CREATED in mount.options and not os.path.lexists(mount.source):
                os.makedirs(mount.source, mode=0o755, exist_ok=True)
            if mount.kind == "bind" and (mode := dict(mount.options).get("propagation")):
                propagation.check(os.path.realpath(mount.source), mode, Path("/proc/self/mountinfo").read_text())
        return mount_points.runtime_mounts(mounts, self._volume_mount)

    def _volume_mount(self, mount: Mount) -> RuntimeMount:
        volume = self.get(mount.source)
        folder = self._store.data(volume.name)
        foreign = volume_mounts.file_system(dict(volume.options))
        if foreign is not None:
            volume_mounts.attach(folder, foreign)
        if subpath := dict(mount.options).get("volume-subpath"):
            folder = mount_points.inside(folder, subpath)
        return RuntimeMount("bind", mount.target, str(folder), mount.read_only, mount_points.propagation(mount), shifted=foreign is None)

    async def release(self, mounts: Iterable[Mount]) -> None:
        """The file systems of these volumes that no container uses any more are unmounted."""
        for name in mount_points.volume_names(mounts):
            volume = self._store.get(name)
            if volume is not None and volume_mounts.file_system(dict(volume.options)) is not None and not self.in_use(name):
                await trio.to_thread.run_sync(volume_mounts.detach, self._store.data(name))

    def publish_mounted(self, container_id: str, mounts: Iterable[Mount], *, mounted: bool) -> None:
        for mount in mounts:
            if mount.kind == "volume":
                how = (("destination", mount.target), ("propagation", ""), ("read/write", str(not mount.read_only).lower())) if mounted else ()
                self._publish("mount" if mounted else "unmount", mount.source, (("container", container_id), *how))

    def _publish(self, action: str, name: str, more: Pairs = ()) -> None:
        self._events.publish(Event("volume", action, name, (("driver", DRIVER), *more)))


def _must_exist(path: str) -> None:
    if not os.path.exists(path):
        raise InvalidArgument(f'invalid mount config for type "bind": bind source path does not exist: {path}')


def check(name: str, driver: str, options: Pairs) -> None:
    """Whether there can be such a volume. Pure. Raises InvalidArgument or NotFound in Docker's words."""
    if driver not in ("", DRIVER):
        raise NotFound(f'create {name}: error looking up volume plugin {driver}: plugin "{driver}" not found')
    if len(name) == 1:
        raise InvalidArgument(f"create {name}: volume name is too short, names should be at least two alphanumeric characters")
    if not NAME.fullmatch(name) or len(name) > MAX_NAME_BYTES:
        raise InvalidArgument(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. '
            "If you intended to pass a host directory, use absolute path"
        )
    given = dict(options)
    for option in given:
        if option not in OPTIONS:
            raise InvalidArgument(f'create {name}: invalid option: "{option}"')
    if "size" in given:
        raise InvalidArgument(f"create {name}: quota size requested but no quota support")
    if not given:
        return
    for needed in ("device", "type"):
        if needed not in given and (needed == "device" or "o" not in given):
            raise InvalidArgument(f'create {name}: missing required option: "{needed}"')
