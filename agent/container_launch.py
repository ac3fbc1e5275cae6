"""A container's record as the specification that the supervisor runs: its layers, users, namespaces, mounts and devices looked up. Changes no record."""

from __future__ import annotations

import os

import msgspec
import trio

from agent import container_checks, container_spec, layer_folders, log_attributes, machine, users
from agent.container_store import ContainerStore
from agent.container_wiring import Wiring
from agent.records import HostConfig, Record
from agent.user_namespaces import UserNamespaces
from agent.volumes import Volumes
from cluster.model.errors import ClusterError, Internal
from runtime.errors import RuntimeFault
from runtime.images.store import ImageStore
from runtime.spec import ContainerSpec, IdRange, Mount

replace = msgspec.structs.replace


class Launch:
    """No state of its own."""

    def __init__(self, store: ContainerStore, images: ImageStore, wiring: Wiring, volumes: Volumes, user_namespaces: UserNamespaces) -> None:
        self._store, self._images, self._wiring, self._volumes, self._user_namespaces = store, images, wiring, volumes, user_namespaces

    async def lower_dirs(self, record: Record) -> tuple[str, ...]:
        """The image's layers, top first. Raises NoSuchImage."""
        return await trio.to_thread.run_sync(self._images.lower_dirs, record.image_id)

    def ids(self, record: Record) -> IdRange | None:
        """Of its user namespace; None without."""
        return self._user_namespaces.ids(record.host)

    def namespaces(self, record: Record) -> container_spec.Namespaces:
        """Raises NotFound, Conflict or Internal for another container's that can't be joined."""
        host, wiring = record.host, self._wiring
        return container_spec.Namespaces(wiring.namespace(record), wiring.mode(host.pid_mode), wiring.ipc(host.ipc_mode), wiring.mode(host.uts_mode))

    async def compile(self, record: Record, lower: tuple[str, ...], namespaces: container_spec.Namespaces) -> ContainerSpec:
        """Raises InvalidArgument for a user that the image does not know, and what the volumes raise."""
        passwd, group = (users.read_from_layers((str(self._store.upper(record.id)), *lower), n) for n in ("passwd", "group"))
        user, home = users.resolve(record.config.user, passwd, group, record.host.group_add)
        container_checks.check_start(record.config, record.host)
        log_attributes.details_of(record)
        given = await self._volumes.runtime_mounts(record.mount_points)
        mounts = (*await trio.to_thread.run_sync(_with_folder_modes, given, lower), *self._dependency_mounts(record))
        return container_spec.compile_container(
            record, self._store.rootfs(record.id, lower, read_only=record.host.read_only), user, home, files=self._wiring.files(record),
            log_path=self._store.log_path(record.id), namespaces=namespaces, mounts=mounts, numbers=device_numbers(record.host),
            ids=self.ids(record),
        )  # fmt: skip

    def _dependency_mounts(self, record: Record) -> tuple[Mount, ...]:
        path = self._store.dependency_files.path
        return tuple(Mount("bind", target, path(record.id, name), read_only=True) for target, name in record.dependencies)

    async def introduction(self, record: Record) -> ContainerSpec:
        """Its specification as far as it can be known before the start, which says what is wrong with the rest."""
        lower = await self.lower_dirs(record)
        try:
            return await self.compile(record, lower, self.namespaces(record))
        except (ClusterError, RuntimeFault):
            host = HostConfig(log_driver=record.host.log_driver)
            plain = replace(record, config=replace(record.config, user=""), host=host, mount_points=(), dependencies=(), attachments=())
            return await self.compile(plain, lower, container_spec.Namespaces())


def _with_folder_modes(mounts: tuple[Mount, ...], lower: tuple[str, ...]) -> tuple[Mount, ...]:
    """A tmpfs without a mode of its own has that of the image's folder that it covers."""

    def with_mode(mount: Mount) -> Mount:
        covers = mount.kind == "tmpfs" and not any(name == "mode" for name, _ in mount.options)
        mode = layer_folders.mode_of(lower, mount.target) if covers else None
        return mount if mode is None else replace(mount, options=(*mount.options, ("mode", f"{mode:o}")))

    return tuple(with_mode(mount) for mount in mounts)


def device_numbers(host: HostConfig) -> dict[str, str]:
    """Of the block devices that its throttles name. Raises Internal in Docker's words for one that is not there."""
    for _, path, _ in host.throttles:
        if not os.path.exists(path):
            raise Internal(f"stat {path}: no such file or directory")
    return {path: number for _, path, _ in host.throttles if (number := machine.block_device_number(path))}
