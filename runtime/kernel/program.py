"""A list of operations made ready to run in a forked child: every string has an address, every argument is a
number. Owns the memory behind them.

Lowering is done before the fork; running allocates little and touches no other module, so the child copies few pages.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from runtime.kernel.libc import address_of
from runtime.kernel.operations import Filter, Operation, Pointers, Register
from runtime.kernel.running import Step, run

_ZEROS = [0] * 6
"""Every call gets six arguments."""
_ANYWHERE = 8
"""An address for as long as the right one is not known: the layout is the same for all but 0."""


class Program:
    """A lowered list. `run` may be called once per process that was forked from this one."""

    def __init__(self, operations: Sequence[Operation], base: int = 0) -> None:
        """`base`: where another process will put `memory`; 0: it is run here, and in what is forked from here."""
        lowering = _Lowering(operations, base or _ANYWHERE)
        self.memory = lowering.memory
        if not base:  # where it lies is known only now
            lowering = _Lowering(operations, address_of(self.memory))
            self.memory[:] = lowering.memory
        self.steps = lowering.steps
        self._registers = 1 + max((operation.into for operation in operations), default=-1)

    def __len__(self) -> int:
        return len(self.steps)

    def run(self, start: int, stop: int, registers: list[int]) -> tuple[int, int] | None:
        """See running.run. `registers` from `new_registers`."""
        return run(self.steps, start, stop, registers)

    def new_registers(self) -> list[int]:
        """Room for the results of one run."""
        return [-1] * self._registers


class _Lowering:
    """One pass over the list. One block for all strings and arrays, aligned to 8 bytes; equal ones share their place."""

    def __init__(self, operations: Sequence[Operation], base: int) -> None:
        self.memory = bytearray()
        self.steps: list[Step] = []
        self._base = base
        self._places: dict[bytes | Pointers | Filter, int] = {}
        find = self._places.get
        for call, arguments, _, into, tolerate, skip, expect in operations:
            numbers = _ZEROS.copy()
            references: tuple[tuple[int, int], ...] = ()
            for position, argument in enumerate(arguments):
                if isinstance(argument, int):
                    numbers[position] = argument
                elif isinstance(argument, Register):
                    references = (*references, (position, argument.number))
                else:
                    numbers[position] = find(argument) or self._place(argument)
            self.steps.append((int(call), numbers, references, into, tolerate, skip, expect))

    def _place(self, argument: bytes | Pointers | Filter) -> int:
        """Its address. What it points to comes before it."""
        if isinstance(argument, bytes):
            content = argument + b"\0"
        elif isinstance(argument, Pointers):
            targets = [self._places.get(text) or self._place(text) for text in argument.strings]
            content = struct.pack(f"={len(targets) + 1}Q", *targets, 0)
        else:
            target = self._places.get(argument.code) or self._place(argument.code)
            content = struct.pack("=H6xQ", len(argument.code) // 8, target)
        address = self._places[argument] = self._base + len(self.memory)
        self.memory += content
        self.memory += bytes(-len(content) % 8)
        return address
