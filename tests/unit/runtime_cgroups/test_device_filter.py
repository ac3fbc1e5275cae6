"""The eBPF program of the device rules: what it answers, interpreted; what the kernel answers with it on a group of cgroup v2."""

from __future__ import annotations

import os
import struct
import tempfile
from pathlib import Path

import pytest

from runtime.cgroups import device_filter, files
from runtime.cgroups.device_filter import assemble, parse
from runtime.cgroups.groups import read_layout
from runtime.cgroups.limits import DEFAULT_DEVICES
from runtime.errors import StartFailed

CHARACTER, BLOCK = 2, 1
MKNOD, READ, WRITE = 1, 2, 4


def answer(rules: tuple[str, ...], kind: int, major: int, minor: int, access: int) -> int:
    """Interprets the program as the kernel would run it."""
    code = list(struct.iter_unpack("=BBhi", assemble([parse(rule) for rule in rules])))
    context = {0: kind | access << 16, 4: major, 8: minor}
    registers = [0] * 11
    place = 0
    while True:
        operation, pair, offset, immediate = code[place]
        target, source = pair & 15, pair >> 4
        place += 1
        if operation == 0x61:
            assert source == 1
            registers[target] = context[offset]
        elif operation == 0xBC:
            registers[target] = registers[source]
        elif operation == 0xB7:
            registers[target] = immediate
        elif operation == 0x54:
            registers[target] &= immediate
        elif operation == 0x74:
            registers[target] >>= immediate
        elif operation == 0x55:
            place += offset if registers[target] != immediate else 0
        else:
            assert operation == 0x95
            return registers[0]


@pytest.mark.parametrize(
    ("kind", "major", "minor", "access", "allowed"),
    [
        (CHARACTER, 1, 3, READ | WRITE, 1), (CHARACTER, 1, 3, MKNOD, 1), (CHARACTER, 136, 7, READ | WRITE, 1), (CHARACTER, 1, 11, READ, 0),
        (CHARACTER, 1, 1, WRITE, 0), (CHARACTER, 10, 229, MKNOD, 1), (CHARACTER, 10, 229, READ | MKNOD, 0), (BLOCK, 8, 0, MKNOD, 1),
        (BLOCK, 8, 0, READ, 0), (BLOCK, 1, 3, READ, 0), (CHARACTER, 10, 200, READ | WRITE, 0),
    ],
)  # fmt: skip
def test_default_rules(kind: int, major: int, minor: int, access: int, allowed: int) -> None:
    assert answer(DEFAULT_DEVICES, kind, major, minor, access) == allowed


def test_further_rules_add_rights() -> None:
    assert answer((*DEFAULT_DEVICES, "c 10:229 rw"), CHARACTER, 10, 229, READ | WRITE) == 1
    assert answer(("c 10:* r",), CHARACTER, 10, 5, READ) == 1
    assert answer(("c 10:* r",), CHARACTER, 10, 5, WRITE) == 0
    assert answer(("a",), BLOCK, 8, 1, READ | WRITE | MKNOD) == 1
    assert answer((), CHARACTER, 1, 3, READ) == 0


@pytest.mark.parametrize("rule", ["", "x 1:3 rwm", "c 1 rwm", "c 1:3", "c 1:x r", "c 1:3 q", "c -1:3 r"])
def test_a_wrong_rule_is_refused(rule: str) -> None:
    with pytest.raises(StartFailed, match="invalid device cgroup rule format"):
        parse(rule)


def _opened_in(group: Path, path: str) -> int:
    """The errno of opening `path` by a process in the group, 0 when it works."""
    pid = os.fork()
    if pid == 0:
        status = 255
        try:
            files.write(str(group / "cgroup.procs"), "0")
            os.close(os.open(path, os.O_RDONLY))
            status = 0
        except OSError as error:
            status = error.errno or 255
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_the_kernel_keeps_the_rules() -> None:
    layout = read_layout()
    if layout.v2 is None or os.geteuid() != 0 or not os.path.exists("/dev/loop-control"):
        pytest.skip("needs root, cgroup v2 mounted and /dev/loop-control")
    group = Path(tempfile.mkdtemp(prefix="festoon-devices-", dir=layout.v2.own))
    try:
        assert _opened_in(group, "/dev/loop-control") == 0
        device_filter.attach(str(group), DEFAULT_DEVICES)
        assert _opened_in(group, "/dev/loop-control") == 1, "EPERM"
        assert _opened_in(group, "/dev/null") == 0
    finally:
        group.rmdir()


def test_a_device_that_is_given_can_be_used() -> None:
    layout = read_layout()
    if layout.v2 is None or os.geteuid() != 0 or not os.path.exists("/dev/loop-control"):
        pytest.skip("needs root, cgroup v2 mounted and /dev/loop-control")
    group = Path(tempfile.mkdtemp(prefix="festoon-devices-", dir=layout.v2.own))
    try:
        device_filter.attach(str(group), (*DEFAULT_DEVICES, "c 10:237 r"))
        assert _opened_in(group, "/dev/loop-control") == 0
    finally:
        group.rmdir()
