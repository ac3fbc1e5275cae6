"""Reading and writing the control files of a cgroup. Owns no group. Source: the kernel's cgroup documentation."""

from __future__ import annotations

import os

READ_BYTES = 64 * 1024


def write(path: str, *texts: str) -> None:
    """One write(2) for each, as the kernel wants it. Raises OSError with the path."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        for text in texts:
            try:
                os.write(descriptor, text.encode())
            except OSError as error:
                raise OSError(error.errno, f'write of "{text}": {error.strerror}', path) from None
    finally:
        os.close(descriptor)


def read(path: str) -> str:
    """The whole (first 64 KiB of the) file, stripped."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, READ_BYTES).decode().strip()
    finally:
        os.close(descriptor)


def read_all(path: str) -> str:
    """The whole file, however long (cgroup.procs of many processes)."""
    with open(path, encoding="ascii") as file:
        return file.read()


def counter(path: str, name: str) -> int:
    """The number after `name` in a file of "name number" lines; 0 when there is no such line or file."""
    try:
        lines = read(path).splitlines()
    except FileNotFoundError:
        return 0
    for line in lines:
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0
