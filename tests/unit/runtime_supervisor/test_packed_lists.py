"""A container's packed list is the same whether it was compiled for it or for another one that is alike."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from runtime.child.compile import compile_container
from runtime.child.faults import Refused
from runtime.child.host import CgroupView, Host, Opened
from runtime.spec import ContainerSpec, Mount, Rlimit, RootFs
from runtime.supervisor import lists
from runtime.supervisor.births import TooLarge, pack_list
from runtime.supervisor.lists import KEPT_MAX, Lists

HOST = Host(40, (("proc/keys", False),), ("proc/sys",))
ROOM = 1 << 20


def spec(identity: str, **changes: Any) -> ContainerSpec:
    """With its names wherever a node puts them."""
    base = ContainerSpec(
        id=identity,
        argv=("sh", "-c", f"echo {identity} {identity[:12]}"),
        env=("PATH=/bin", f"HOSTNAME={identity[:12]}"),
        rootfs=RootFs(("/l",), f"/c/{identity}/upper", f"/c/{identity}/work"),
        mounts=(Mount("bind", f"/c/{identity}/hosts", "/etc/hosts"), Mount("bind", f"/v/{identity[:12]}", "/data")),
        log_path=f"/c/{identity}/log",
    )
    return msgspec.structs.replace(base, **changes)


def opened(identity: str, group: str) -> Opened:
    views = tuple(CgroupView(name, f"/sys/fs/cgroup/{name}/festoon/{group}") for name in ("cpu", "memory"))
    folders = frozenset({f"/v/{identity[:12]}", f"/c/{identity}/hosts"})
    return Opened(root=3, mount_point="/run/x", gate=4, stdout=5, stderr=6, views=views, folders=folders, filter=bytes(80))


def direct(spec: ContainerSpec, opened: Opened) -> bytes:
    compiled = compile_container(spec, HOST, opened)
    return pack_list(compiled.operations, ROOM, fork_at=compiled.fork_at, title=compiled.title)


CONTAINERS = [("ab" * 32, "11111111-aaaaaaaa"), ("cd" * 32, "11111111-bbbbbbbb"), ("0123456789abcdef" * 4, "11111111-cccccccc")]


@pytest.mark.parametrize("changes", [{}, {"init": True}, {"hostname": "own"}, {"hostname": "x" * 60, "privileged": True}])
def test_every_container_gets_the_list_that_was_compiled_for_it(changes: dict[str, Any]) -> None:
    packed = Lists(HOST)
    for identity, group in (*CONTAINERS, CONTAINERS[0]):
        one, there = spec(identity, **changes), opened(identity, group)
        assert packed.find(one, there, group, ROOM) == direct(one, there)


def test_what_is_alike_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compilations = []

    def counted(*arguments: Any) -> Any:
        compilations.append(arguments)
        return compile_container(*arguments)

    monkeypatch.setattr(lists, "compile_container", counted)
    packed = Lists(HOST)
    for identity, group in CONTAINERS:
        packed.find(spec(identity), opened(identity, group), group, ROOM)
    assert len(compilations) == 1
    for number in range(KEPT_MAX + 1):
        packed.find(spec("ab" * 32, env=(f"NUMBER={number}",)), opened("ab" * 32, "g"), "g", ROOM)
    packed.find(spec("ab" * 32), opened("ab" * 32, CONTAINERS[0][1]), CONTAINERS[0][1], ROOM)
    assert len(compilations) == 1 + KEPT_MAX + 1 + 1, "what nobody has asked for lately was let go"


def test_an_id_that_could_be_any_text_is_not_replaced() -> None:
    one = spec("e")
    assert Lists(HOST).find(one, opened("e", "g"), "g", ROOM) == direct(one, opened("e", "g"))


def test_a_refusal_names_the_container_and_nothing_is_kept() -> None:
    identity = "ab" * 32
    packed = Lists(HOST)
    for _ in range(2):
        with pytest.raises(Refused, match=f"invalid ulimit type: {identity}"):
            packed.find(spec(identity, rlimits=(Rlimit(identity, 1, 1),)), opened(identity, "g"), "g", ROOM)


def test_a_list_that_is_too_large_says_so_every_time() -> None:
    large = spec("ab" * 32, env=tuple(f"V{number}={'x' * 1000}" for number in range(2000)))
    packed = Lists(HOST)
    for _ in range(2):
        with pytest.raises(TooLarge):
            packed.find(large, opened("ab" * 32, "g"), "g", ROOM)
