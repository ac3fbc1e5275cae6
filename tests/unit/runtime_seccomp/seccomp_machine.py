"""The kernel's side of a filter, for tests: an interpreter of classic BPF as seccomp uses it, and libseccomp as the oracle."""

from __future__ import annotations

import ctypes
import ctypes.util
import struct
import tempfile
from collections.abc import Sequence

from runtime.seccomp.numbers import Architecture
from runtime.seccomp.policy import KILL_THREAD, WHOLE, Compare, Policy

KILL, ALLOW = KILL_THREAD, 0x7FFF_0000


def run(code: bytes, number: int, arguments: Sequence[int] = (), architecture: Architecture = Architecture.X86_64) -> int:
    """What the filter returns. Fails on anything that the kernel's checker would refuse."""
    padded = (*arguments, *([0] * (6 - len(arguments))))
    data = struct.pack("=iIQ6Q", number - 2**32 if number >= 2**31 else number, architecture.value, 0, *padded)
    program = list(struct.iter_unpack("=HBBI", code))
    position = accumulator = 0
    while True:
        operation, true, false, k = program[position]
        position += 1
        if operation == 0x20:
            assert k % 4 == 0
            (accumulator,) = struct.unpack_from("=I", data, k)
        elif operation == 0x54:
            accumulator &= k
        elif operation == 0x05:
            position += k
        elif operation in (0x15, 0x25, 0x35):
            holds = {0x15: accumulator == k, 0x25: accumulator > k, 0x35: accumulator >= k}[operation]
            position += true if holds else false
        else:
            assert operation == 0x06, hex(operation)
            return int(k)


class _ArgumentCompare(ctypes.Structure):
    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


_OPERATORS = {
    Compare.NOT_EQUAL: 1, Compare.LESS: 2, Compare.LESS_OR_EQUAL: 3, Compare.EQUAL: 4, Compare.GREATER_OR_EQUAL: 5, Compare.GREATER: 6,
}  # fmt: skip
_MASKED_EQUAL = 7


def libseccomp() -> ctypes.CDLL | None:
    """None where the library is not installed."""
    name = ctypes.util.find_library("seccomp")
    if name is None:
        return None
    library = ctypes.CDLL(name)
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_syscall_resolve_num_arch.restype = ctypes.c_void_p
    return library


def name_of(library: ctypes.CDLL, architecture: Architecture, number: int) -> str:
    """Empty for a number that the library does not know."""
    address = library.seccomp_syscall_resolve_num_arch(architecture.value, number)
    return (ctypes.string_at(address) or b"").decode() if address else ""


def compiled_by(library: ctypes.CDLL, policy: Policy) -> bytes:
    """The same policy as libseccomp compiles it."""
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(policy.default)))
    native = ctypes.c_uint32(library.seccomp_arch_native())
    for architecture in policy.architectures:
        assert library.seccomp_arch_add(context, ctypes.c_uint32(architecture.value)) in (0, -17)
    if native.value not in {architecture.value for architecture in policy.architectures}:
        assert library.seccomp_arch_remove(context, native) == 0
    for rule in policy.rules:
        for name in rule.names:
            number = library.seccomp_syscall_resolve_name(name.encode())
            if number == -1:
                continue
            array = (_ArgumentCompare * max(1, len(rule.conditions)))()
            for place, condition in enumerate(rule.conditions):
                if condition.compare is Compare.EQUAL and condition.mask != WHOLE:
                    array[place] = _ArgumentCompare(condition.argument, _MASKED_EQUAL, condition.mask, condition.value)
                else:
                    array[place] = _ArgumentCompare(condition.argument, _OPERATORS[condition.compare], condition.value, 0)
            added = library.seccomp_rule_add_array(context, ctypes.c_uint32(rule.action), number, len(rule.conditions), array)
            assert added in (0, -17), (name, added)
    with tempfile.TemporaryFile() as file:
        assert library.seccomp_export_bpf(context, file.fileno()) == 0
        library.seccomp_release(context)
        file.seek(0)
        return file.read()
