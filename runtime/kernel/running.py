"""Lowered operations run in the process that they are for. Owns nothing; imports next to nothing, because every birth copies what the
nursery has (see supervisor/nursery.py)."""

from __future__ import annotations

from runtime.kernel.libc import libc

Step = tuple[int, list[int], tuple[tuple[int, int], ...], int, tuple[int, ...], int, int]
"""Call, six arguments, (position of an argument, register whose value it is), the result's register, and of operations.Operation
`tolerate`, `skip` and `expect`."""

UNEXPECTED = 71
"""EPROTO: reported for a call that succeeded with another result than the expected one."""


def run(steps: list[Step], start: int, stop: int, registers: list[int]) -> tuple[int, int] | None:
    """Runs operations [start, stop). None when all were run, else (index, errno) of the one that failed. Leaves what they did in
    `registers`."""
    door = libc()
    syscall, errno = door.syscall, door.errno
    index = start
    while index < stop:
        number, arguments, references, into, tolerate, skip, expect = steps[index]
        for position, register in references:
            arguments[position] = registers[register]
        result = syscall(number, *arguments)
        if result < 0:
            error = errno()
            if error not in tolerate:
                return index, error
            index += 1 + skip
            continue
        if result != expect != -1:
            return index, UNEXPECTED
        if into >= 0:
            registers[into] = result
        index += 1
    return None
