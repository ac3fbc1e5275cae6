"""The one door to the C library: syscall(2) through cffi in ABI mode. Owns the call and the addresses handed to it;
decides nothing.

Built from cffi's backend directly: no C declarations are parsed, so pycparser is never loaded into the process that
forks (5 MB less, 30 ms less). Source: syscall(2), the documentation of cffi's ABI mode.
"""

from __future__ import annotations

import os
from functools import cache
from mmap import mmap

import _cffi_backend

from runtime.kernel.syscalls import Call

TYPE_CHECKING = False  # not from typing, which is a megabyte of the nursery (supervisor/nursery.py)
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

Operand = int | bytes | bytearray


class Libc:
    """`syscall` takes a number and exactly six integers and returns the result or -1; `errno` reads the error of
    the last call."""

    __slots__ = ("address_of", "errno", "syscall")

    def __init__(self, syscall: Callable[..., int], errno: Callable[[], int], address_of: Callable[[bytes | bytearray | mmap], int]) -> None:
        self.syscall, self.errno, self.address_of = syscall, errno, address_of


@cache
def libc() -> Libc:
    """The C library of this process, opened once."""
    long = _cffi_backend.new_primitive_type("long")
    signature = _cffi_backend.new_function_type((long,) * 7, long, False, _cffi_backend.FFI_DEFAULT_ABI)
    library: Any = _cffi_backend.load_library(None, 0)
    character = _cffi_backend.new_primitive_type("char")
    characters = _cffi_backend.new_array_type(_cffi_backend.new_pointer_type(character), None)

    def address_of(memory: bytes | bytearray | mmap) -> int:
        return int(_cffi_backend.cast(long, _cffi_backend.from_buffer(characters, memory)))

    return Libc(library.load_function(signature, "syscall"), _cffi_backend.get_errno, address_of)


def address_of(memory: bytes | bytearray | mmap) -> int:
    """The address of the object's bytes. The caller keeps the object alive and of the same size; bytes objects end
    with a NUL of their own."""
    return libc().address_of(memory)


def call(number: Call, *operands: Operand) -> int:
    """One system call; bytes and bytearrays are passed by address. Raises OSError (of the errno's subclass) that
    names call and operands."""
    door = libc()
    numbers = [operand if isinstance(operand, int) else door.address_of(operand) for operand in operands]
    numbers += [0] * (6 - len(numbers))
    result = door.syscall(number, *numbers)
    if result < 0:
        error = door.errno()
        raise OSError(error, f"{describe(number, operands)}: {os.strerror(error)}")
    return result


def describe(number: int, operands: tuple[object, ...]) -> str:
    """`openat2(3, "etc/hosts")`: the call as a person would write it. Buffers that are not text are shown as their
    length."""
    return f"{Call(number).name.lower()}({', '.join(_shown(operand) for operand in operands)})"


def _shown(operand: object) -> str:
    if isinstance(operand, bytes):
        text = operand.decode("utf-8", "replace")
        return f'"{text}"' if text.isprintable() and len(text) < 200 else f"<{len(operand)} bytes>"
    if isinstance(operand, bytearray):
        return f"<{len(operand)} bytes>"
    return str(operand)
