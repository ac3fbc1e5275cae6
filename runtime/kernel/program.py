"""A list of operations made ready to run in a forked child: every string has an address, every argument is a
number. Owns the memory behind them.

Lowering is done before the fork; running allocates little and touches no other module, so the child copies few pages.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from runtime.kernel.libc import address_of
from runtime.kernel.operations import Argument, Filter, Operation, Pointers, Register
from runtime.kernel.running import Step, run


class Program:
    """A lowered list. `run` may be called once per process that was forked from this one."""

    def __init__(self, operations: Sequence[Operation], base: int = 0) -> None:
        """`base`: where another process will put `memory`; 0: it is run here, and in what is forked from here."""
        self.memory, places = _lay_out(operations)
        base = base or address_of(self.memory)
        for offset, target in places.filters:
            struct.pack_into("=Q", self.memory, offset + 8, base + target)
        for offset, targets in places.pointers:
            struct.pack_into(f"={len(targets) + 1}Q", self.memory, offset, *(base + target for target in targets), 0)
        self.steps = [_lower(operation, base, places.offsets) for operation in operations]
        self._registers = 1 + max((operation.into for operation in operations), default=-1)

    def __len__(self) -> int:
        return len(self.steps)

    def run(self, start: int, stop: int, registers: list[int]) -> tuple[int, int] | None:
        """See running.run. `registers` from `new_registers`."""
        return run(self.steps, start, stop, registers)

    def new_registers(self) -> list[int]:
        """Room for the results of one run."""
        return [-1] * self._registers


class _Places:
    def __init__(self) -> None:
        self.offsets: dict[bytes | Pointers | Filter, int] = {}
        self.filters: list[tuple[int, int]] = []
        self.pointers: list[tuple[int, list[int]]] = []


def _lay_out(operations: Sequence[Operation]) -> tuple[bytearray, _Places]:
    """One block for all strings, arrays first aligned to 8 bytes; equal strings share their place."""
    memory = bytearray()
    places = _Places()

    def place(text: bytes) -> int:
        offset = places.offsets.get(text)
        if offset is None:
            memory.extend(b"\0" * (-len(memory) % 8))
            offset = places.offsets[text] = len(memory)
            memory.extend(text)
            memory.append(0)
        return offset

    for operation in operations:
        for argument in operation.arguments:
            if isinstance(argument, bytes):
                place(argument)
            elif isinstance(argument, Pointers) and argument not in places.offsets:
                targets = [place(text) for text in argument.strings]
                memory.extend(b"\0" * (-len(memory) % 8))
                places.offsets[argument] = len(memory)
                places.pointers.append((len(memory), targets))
                memory.extend(b"\0" * (8 * (len(targets) + 1)))
            elif isinstance(argument, Filter) and argument not in places.offsets:
                target = place(argument.code)
                memory.extend(b"\0" * (-len(memory) % 8))
                places.offsets[argument] = len(memory)
                places.filters.append((len(memory), target))
                memory.extend(struct.pack("=H6xQ", len(argument.code) // 8, 0))
    return memory, places


def _lower(operation: Operation, base: int, offsets: dict[bytes | Pointers | Filter, int]) -> Step:
    arguments: list[int] = []
    references: list[tuple[int, int]] = []
    for position, argument in enumerate(operation.arguments):
        arguments.append(_number(argument, base, offsets))
        if isinstance(argument, Register):
            references.append((position, argument.number))
    arguments += [0] * (6 - len(arguments))
    return int(operation.call), arguments, tuple(references), operation.into, operation.tolerate, operation.skip, operation.expect


def _number(argument: Argument, base: int, offsets: dict[bytes | Pointers | Filter, int]) -> int:
    if isinstance(argument, int):
        return argument
    if isinstance(argument, Register):
        return 0
    return base + offsets[argument]
