"""The list of operations: its order, what it leaves out, and what is refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from runtime.child.compile import Compiled, compile_container, compile_exec
from runtime.child.faults import Refused
from runtime.child.host import Device, Host, Joined, Opened
from runtime.kernel import constants as k
from runtime.kernel.operations import Filter, Operation
from runtime.kernel.syscalls import Call
from runtime.spec import ContainerSpec, ExecSpec, Mount, Rlimit, RootFs, User

HOST = Host(40, (("proc/keys", False), ("proc/acpi", True), ("sys/firmware", True)), ("proc/sys",))
OPENED = Opened(root=10, mount_point="/run/x/root", gate=11, cgroups=(12, 13), stdout=14, stderr=15)


def spec(**changes: Any) -> ContainerSpec:
    base = ContainerSpec(id="ab" * 32, argv=("sh",), env=("PATH=/bin:/usr/bin",), rootfs=RootFs(("/l",), "/u", "/w"))
    return msgspec.structs.replace(base, **changes)


def compiled(opened: Opened = OPENED, **changes: Any) -> Compiled:
    return compile_container(spec(**changes), HOST, opened)


def calls(operations: tuple[Operation, ...], call: Call) -> list[Operation]:
    return [operation for operation in operations if operation.call is call]


def index(operations: tuple[Operation, ...], call: Call) -> int:
    return next(number for number, operation in enumerate(operations) if operation.call is call)


def test_the_same_values_give_the_same_list() -> None:
    assert compiled() == compiled()


def test_order_of_the_hardening_rules() -> None:
    operations = compiled(no_new_privileges=True).operations
    assert operations[0][:2] == (Call.PRCTL, (k.PR_SET_DUMPABLE, 0))
    order = [
        index(operations, Call.WRITE),  # cgroups, before their namespace is unshared
        index(operations, Call.UNSHARE),
        index(operations, Call.PIVOT_ROOT),
        index(operations, Call.SETHOSTNAME),
        index(operations, Call.READ),  # the gate
        index(operations, Call.SETGROUPS),
        index(operations, Call.SETRESUID),
        index(operations, Call.CAPSET),
        index(operations, Call.CLOSE_RANGE),
        index(operations, Call.EXECVE),
    ]
    assert order == sorted(order)
    bounding = [number for number, op in enumerate(operations) if op.arguments[:1] == (k.PR_CAPBSET_DROP,) and op.call is Call.PRCTL]
    assert max(bounding) < index(operations, Call.SETGROUPS)
    assert len(bounding) == 41 - 14


def test_the_gate_takes_exactly_one_byte() -> None:
    (gate,) = calls(compiled().operations, Call.READ)
    assert (gate.arguments[0], gate.expect) == (11, 1)


def test_path_is_searched_in_order_and_missing_candidates_are_passed_over() -> None:
    operations = compiled().operations
    found = calls(operations, Call.EXECVE)
    assert [operation.arguments[0] for operation in found] == [b"/bin/sh", b"/usr/bin/sh"]
    assert all(k.ENOENT in operation.tolerate for operation in found)
    (only,) = calls(compiled(argv=("./run",)).operations, Call.EXECVE)
    assert (only.arguments[0], only.tolerate) == (b"./run", ())


def test_skips_jump_exactly_over_what_needs_the_missing_path() -> None:
    operations = compiled().operations
    for number, operation in enumerate(operations):
        if operation.skip:
            assert operations[number].step.startswith(("mask ", "bind of ", "tmpfs on ", "cwd"))
            after = operations[number + 1 + operation.skip]
            assert after.step != operation.step or after.call in (Call.CLOSE, Call.OPENAT2)
            assert all(skipped.step == operation.step for skipped in operations[number : number + 1 + operation.skip])


def test_network_namespace_new_joined_or_the_hosts() -> None:
    (new,) = calls(compiled().operations, Call.UNSHARE)
    assert int(new.arguments[0]) & k.CLONE_NEWNET  # type: ignore[arg-type]
    joined = compiled(OPENED._replace(network=20), network_namespace="/run/netns/x").operations
    assert [operation.arguments for operation in calls(joined, Call.SETNS)] == [(20, k.CLONE_NEWNET)]
    for operations in (joined, compiled(network_namespace="host").operations):
        (unshare,) = calls(operations, Call.UNSHARE)
        assert not int(unshare.arguments[0]) & k.CLONE_NEWNET  # type: ignore[arg-type]
        assert not calls(operations, Call.IOCTL)


def test_privileged_has_all_capabilities_no_masks_and_the_hosts_devices() -> None:
    operations = compiled(OPENED._replace(devices=(Device("snd/pcm", 0o20660, 116, 3),)), privileged=True).operations
    assert not [operation for operation in operations if operation.step.startswith(("mask", "read-only"))]
    assert not [operation for operation in calls(operations, Call.PRCTL) if operation.arguments[0] == k.PR_CAPBSET_DROP]
    assert b"snd/pcm" in [operation.arguments[1] for operation in calls(operations, Call.MKNODAT)]


def test_mounts_are_made_shallow_first_and_sources_opened_before_the_pivot() -> None:
    mounts = (Mount("bind", "/a/b/c", "/s1"), Mount("tmpfs", "/a"), Mount("bind", "/a/b", "/s2"))
    operations = compiled(OPENED._replace(folders=frozenset({"/s1", "/s2"})), mounts=mounts).operations
    steps = list(dict.fromkeys(operation.step for operation in operations[index(operations, Call.PIVOT_ROOT) :] if " on /a" in operation.step))
    assert steps == ["tmpfs on /a", "bind of /s2 on /a/b", "bind of /s1 on /a/b/c"]
    sources = [n for n, op in enumerate(operations) if op.call is Call.OPEN_TREE and op.arguments[1] in (b"/s1", b"/s2")]
    assert len(sources) == 2
    assert max(sources) < index(operations, Call.PIVOT_ROOT)


def test_the_filter_is_loaded_last_with_no_new_privileges_and_before_the_capabilities_go_without() -> None:
    opened = OPENED._replace(filter=bytes(16))
    (load,) = calls(compiled(opened, no_new_privileges=True).operations, Call.SECCOMP)
    assert load.arguments == (k.SECCOMP_SET_MODE_FILTER, 0, Filter(bytes(16)))
    operations = compiled(opened, no_new_privileges=True).operations
    assert index(operations, Call.CAPSET) < index(operations, Call.SECCOMP)
    assert operations[index(operations, Call.SECCOMP) - 1].arguments == (k.PR_SET_NO_NEW_PRIVS, 1)
    operations = compiled(opened).operations
    bounding = [number for number, op in enumerate(operations) if op.arguments[:1] == (k.PR_CAPBSET_DROP,) and op.call is Call.PRCTL]
    assert index(operations, Call.READ) < index(operations, Call.SECCOMP) < min(bounding)
    assert not calls(compiled().operations, Call.SECCOMP)


def test_an_init_forks_after_the_user_has_changed() -> None:
    operations, fork_at, title = compiled(init=True, argv=("sleep", "9"))
    assert index(operations, Call.CAPSET) < fork_at < index(operations, Call.EXECVE)
    assert title == b"/sbin/docker-init\0--\0sleep\x009"
    assert compiled()[1:] == (-1, b"")


def test_a_user_other_than_root_keeps_no_capability() -> None:
    (capset,) = calls(compiled(user=User(1000, 1000, (7,))).operations, Call.CAPSET)
    assert capset.arguments[1] == bytes(24)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"argv": ()}, "No command specified"),
        ({"argv": ("a\0b",)}, "NUL byte"),
        ({"cwd": "relative"}, "must be an absolute path"),
        ({"capabilities": ("FLY",)}, 'invalid capability: "FLY"'),
        ({"rlimits": (Rlimit("wings", 1, 1),)}, "invalid ulimit type: wings"),
        ({"sysctls": (("kernel.panic", "1"),)}, "not in a separate kernel namespace"),
        ({"sysctls": (("net.ipv4.ip_forward", "1"),), "network_namespace": "host"}, "not allowed in host network namespace"),
        ({"mounts": (Mount("bind", "relative", "/s"),)}, "must be absolute"),
        ({"mounts": (Mount("bind", "/", "/s"),)}, "destination can't be '/'"),
        ({"mounts": (Mount("bind", "/proc/sys", "/s"),)}, "because it is inside /proc"),
        ({"mounts": (Mount("nfs", "/x", "/s"),)}, "invalid mount type 'nfs'"),
        ({"mounts": (Mount("bind", "/x", "/s", options=(("propagation", "sideways"),)),)}, "invalid propagation"),
        ({"mounts": (Mount("tmpfs", "/x", options=(("colour", "red"),)),)}, "invalid tmpfs option"),
        ({"hostname": "x" * 65}, "sethostname: invalid argument"),
    ],
)
def test_refusals_are_one_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Refused, match=sentence) as caught:
        compiled(**changes)
    assert "\n" not in str(caught.value)


def test_exec_joins_everything_and_creates_nothing() -> None:
    call = ExecSpec("ab" * 32, "e", ("true",), ("PATH=/bin",), cwd="/work")
    operations = compile_exec(call, spec(), HOST, Joined(init=9, cgroups=(8,), gate=7, stdin=3, stdout=4, stderr=5)).operations
    assert calls(operations, Call.SETNS)[0].arguments[0] == 9
    for absent in (Call.UNSHARE, Call.MKDIRAT, Call.MOUNT, Call.PIVOT_ROOT, Call.SETHOSTNAME):
        assert not calls(operations, absent)
    assert index(operations, Call.WRITE) < index(operations, Call.SETNS)
