"""Compiled system call filters of bundles, kept beside the state folder: a caller asks for the same policy again and again. Owns those files.

A file holds what it was compiled from, whole, in front of the program: a policy, capabilities, machine or assembler that differs by one byte does not
match. Only files in a folder that nobody else may write are believed.
"""

from __future__ import annotations

import json
import os
import struct
import zlib

from runtime.oci.values import Json

FILTERS_MAX = 64
"""Files kept; beyond that all are compiled anew and the folder begins again."""
FILTER_MAX_BYTES = 4 * 1024 * 1024
_LENGTH = struct.Struct("=I")
_COMPILERS = ("bpf.py", "document.py", "numbers.py", "policy.py")


def key_of(seccomp: Json, held: frozenset[str], machine: str) -> bytes:
    """All that the program depends on, the assembler's own files by their time."""
    folder = os.path.join(os.path.dirname(os.path.dirname(__file__)), "seccomp")
    times = [os.stat(os.path.join(folder, name)).st_mtime_ns for name in _COMPILERS]
    return json.dumps([times, machine, sorted(held), seccomp]).encode()


def find(folder: str, key: bytes) -> bytes | None:
    """The program, if it was kept."""
    try:
        facts = os.stat(folder)
        if facts.st_uid != os.geteuid() or facts.st_mode & 0o077:
            return None
        with open(os.path.join(folder, _name(key)), "rb") as file:
            data = file.read(FILTER_MAX_BYTES)
    except (FileNotFoundError, PermissionError):
        return None
    if len(data) < _LENGTH.size or data[_LENGTH.size : _LENGTH.size + len(key)] != key or _LENGTH.unpack_from(data)[0] != len(key):
        return None
    program = data[_LENGTH.size + len(key) :]
    return program if program and len(program) % 8 == 0 else None


def keep(folder: str, key: bytes, program: bytes) -> None:
    """Whole at once; one that can't be kept is compiled again next time."""
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        names = os.listdir(folder)
        for name in names if len(names) >= FILTERS_MAX else ():
            os.unlink(os.path.join(folder, name))
        new = os.path.join(folder, f".{_name(key)}.{os.getpid()}")
        with open(new, "xb") as file:
            file.write(_LENGTH.pack(len(key)) + key + program)
        os.rename(new, os.path.join(folder, _name(key)))
    except OSError:
        return


def _name(key: bytes) -> str:
    return f"{zlib.crc32(key):08x}"
