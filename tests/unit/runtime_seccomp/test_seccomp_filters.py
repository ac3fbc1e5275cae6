"""The default policy and profiles of users, compiled: each call comes to what the policy says, and to what libseccomp makes of it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.child.faults import Refused
from runtime.seccomp.bpf import INSTRUCTIONS_MAX, assemble
from runtime.seccomp.document import policy_of
from runtime.seccomp.filters import KEPT_MAX, Filters
from runtime.seccomp.numbers import NATIVE, Architecture
from runtime.seccomp.policy import ALLOW, ENOSYS, EPERM, ERRNO, KILL_PROCESS, LOG, WHOLE, Compare, Condition, Policy, Rule
from runtime.seccomp.profile import NAMESPACE_FLAGS, WITH_CAPABILITY, default_policy
from runtime.spec import DEFAULT_CAPABILITIES
from tests.unit.runtime_seccomp.seccomp_machine import compiled_by, libseccomp, name_of, run

X86 = NATIVE["x86_64"]
DENIED = ERRNO | EPERM
UNKNOWN = ERRNO | ENOSYS
DEFAULT = assemble(default_policy(frozenset(DEFAULT_CAPABILITIES), X86))
VALUES = (0, 1, 8, 39, 40, 41, 0x20000, 0x20008, 0x10000000, 0x7E020000, 0x00020000, 0x80000000, 0xFFFFFFFF, 0x1_0000_0000, WHOLE)


def number(name: str, architecture: Architecture = Architecture.X86_64) -> int:
    return architecture.table[name]


@pytest.mark.parametrize("architecture", list(Architecture))
def test_numbers_are_those_of_libseccomp(architecture: Architecture) -> None:
    library = libseccomp()
    if library is None:
        pytest.skip("needs libseccomp (Debian: libseccomp2) as the oracle")
    known = {number: name_of(library, architecture, number) for number in architecture.table.values()}
    different = {name: known[number] for name, number in architecture.table.items() if known[number] not in ("", name)}
    assert different == {}
    assert sum(1 for name in known.values() if name) > 300


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("read", ALLOW), ("execve", ALLOW), ("close_range", ALLOW), ("chroot", ALLOW), ("arch_prctl", ALLOW), ("ptrace", ALLOW),
        ("mount", DENIED), ("umount2", DENIED), ("unshare", DENIED), ("setns", DENIED), ("bpf", DENIED), ("keyctl", DENIED), ("add_key", DENIED),
        ("kexec_load", DENIED), ("init_module", DENIED), ("open_by_handle_at", DENIED), ("perf_event_open", DENIED), ("userfaultfd", DENIED),
        ("io_uring_setup", DENIED), ("move_mount", DENIED), ("fsopen", DENIED), ("reboot", DENIED), ("settimeofday", DENIED), ("swapon", DENIED),
        ("pidfd_getfd", DENIED), ("clone3", UNKNOWN),
    ],
)  # fmt: skip
def test_what_a_default_container_may_call(name: str, answer: int) -> None:
    assert run(DEFAULT, number(name)) == answer


@pytest.mark.parametrize(("machine", "architecture"), [(machine, one) for machine, both in NATIVE.items() for one in both])
def test_every_number_comes_to_what_the_policy_says(machine: str, architecture: Architecture) -> None:
    for capabilities in (frozenset(), frozenset(DEFAULT_CAPABILITIES), frozenset(name for name, _ in WITH_CAPABILITY)):
        policy = default_policy(capabilities, NATIVE[machine])
        code = assemble(policy)
        named = {name for rule in policy.rules for name in rule.names}
        plain = {name for rule in policy.rules for name in rule.names if not rule.conditions and rule.action == ALLOW}
        top = max(architecture.table[name] for name in named if name in architecture.table)
        for name, call in architecture.table.items():
            got = run(code, call, (0,), architecture)
            if call > top:
                assert got == UNKNOWN
            elif name in plain or name in ("socket", "personality", "clone"):
                assert got == ALLOW, name
            elif name == "clone3":
                assert got == UNKNOWN
            else:
                assert got == DENIED, name
        taken = set(architecture.table.values())
        assert {run(code, call, (), architecture) for call in range(min(top, 600)) if call not in taken} <= {DENIED}


def test_namespaces_need_sys_admin() -> None:
    for flag in (1 << bit for bit in range(64)):
        assert run(DEFAULT, number("clone"), (flag,)) == (DENIED if flag & NAMESPACE_FLAGS else ALLOW)
    admin = assemble(default_policy(frozenset({"SYS_ADMIN"}), X86))
    assert run(admin, number("clone"), (NAMESPACE_FLAGS,)) == ALLOW
    assert run(admin, number("clone3")) == run(admin, number("mount")) == ALLOW


def test_vsock_is_refused_also_with_garbage_in_the_upper_half() -> None:
    assert run(DEFAULT, number("socket"), (2,)) == ALLOW
    assert run(DEFAULT, number("socket"), (40,)) == DENIED
    assert run(DEFAULT, number("socket"), (40 | 1 << 32,)) == DENIED


def test_another_architecture_kills_and_x32_does_not_exist() -> None:
    assert run(DEFAULT, 1, (), Architecture.AARCH64) == KILL_PROCESS
    assert run(DEFAULT, 0x4000_0000 | 165) == UNKNOWN
    assert run(DEFAULT, number("mount", Architecture.I386), (), Architecture.I386) == DENIED


@pytest.mark.parametrize("capabilities", [(), DEFAULT_CAPABILITIES, tuple(name for name, _ in WITH_CAPABILITY)])
def test_the_default_policy_is_what_libseccomp_makes_of_it(capabilities: tuple[str, ...]) -> None:
    library = libseccomp()
    if library is None:
        pytest.skip("needs libseccomp (Debian: libseccomp2) as the oracle")
    policy = default_policy(frozenset(capabilities), X86)
    def unmasked(rule: Rule) -> Rule:
        return rule._replace(conditions=tuple(c._replace(mask=WHOLE) if c.compare is Compare.NOT_EQUAL else c for c in rule.conditions))

    whole = tuple(unmasked(rule) for rule in policy.rules)
    ours, theirs = assemble(policy), compiled_by(library, policy._replace(rules=whole))
    assert len(ours) < len(theirs)
    for architecture in X86:
        known = {name for name, call in architecture.table.items() if name_of(library, architecture, call) == name}
        top = max(architecture.table[name] for rule in policy.rules for name in rule.names if name in architecture.table)
        for name in known:
            call = architecture.table[name]
            if call > top:
                continue
            for value in VALUES if name in ("socket", "clone", "personality") else (0,):
                if value >> 32 and (architecture is Architecture.I386 or name == "socket"):
                    continue
                assert run(ours, call, (value,), architecture) == run(theirs, call, (value,), architecture), (name, hex(value))


CONDITIONS = st.builds(
    Condition, st.integers(0, 5), st.sampled_from(list(Compare)), st.sampled_from((*VALUES, 5, 6, 0x1_0000_0005, 0x5_0000_0000)), st.just(WHOLE)
) | st.builds(lambda a, m, v: Condition(a, Compare.EQUAL, v & m, m), st.integers(0, 5), st.sampled_from(VALUES[1:]), st.sampled_from(VALUES))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.lists(CONDITIONS, max_size=4), min_size=1, max_size=4),
    st.lists(st.sampled_from((*VALUES, 5, 6, 4, 0x1_0000_0005, 0x5_0000_0000, 0x5_0000_0001)), min_size=6, max_size=6),
)
def test_conditions_mean_what_they_say(rules: list[list[Condition]], arguments: list[int]) -> None:
    meanings = {
        Compare.EQUAL: int.__eq__, Compare.NOT_EQUAL: int.__ne__, Compare.LESS: int.__lt__, Compare.LESS_OR_EQUAL: int.__le__,
        Compare.GREATER: int.__gt__, Compare.GREATER_OR_EQUAL: int.__ge__,
    }  # fmt: skip
    policy = Policy(DENIED, tuple(Rule(("read",), ALLOW, tuple(conditions)) for conditions in rules), (Architecture.X86_64,), UNKNOWN)
    expected = any(all(meanings[c.compare](arguments[c.argument] & c.mask, c.value) for c in conditions) for conditions in rules)
    assert (run(assemble(policy), 0, arguments) == ALLOW) is expected


def test_large_policies_jump_far() -> None:
    table = Architecture.X86_64.table
    conditions = tuple(Condition(place, Compare.GREATER, 7) for place in range(6))
    policy = Policy(DENIED, tuple(Rule((name,), ERRNO | call, conditions) for name, call in table.items() if call < 100), (Architecture.X86_64,), UNKNOWN)
    code = assemble(policy)
    assert all(run(code, call, (8,) * 6) == ERRNO | call for call in range(100))
    assert all(run(code, call, (8, 8, 8, 8, 8, 7)) == DENIED for call in range(100))
    with pytest.raises(Refused, match=f"the kernel takes {INSTRUCTIONS_MAX}"):
        assemble(policy._replace(rules=tuple(Rule((name,), ERRNO | call, conditions) for name, call in table.items())))


def test_a_profile_in_dockers_form() -> None:
    document = {
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}],
        "syscalls": [
            {"names": ["read", "nonsense"], "action": "SCMP_ACT_ALLOW"},
            {"name": "write", "action": "SCMP_ACT_LOG"},
            {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["umount2"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64"]}},
            {"names": ["cacheflush"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
            {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "99.0"}},
            {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 2114060288, "op": "SCMP_CMP_MASKED_EQ"}]},
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
        ],
    }  # fmt: skip
    plain, admin = (assemble(policy_of(document, caps, X86)) for caps in (frozenset(), frozenset({"SYS_ADMIN"})))
    assert (run(plain, number("read")), run(plain, number("write")), run(plain, number("open"))) == (ALLOW, LOG, DENIED)
    assert (run(plain, number("mount")), run(admin, number("mount"))) == (DENIED, ALLOW)
    assert (run(plain, number("umount2")), run(admin, number("umount2"))) == (ALLOW, DENIED)
    assert (run(plain, number("arch_prctl")), run(plain, number("ptrace"))) == (ALLOW, DENIED)
    assert (run(plain, number("clone"), (0x11,)), run(plain, number("clone"), (0x10000000,))) == (ALLOW, DENIED)
    assert (run(plain, number("clone3")), run(plain, number("mseal"))) == (UNKNOWN, UNKNOWN)
    assert run(plain, number("read", Architecture.I386), (), Architecture.I386) == ALLOW


def test_a_profile_in_the_bundles_form_without_the_32_bit_architecture() -> None:
    document = {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_KILL_PROCESS"}]}
    code = assemble(policy_of(document, frozenset(), X86))
    assert (run(code, number("mkdir")), run(code, number("read")), run(code, 9999)) == (KILL_PROCESS, ALLOW, ALLOW)
    assert run(code, 3, (), Architecture.I386) == KILL_PROCESS


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "Decoding seccomp profile failed"),
        ("[]", "the profile must be an object"),
        ('{"syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}', "string None is not a valid action for seccomp"),
        ('{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_MIPS", "SCMP_ARCH_NOPE"]}', "string SCMP_ARCH_NOPE is not a valid arch for seccomp"),
        ('{"defaultAction": "SCMP_ACT_NOTIFY"}', "string SCMP_ACT_NOTIFY is not a valid action for seccomp"),
        ('{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": {}}', "syscalls must be a list"),
        ('{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"action": "SCMP_ACT_ALLOW"}]}', "names no system call"),
        ('{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "a", "names": ["b"]}]}', "use either 'name' or 'names'"),
        ('{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["x"], "archMap": [{}]}', "use either 'architectures' or 'archMap'"),
        ('{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": -1}', "invalid defaultErrnoRet '-1'"),
        ('{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 6}]}]}', "invalid index '6'"),
        ('{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"op": "~"}]}]}', "invalid operator"),
    ],
)
def test_a_wrong_profile_is_refused_in_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(Refused, match=sentence) as caught:
        Filters("x86_64", 40, (6, 1)).find(text, (), False)
    assert "\n" not in str(caught.value)


def test_filters_are_compiled_once_and_a_bounded_number_is_kept() -> None:
    filters = Filters("x86_64", 40, (6, 1))
    first = filters.find("default", DEFAULT_CAPABILITIES, False)
    assert filters.find("default", tuple(reversed(DEFAULT_CAPABILITIES)), False) is first
    for errno in range(KEPT_MAX):
        filters.find(json.dumps({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": errno}), (), False)
    assert filters.find("default", DEFAULT_CAPABILITIES, False) is not first


def test_no_filter_for_unconfined_and_privileged_unless_one_is_named() -> None:
    filters = Filters("x86_64", 40, (6, 1))
    assert filters.find("unconfined", (), False) == filters.find("default", (), True) == b""
    assert filters.find('{"defaultAction": "SCMP_ACT_ALLOW"}', (), True)
    assert filters.find("{}", (), False) == b""  # as runc: it asks for nothing
    strange = Filters("vax", 40, (6, 1))
    strange.prepare(DEFAULT_CAPABILITIES)
    assert strange.find("unconfined", (), False) == b""
    with pytest.raises(Refused, match="no seccomp policy for vax"):
        strange.find("default", (), False)
