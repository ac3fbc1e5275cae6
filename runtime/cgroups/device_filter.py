"""Device rules on cgroup v2, which has no files for them: an eBPF program on the group that answers each open and mknod. Owns nothing: a program lives
as long as its group.

`assemble` is pure. The program's stack and maps stay unused: type, access, major and minor are compared rule by rule. Source: bpf(2),
Documentation/bpf/prog_cgroup_sockopt.rst (attachment), include/uapi/linux/bpf.h (struct bpf_cgroup_dev_ctx, BPF_CGROUP_DEVICE).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from typing import NamedTuple

from runtime.errors import StartFailed
from runtime.kernel.libc import address_of, call
from runtime.kernel.syscalls import Call

RULES_MAX = 1024
INSTRUCTION = struct.Struct("=BBhi")
"""struct bpf_insn: code, destination and source register, offset, immediate."""

_LOAD_WORD, _MOVE_REGISTER, _MOVE, _AND, _SHIFT_RIGHT = 0x61, 0xBC, 0xB7, 0x54, 0x74  # 32-bit arithmetic clears the upper half
_JUMP_NOT_EQUAL, _EXIT = 0x55, 0x95
_CONTEXT, _KIND, _ACCESS, _MAJOR, _MINOR, _SCRATCH = 1, 2, 3, 4, 5, 6
_KINDS = {"b": 1, "c": 2}
_ACCESSES = {"m": 1, "r": 2, "w": 4}
_PROG_LOAD, _PROG_ATTACH = 5, 8
_TYPE_CGROUP_DEVICE, _ATTACH_CGROUP_DEVICE = 15, 6
_ALLOW_MULTI = 2
_ATTRIBUTES_BYTES = 120


class Rule(NamedTuple):
    """-1: any number. `access`: bits of those it allows."""

    kind: int
    major: int
    minor: int
    access: int


def parse(rule: str) -> Rule:
    """`c 10:229 rwm`, `b *:* m`, `a`: cgroup v1's form. Raises StartFailed."""
    kind, _, rest = rule.strip().partition(" ")
    numbers, _, letters = (rest or "*:* rwm").partition(" ")
    major, _, minor = numbers.partition(":")
    fits = all(text == "*" or text.isdigit() for text in (major, minor)) and letters and set(letters) <= set(_ACCESSES)
    if (kind not in _KINDS and kind != "a") or not fits:
        raise StartFailed(f"invalid device cgroup rule format: '{rule}'")
    access = sum(_ACCESSES[letter] for letter in set(letters))
    first, second = (-1 if text == "*" else int(text) for text in (major, minor))
    return Rule(_KINDS.get(kind, 0), first, second, access)


def assemble(rules: Sequence[Rule]) -> bytes:
    """Returns 1 (allowed) when a rule matches the device and allows all of the wanted access, else 0."""
    assert len(rules) <= RULES_MAX
    code = [
        _instruction(_LOAD_WORD, _KIND, _CONTEXT, 0),
        _instruction(_MOVE_REGISTER, _ACCESS, _KIND),
        _instruction(_AND, _KIND, immediate=0xFFFF),
        _instruction(_SHIFT_RIGHT, _ACCESS, immediate=16),
        _instruction(_LOAD_WORD, _MAJOR, _CONTEXT, 4),
        _instruction(_LOAD_WORD, _MINOR, _CONTEXT, 8),
    ]
    for rule in rules:
        code += _rule(rule)
    code += [_instruction(_MOVE, 0, immediate=0), _instruction(_EXIT)]
    return b"".join(code)


def _rule(rule: Rule) -> list[bytes]:
    """Each comparison that fails jumps over the rest of the rule."""
    tests: list[tuple[int, int]] = []
    if rule.kind:
        tests.append((_KIND, rule.kind))
    if rule.major >= 0:
        tests.append((_MAJOR, rule.major))
    if rule.minor >= 0:
        tests.append((_MINOR, rule.minor))
    refused = 7 & ~rule.access
    tail = [_instruction(_MOVE, 0, immediate=1), _instruction(_EXIT)]
    if refused:
        tail = [
            _instruction(_MOVE_REGISTER, _SCRATCH, _ACCESS),
            _instruction(_AND, _SCRATCH, immediate=refused),
            _instruction(_JUMP_NOT_EQUAL, _SCRATCH, offset=2),
            *tail,
        ]
    count = len(tests) + len(tail)
    return [*(_instruction(_JUMP_NOT_EQUAL, register, 0, count - place - 1, value) for place, (register, value) in enumerate(tests)), *tail]


def _instruction(code: int, destination: int = 0, source: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
    return INSTRUCTION.pack(code, destination | source << 4, offset, immediate)


def load(code: bytes) -> int:
    """The program's descriptor. Raises OSError when the kernel's verifier does not take it, or this kernel has no such programs."""
    licence = b"GPL\0"
    attributes = bytearray(_ATTRIBUTES_BYTES)
    struct.pack_into("=IIQQ", attributes, 0, _TYPE_CGROUP_DEVICE, len(code) // INSTRUCTION.size, address_of(code), address_of(licence))
    return call(Call.BPF, _PROG_LOAD, attributes, len(attributes))


def attach(folder: str, rules: Sequence[str]) -> None:
    """To a group, in addition to what its parents have. Raises OSError, StartFailed: a container is not started without its device rules."""
    if len(rules) > RULES_MAX:
        raise StartFailed(f"more than {RULES_MAX} device rules")
    program = load(assemble([parse(rule) for rule in rules]))
    try:
        group = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            attributes = bytearray(_ATTRIBUTES_BYTES)
            struct.pack_into("=IIII", attributes, 0, group, program, _ATTACH_CGROUP_DEVICE, _ALLOW_MULTI)
            call(Call.BPF, _PROG_ATTACH, attributes, len(attributes))
        finally:
            os.close(group)
    finally:
        os.close(program)
