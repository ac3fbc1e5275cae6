"""The state folders below --root: one per container, with what each later command has to know. Owns state.json and the folder's FIFOs.

`<root>/<id>/`: state.json (written whole, then renamed), config.json (the bundle's, as it was at create), exec.fifo (there until `start`),
report.fifo (how the exec went). A process is believed only with its start time and in the same boot.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
from typing import NamedTuple

from runtime.cgroups import freezer
from runtime.cgroups.groups import Groups
from runtime.child.faults import Refused
from runtime.errors import NoSuchContainer, RuntimeFault
from runtime.kernel.processes import boot_id, start_time
from runtime.oci.bundle import VERSION

ID_MAX_BYTES = 1024
GATE = "exec.fifo"
REPORT = "report.fifo"
CONFIG = "config.json"
STATE = "state.json"
_ID = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")


class Saved(NamedTuple):
    """state.json. `pid` 0 while the container is being made; `shared_pids`: without a pid namespace of its own."""

    id: str
    pid: int
    start_time: int
    boot: str
    bundle: str
    root: str
    created: str
    owner: int
    annotations: dict[str, str]
    groups: Groups
    shared_pids: bool


def check_id(container_id: str) -> None:
    """Raises Refused."""
    if not container_id or len(container_id) > ID_MAX_BYTES or set(container_id) - _ID or container_id in (".", ".."):
        raise Refused(f"invalid container ID format: {container_id!r}")


def filters_of(root: str) -> str:
    """Where compiled filters are kept: beside the state folder, which holds containers only."""
    return root.rstrip("/") + ".filters"


def folder_of(root: str, container_id: str) -> str:
    check_id(container_id)
    return os.path.join(root, container_id)


def make(root: str, container_id: str) -> str:
    """The container's new folder. Raises RuntimeFault when the id is taken."""
    folder = folder_of(root, container_id)
    os.makedirs(root, mode=0o700, exist_ok=True)
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError as error:
        raise RuntimeFault(f"container with id exists: {container_id}") from error
    return folder


def lock(folder: str) -> int:
    """Held until the descriptor is closed, so that two commands on one container go one after the other. Raises NoSuchContainer."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise _missing(folder) from error
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def write(folder: str, saved: Saved) -> None:
    data = json.dumps({**saved._asdict(), "groups": saved.groups._asdict()}).encode()
    _write_whole(os.path.join(folder, STATE), data)


def _write_whole(path: str, data: bytes) -> None:
    descriptor = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)
    os.rename(path + ".new", path)


def read(root: str, container_id: str) -> Saved:
    """Raises NoSuchContainer."""
    folder = folder_of(root, container_id)
    try:
        with open(os.path.join(folder, STATE), "rb") as file:
            found = json.loads(file.read())
    except FileNotFoundError as error:
        raise _missing(folder) from error
    groups = found.pop("groups")
    pairs = tuple((controller, path) for controller, path in groups["by_controller"])
    return Saved(groups=Groups(tuple(groups["folders"]), pairs, groups["unified"]), **found)


def read_config(folder: str) -> dict[str, object]:
    """The bundle's configuration as it was at create. Raises NoSuchContainer."""
    try:
        with open(os.path.join(folder, CONFIG), "rb") as file:
            found: dict[str, object] = json.loads(file.read())
    except FileNotFoundError as error:
        raise _missing(folder) from error
    return found


def _missing(folder: str) -> NoSuchContainer:
    return NoSuchContainer(f"container {os.path.basename(folder)!r} does not exist".replace("'", '"'))


def alive(saved: Saved) -> bool:
    """Its first process is there, the same one, and no zombie."""
    if saved.pid <= 0 or saved.boot != boot_id() or start_time(saved.pid) != saved.start_time:
        return False
    try:
        with open(f"/proc/{saved.pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def status(root: str, saved: Saved) -> str:
    """creating, created, running, paused or stopped."""
    if saved.pid == 0:
        return "creating"
    if not alive(saved):
        return "stopped"
    if stat_fifo(os.path.join(root, saved.id, GATE)):
        return "created"
    return "paused" if freezer.is_frozen(saved.groups) else "running"


def stat_fifo(path: str) -> bool:
    try:
        return stat.S_ISFIFO(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def shown(saved: Saved, current: str) -> dict[str, object]:
    """The specification's state object; also what hooks read."""
    return {
        "ociVersion": VERSION,
        "id": saved.id,
        "status": current,
        "pid": saved.pid if current != "stopped" else 0,
        "bundle": saved.bundle,
        "annotations": saved.annotations,
    }


def encode(saved: Saved, current: str) -> bytes:
    return json.dumps(shown(saved, current)).encode()


def remove(folder: str) -> None:
    """The folder holds only files of this module."""
    for name in os.listdir(folder):
        os.unlink(os.path.join(folder, name))
    os.rmdir(folder)
