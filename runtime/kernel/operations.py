"""A kernel operation as a value: one system call of the list that a child runs between fork and exec. Pure; runs
nothing."""

from __future__ import annotations

from typing import NamedTuple

from runtime.kernel.libc import describe
from runtime.kernel.syscalls import Call


class Register(NamedTuple):
    """The result of an earlier operation, the one whose `into` is this number."""

    number: int


class Pointers(NamedTuple):
    """A NULL-terminated array of pointers to NUL-terminated strings: argv, envp."""

    strings: tuple[bytes, ...]


class Filter(NamedTuple):
    """A pointer to struct sock_fprog: a classic BPF program of 8-byte instructions."""

    code: bytes


Argument = int | bytes | Register | Pointers | Filter
"""bytes are passed by address, with a NUL after them."""


class Operation(NamedTuple):
    """`into`: the register that takes the result, -1 for none. `tolerate`: error numbers that are no failure; then
    the next `skip` operations are left out. `expect`: the only result that is no failure, -1 for any. `step` names
    the part of the start that failed, for the user's sentence."""

    call: Call
    arguments: tuple[Argument, ...]
    step: str
    into: int = -1
    tolerate: tuple[int, ...] = ()
    skip: int = 0
    expect: int = -1


class Script:
    """Builds a list of operations. `step` is written on each operation that is added while it is set."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.step = ""
        self._registers = 0

    def call(self, number: Call, *arguments: Argument, tolerate: tuple[int, ...] = (), skip: int = 0, expect: int = -1) -> None:
        """Appends a call whose result is not kept."""
        self.operations.append(Operation(number, arguments, self.step, -1, tolerate, skip, expect))

    def keep(self, number: Call, *arguments: Argument, tolerate: tuple[int, ...] = (), skip: int = 0) -> Register:
        """Appends a call and returns the register that will hold its result."""
        register = Register(self._registers)
        self._registers += 1
        self.operations.append(Operation(number, arguments, self.step, register.number, tolerate, skip))
        return register


def describe_operation(operation: Operation) -> str:
    """`fsmount(#3, 1)`: for messages; registers as #index, argument vectors as their length."""
    shown = tuple(_shown(argument) for argument in operation.arguments)
    return describe(operation.call, shown)


def _shown(argument: Argument) -> object:
    if isinstance(argument, Register):
        return f"#{argument.number}"
    if isinstance(argument, Pointers):
        return f"<{len(argument.strings)} strings>"
    if isinstance(argument, Filter):
        return f"<filter of {len(argument.code) // 8} instructions>"
    return argument
