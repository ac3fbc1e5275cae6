"""An assembler from policies to classic BPF, the language of seccomp filters. Pure: the same policy gives the same bytes.

The filter picks the architecture, then finds the call's number by binary search among ranges that share a verdict, so that a call costs about ten
instructions. Source: Documentation/userspace-api/seccomp_filter.rst, include/uapi/linux/{filter,bpf_common}.h.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from runtime.child.faults import Refused
from runtime.seccomp.numbers import Architecture
from runtime.seccomp.policy import KILL_PROCESS, WHOLE, Compare, Condition, Policy

INSTRUCTIONS_MAX = 4096  # BPF_MAXINSNS
INSTRUCTION = struct.Struct("=HBBI")
"""struct sock_filter: code, jump if true, jump if false, k."""

LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
JUMP = 0x05  # BPF_JMP | BPF_JA
JUMP_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
JUMP_GREATER = 0x25  # BPF_JMP | BPF_JGT | BPF_K
JUMP_GREATER_OR_EQUAL = 0x35  # BPF_JMP | BPF_JGE | BPF_K
RETURN = 0x06  # BPF_RET | BPF_K

NUMBER_OFFSET, ARCHITECTURE_OFFSET, ARGUMENTS_OFFSET = 0, 4, 16
"""In struct seccomp_data."""
JUMP_MAX = 255
_LOW = 0xFFFF_FFFF

Verdict = tuple[tuple[tuple[Condition, ...], int], ...]
"""Pairs of conditions and action, tried in order; the last one has no conditions."""


class Instruction(NamedTuple):
    code: int
    k: int = 0
    true: int = 0
    false: int = 0


Code = list[Instruction]


def assemble(policy: Policy) -> bytes:
    """The filter as the kernel takes it. Raises Refused when the policy is too large for the kernel."""
    code: Code = [Instruction(LOAD, ARCHITECTURE_OFFSET)]
    for architecture in policy.architectures:
        section = _section(policy, architecture)
        code += [Instruction(JUMP_EQUAL, architecture.value, 1, 0), Instruction(JUMP, len(section)), *section]
    code.append(Instruction(RETURN, KILL_PROCESS))
    if len(code) > INSTRUCTIONS_MAX:
        raise Refused(f"the seccomp profile needs {len(code)} instructions, the kernel takes {INSTRUCTIONS_MAX}")
    return b"".join(INSTRUCTION.pack(code, true, false, k) for code, k, true, false in code)


def verdicts(policy: Policy, architecture: Architecture) -> dict[int, Verdict]:
    """What each number that a rule names comes to."""
    table = architecture.table
    found: dict[int, list[tuple[tuple[Condition, ...], int]]] = {}
    for rule in policy.rules:
        for name in rule.names:
            number = table.get(name)
            if number is not None:
                found.setdefault(number, []).append((rule.conditions, rule.action))
    return {number: _ordered(pairs, policy.default) for number, pairs in found.items()}


def _ordered(pairs: list[tuple[tuple[Condition, ...], int]], default: int) -> Verdict:
    plain = next((pair for pair in pairs if not pair[0]), None)
    return (plain,) if plain is not None else (*pairs, ((), default))


def _section(policy: Policy, architecture: Architecture) -> Code:
    found = verdicts(policy, architecture)
    otherwise: Verdict = (((), policy.default),)
    ranges: list[tuple[int, Verdict]] = [(0, otherwise)]
    for number in sorted(found):
        for start, verdict in ((number, found[number]), (number + 1, otherwise)):
            if ranges[-1][0] == start:
                ranges.pop()
            if not ranges or ranges[-1][1] != verdict:
                ranges.append((start, verdict))
    ranges = [pair for pair in ranges if pair[0] <= max(found, default=0)]
    ranges.append((max(found, default=-1) + 1, (((), policy.unknown),)))
    return [Instruction(LOAD, NUMBER_OFFSET), *_search(ranges)]


def _search(ranges: list[tuple[int, Verdict]]) -> Code:
    """A balanced tree over the ranges' starts; the lower half follows the comparison, the upper half comes after it."""
    if len(ranges) == 1:
        return _decide(ranges[0][1])
    middle = len(ranges) // 2
    lower, upper = _search(ranges[:middle]), _search(ranges[middle:])
    start = ranges[middle][0]
    if len(lower) <= JUMP_MAX:
        return [Instruction(JUMP_GREATER_OR_EQUAL, start, len(lower), 0), *lower, *upper]
    return [Instruction(JUMP_GREATER_OR_EQUAL, start, 0, 1), Instruction(JUMP, len(lower)), *lower, *upper]


def _decide(verdict: Verdict) -> Code:
    code: Code = []
    for conditions, action in verdict:
        block: Code = [Instruction(RETURN, action)]
        for condition in reversed(conditions):
            block = [*_compare(condition, len(block)), *block]
        code += block
    return code


def _compare(condition: Condition, rest: int) -> Code:
    """Falls through when the condition holds, else jumps over the `rest` instructions that follow it."""
    high, low = condition.value >> 32, condition.value & _LOW
    offset = ARGUMENTS_OFFSET + 8 * condition.argument
    if condition.compare in (Compare.EQUAL, Compare.NOT_EQUAL):
        return _compare_equal(condition, offset, rest)
    code, holds = {
        Compare.GREATER: (JUMP_GREATER, True),
        Compare.GREATER_OR_EQUAL: (JUMP_GREATER_OR_EQUAL, True),
        Compare.LESS: (JUMP_GREATER_OR_EQUAL, False),
        Compare.LESS_OR_EQUAL: (JUMP_GREATER, False),
    }[condition.compare]
    # the high halves decide unless they are equal: 3 instructions are left after the first comparison, 2 after the second
    above, below = (3, 3 + rest) if holds else (3 + rest, 3)
    return [
        Instruction(LOAD, offset + 4),
        Instruction(JUMP_GREATER, high, above, 0),
        Instruction(JUMP_EQUAL, high, 0, below - 1),
        Instruction(LOAD, offset),
        Instruction(code, low, *((0, rest) if holds else (rest, 0))),
    ]


def _compare_equal(condition: Condition, offset: int, rest: int) -> Code:
    """The halves that the mask leaves out are not looked at."""
    assert condition.mask <= WHOLE
    last = _masked(offset, condition.mask & _LOW)
    low = condition.value & _LOW
    if condition.compare is Compare.EQUAL:
        last.append(Instruction(JUMP_EQUAL, low, 0, rest))
    else:
        last.append(Instruction(JUMP_EQUAL, low, rest, 0))
    if not condition.mask >> 32 and not condition.value >> 32:
        return last
    first = _masked(offset + 4, condition.mask >> 32)
    unequal = len(last) + (rest if condition.compare is Compare.EQUAL else 0)
    return [*first, Instruction(JUMP_EQUAL, condition.value >> 32, 0, unequal), *last]


def _masked(offset: int, mask: int) -> Code:
    load = Instruction(LOAD, offset)
    return [load] if mask == _LOW else [load, Instruction(AND, mask)]
