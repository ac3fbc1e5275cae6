"""A system call policy as values: which calls are allowed on which arguments, and what happens to the others. Pure.

Source: seccomp(2), include/uapi/linux/seccomp.h.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from runtime.seccomp.numbers import Architecture

ALLOW = 0x7FFF_0000
LOG = 0x7FFC_0000
TRACE = 0x7FF0_0000
ERRNO = 0x0005_0000
TRAP = 0x0003_0000
KILL_THREAD = 0x0000_0000
KILL_PROCESS = 0x8000_0000
DATA_MASK = 0xFFFF

EPERM = 1
ENOSYS = 38
WHOLE = 0xFFFF_FFFF_FFFF_FFFF


class Compare(StrEnum):
    """Unsigned, on 64 bits."""

    EQUAL = "=="
    NOT_EQUAL = "!="
    LESS = "<"
    LESS_OR_EQUAL = "<="
    GREATER = ">"
    GREATER_OR_EQUAL = ">="


class Condition(NamedTuple):
    """On argument number `argument` (0..5): `argument & mask` compared with `value`; a mask only with EQUAL and NOT_EQUAL."""

    argument: int
    compare: Compare
    value: int
    mask: int = WHOLE


class Rule(NamedTuple):
    """All conditions hold: `action`, one of the values above with its data. A name that an architecture does not have is no error."""

    names: tuple[str, ...]
    action: int = ALLOW
    conditions: tuple[Condition, ...] = ()


class Policy(NamedTuple):
    """Of several rules for one call, one without conditions decides, else the first whose conditions hold, else `default`. `unknown`: for
    numbers above those of every rule, which are younger than the policy (ENOSYS lets a C library fall back on the older call).
    Calls of an architecture that is not listed kill the process."""

    default: int
    rules: tuple[Rule, ...]
    architectures: tuple[Architecture, ...]
    unknown: int
