"""The supervisor's memory on disk: one folder per container with its specification, its state and its execs. Owns
the files' shapes.

Every record appears whole under its name (write, rename) before what it describes may happen. What must survive the
machine and not only the process is synced first: specifications and ends. A running state need not be, no process
outlives the machine.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from typing import TypeVar

import msgspec

from runtime.spec import ContainerSpec, Exited

SPEC, STATE, EXEC_PREFIX = "spec", "state", "exec-"


class ProcessRecord(msgspec.Struct, frozen=True):
    """Names a process for as long as this boot lasts."""

    pid: int
    start_time: int
    boot_id: str


class StateRecord(msgspec.Struct, frozen=True):
    """`phase` as in states.Phase. `start_key`: of the start that led here."""

    phase: str
    process: ProcessRecord | None = None
    started_at_ns: int = 0
    start_key: str = ""
    exited: Exited | None = None
    group: str = ""


class ExecRecord(msgspec.Struct, frozen=True):
    process: ProcessRecord
    exited: Exited | None = None


Record = TypeVar("Record")


def write(folder: str, name: str, record: object, *, durable: bool = True) -> None:
    """Replaces the record at once and whole. Not `durable`: may be lost with the machine, not with the process.
    Raises OSError."""
    path = os.path.join(folder, name)
    descriptor = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, msgspec.msgpack.encode(record))
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.rename(f"{path}.new", path)


def write_if_possible(folder: str, name: str, record: object, *, durable: bool = True) -> None:
    """As `write`, for what has happened already: a full or failing disk, or a folder that is gone, must not cost
    the other containers their supervisor. What is not written is said in the supervisor's log."""
    try:
        write(folder, name, record, durable=durable)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ENOENT):
            raise
        os.write(2, f"not saved: {name} of {folder}: {error.strerror}\n".encode())


def read(folder: str, name: str, kind: type[Record]) -> Record | None:
    """None when there is none, or one that no version of ours wrote."""
    try:
        with open(os.path.join(folder, name), "rb") as file:
            return msgspec.msgpack.decode(file.read(), type=kind)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def create(folder: str, spec: ContainerSpec) -> None:
    """A new container's folder; it exists only with its specification in it. Raises OSError."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    write(folder, STATE, StateRecord("created"), durable=False)
    write(folder, SPEC, spec)


def containers(state_folder: str) -> Iterator[tuple[str, ContainerSpec, StateRecord]]:
    """(folder, specification, state) of every container; folders without a specification were never created, or are
    half removed."""
    for entry in sorted(os.scandir(state_folder), key=lambda entry: entry.name):
        if not entry.is_dir(follow_symlinks=False):
            continue
        spec = read(entry.path, SPEC, ContainerSpec)
        if spec is not None and spec.id == entry.name:
            yield entry.path, spec, read(entry.path, STATE, StateRecord) or StateRecord("created")


def execs(folder: str) -> Iterator[tuple[str, ExecRecord]]:
    """(exec id, record)."""
    for name in sorted(os.listdir(folder)):
        if name.startswith(EXEC_PREFIX) and not name.endswith(".new"):
            record = read(folder, name, ExecRecord)
            if record is not None:
                yield name.removeprefix(EXEC_PREFIX), record


def forget_exec(folder: str, exec_id: str) -> None:
    """Removes a finished exec's record."""
    try:
        os.unlink(os.path.join(folder, EXEC_PREFIX + exec_id))
    except FileNotFoundError:
        return


def remove(folder: str) -> None:
    """The specification first: what is interrupted here is no container any more."""
    try:
        os.unlink(os.path.join(folder, SPEC))
    except FileNotFoundError:
        pass
    if os.path.isdir(folder):
        shutil.rmtree(folder)
