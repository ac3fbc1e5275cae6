"""Sysctls of the namespace that the thread is in. Source: proc(5): /proc/sys/net shows the reader's own network
namespace.
"""

from __future__ import annotations

import os


def path_of(key: str) -> str:
    return "/proc/sys/" + key.replace(".", "/")


def read(key: str) -> str:
    """The value of "net.ipv4.ip_forward", as the kernel prints it. Raises OSError."""
    with open(path_of(key), encoding="ascii") as file:
        return file.read().strip()


def write(key: str, value: str) -> None:
    """Raises OSError."""
    descriptor = os.open(path_of(key), os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, value.encode("ascii"))
    finally:
        os.close(descriptor)
