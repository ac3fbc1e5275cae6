"""Archives for the kernel's initial file system, in the `newc` format of cpio.

Pure. Source: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst. The kernel unpacks several archives
that follow each other, later files over earlier ones.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping

_TRAILER = "TRAILER!!!"


def archive(files: Mapping[str, bytes], *, folders: tuple[str, ...] = (), programs: frozenset[str] = frozenset()) -> bytes:
    """`files` by path without a leading slash, mode 0644, those in `programs` 0755; their folders are made too."""
    needed = {parent for path in (*files, *folders) for parent in _parents(path)} | set(folders)
    parts = [_entry(path, b"", stat.S_IFDIR | 0o755) for path in sorted(needed)]
    parts += [_entry(path, data, stat.S_IFREG | (0o755 if path in programs else 0o644)) for path, data in files.items()]
    parts.append(_entry(_TRAILER, b"", 0))
    joined = b"".join(parts)
    return joined + bytes(-len(joined) % 512)


def _parents(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]


def _entry(path: str, data: bytes, mode: int) -> bytes:
    name = path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(mode) else 1
    fields = (0, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(name), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    return header + bytes(-len(header) % 4) + data + bytes(-len(data) % 4)
