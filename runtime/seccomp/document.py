"""A profile as its users write it, Docker's JSON or the `seccomp` object of an OCI bundle, to a policy. Pure.

Docker's form adds to the OCI's: rules that depend on capabilities and architectures (includes, excludes), archMap, the older single `name`. Wrong
input raises Refused with one sentence. Source: Docker's profile documentation, OCI runtime-spec config-linux.md ("Seccomp").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from runtime.child.faults import Refused
from runtime.seccomp import policy as p
from runtime.seccomp.numbers import Architecture
from runtime.seccomp.policy import Compare, Condition, Policy, Rule

PROFILE_MAX_BYTES = 1024 * 1024
RULES_MAX = 4096
ARGUMENTS_MAX = 6

_ACTIONS = {
    "SCMP_ACT_ALLOW": p.ALLOW, "SCMP_ACT_ERRNO": p.ERRNO, "SCMP_ACT_KILL": p.KILL_THREAD, "SCMP_ACT_KILL_THREAD": p.KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": p.KILL_PROCESS, "SCMP_ACT_LOG": p.LOG, "SCMP_ACT_TRACE": p.TRACE, "SCMP_ACT_TRAP": p.TRAP,
}  # fmt: skip
_COMPARES = {
    "SCMP_CMP_EQ": Compare.EQUAL, "SCMP_CMP_NE": Compare.NOT_EQUAL, "SCMP_CMP_LT": Compare.LESS, "SCMP_CMP_LE": Compare.LESS_OR_EQUAL,
    "SCMP_CMP_GT": Compare.GREATER, "SCMP_CMP_GE": Compare.GREATER_OR_EQUAL,
}  # fmt: skip
_ARCHITECTURES = {
    "SCMP_ARCH_X86_64": Architecture.X86_64, "SCMP_ARCH_X86": Architecture.I386, "SCMP_ARCH_AARCH64": Architecture.AARCH64,
    "SCMP_ARCH_ARM": Architecture.ARM,
}  # fmt: skip
_FOREIGN_ARCHITECTURES = frozenset(
    "SCMP_ARCH_" + name
    for name in "LOONGARCH64 M68K MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PARISC PARISC64 PPC PPC64 PPC64LE RISCV64 S390 S390X SHEB X32".split()
)
_GO_NAMES = {Architecture.X86_64: "amd64", Architecture.I386: "x86", Architecture.AARCH64: "arm64", Architecture.ARM: "arm"}


def asks_nothing(document: object) -> bool:
    """Neither a default action nor a rule: no filter at all, as in runc."""
    return isinstance(document, dict) and not document.get("defaultAction") and not document.get("syscalls")


def policy_of(
    document: object, capabilities: AbstractSet[str], native: tuple[Architecture, ...], kernel: tuple[int, int] = (6, 0)
) -> Policy:
    """`document`: decoded JSON. `native`: what this machine runs, first the kernel's own. `kernel`: its version, for minKernel.
    Raises Refused."""
    profile = _mapping(document, "the profile")
    _refuse_both(profile, "architectures", "archMap")
    default = _action(profile, "defaultAction", "defaultErrnoRet")
    rules: list[Rule] = []
    for entry in _sequence(profile.get("syscalls"), "syscalls"):
        syscall = _mapping(entry, "an entry of syscalls")
        _refuse_both(syscall, "name", "names")
        if _applies(syscall, capabilities, native, kernel):
            rules.append(_rule(syscall))
    if len(rules) > RULES_MAX:
        raise Refused(f"seccomp profile: more than {RULES_MAX} rules")
    # as runc: calls younger than the profile are unknown to it rather than forbidden, unless it says what they come to
    says = "defaultErrnoRet" in profile and profile["defaultErrnoRet"] is not None
    refuses = default & ~p.DATA_MASK == p.ERRNO or default in (p.KILL_THREAD, p.KILL_PROCESS)
    unknown = p.ERRNO | p.ENOSYS if refuses and not (says and default == p.ERRNO | p.ENOSYS) else default
    return Policy(default, tuple(rules), _architectures(profile, native), unknown)


def _refuse_both(part: Mapping[str, Any], one: str, other: str) -> None:
    """Docker's words for what says the same twice."""
    if part.get(one) and part.get(other):
        raise Refused(f"'{one}' and '{other}' were specified in the seccomp profile, use either '{one}' or '{other}'")


def _architectures(profile: Mapping[str, Any], native: tuple[Architecture, ...]) -> tuple[Architecture, ...]:
    """The native one always; of the others those that the profile names."""
    named = {str(name) for name in _sequence(profile.get("architectures"), "architectures")}
    for entry in _sequence(profile.get("archMap"), "archMap"):
        mapped = _mapping(entry, "an entry of archMap")
        if _ARCHITECTURES.get(str(mapped.get("architecture"))) is native[0]:
            named |= {str(name) for name in _sequence(mapped.get("subArchitectures"), "subArchitectures")}
    if strange := sorted(named - _FOREIGN_ARCHITECTURES - _ARCHITECTURES.keys()):
        raise Refused(f"string {strange[0]} is not a valid arch for seccomp")
    known = {_ARCHITECTURES[name] for name in named if name in _ARCHITECTURES}
    return (native[0], *(architecture for architecture in native[1:] if architecture in known))


def _applies(
    syscall: Mapping[str, Any], capabilities: AbstractSet[str], native: tuple[Architecture, ...], kernel: tuple[int, int]
) -> bool:
    """Everything that it includes is there, nothing that it excludes."""
    includes = _mapping(syscall.get("includes") or {}, "includes")
    excludes = _mapping(syscall.get("excludes") or {}, "excludes")
    name = _GO_NAMES[native[0]]
    wanted, unwanted = _names(includes, "caps"), _names(excludes, "caps")
    arches, no_arches = _names(includes, "arches"), _names(excludes, "arches")
    return not (
        (arches and name not in arches)
        or name in no_arches
        or not {capability.removeprefix("CAP_") for capability in wanted} <= capabilities
        or {capability.removeprefix("CAP_") for capability in unwanted} & capabilities
        or (includes.get("minKernel") and kernel < _version(includes["minKernel"]))
        or (excludes.get("minKernel") and kernel >= _version(excludes["minKernel"]))
    )


def _rule(syscall: Mapping[str, Any]) -> Rule:
    names = (*_names(syscall, "names"), *((str(syscall["name"]),) if syscall.get("name") else ()))
    if not names:
        raise Refused("seccomp profile: an entry of syscalls names no system call")
    conditions = tuple(_condition(_mapping(entry, "an entry of args")) for entry in _sequence(syscall.get("args"), "args"))
    if len(conditions) > ARGUMENTS_MAX:
        raise Refused(f"seccomp profile: more than {ARGUMENTS_MAX} conditions on {names[0]}")
    return Rule(names, _action(syscall, "action", "errnoRet"), conditions)


def _condition(entry: Mapping[str, Any]) -> Condition:
    index, value = _number(entry, "index", ARGUMENTS_MAX - 1), _number(entry, "value", p.WHOLE)
    operator = str(entry.get("op"))
    if operator == "SCMP_CMP_MASKED_EQ":
        return Condition(index, Compare.EQUAL, _number(entry, "valueTwo", p.WHOLE), value)
    if operator not in _COMPARES:
        raise Refused(f"seccomp profile: invalid operator '{operator}'")
    return Condition(index, _COMPARES[operator], value)


def _action(entry: Mapping[str, Any], key: str, errno_key: str) -> int:
    name = str(entry.get(key))
    if name not in _ACTIONS:
        raise Refused(f"string {name} is not a valid action for seccomp")
    action = _ACTIONS[name]
    if action in (p.ERRNO, p.TRACE):
        return action | (p.EPERM if entry.get(errno_key) is None else _number(entry, errno_key, p.DATA_MASK))
    return action


def _number(entry: Mapping[str, Any], key: str, most: int) -> int:
    value = entry.get(key) or 0
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise Refused(f"seccomp profile: invalid {key} '{value}'")
    return value


def _version(text: object) -> tuple[int, int]:
    major, _, minor = str(text).partition(".")
    if not major.isdigit() or not minor.isdigit():
        raise Refused(f"seccomp profile: invalid minKernel '{text}'")
    return int(major), int(minor)


def _names(entry: Mapping[str, Any], key: str) -> tuple[str, ...]:
    return tuple(str(name) for name in _sequence(entry.get(key), key))


def _sequence(value: object, what: str) -> Sequence[Any]:
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        raise Refused(f"seccomp profile: {what} must be a list")
    return value


def _mapping(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Refused(f"seccomp profile: {what} must be an object")
    return value
