"""Lists of operations are lowered to addresses and numbers, and run as they say."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from runtime.kernel.libc import call, describe
from runtime.kernel.operations import Pointers, Register, Script, describe_operation
from runtime.kernel.program import Program
from runtime.kernel.running import UNEXPECTED
from runtime.kernel.syscalls import Call

AT_FDCWD = -100


def run(script: Script) -> tuple[int, int] | None:
    program = Program(script.operations)
    return program.run(0, len(program), program.new_registers())


def test_results_go_into_registers_and_come_back_as_arguments(tmp_path: Path) -> None:
    script = Script()
    file = script.keep(Call.OPENAT, AT_FDCWD, bytes(tmp_path / "file"), os.O_CREAT | os.O_WRONLY, 0o600)
    script.call(Call.WRITE, file, b"hello", 5, expect=5)
    script.call(Call.CLOSE, file)
    assert run(script) is None
    assert (tmp_path / "file").read_bytes() == b"hello"


def test_failure_is_reported_by_index_and_errno(tmp_path: Path) -> None:
    script = Script()
    script.call(Call.MKDIRAT, AT_FDCWD, bytes(tmp_path / "folder"), 0o700)
    script.call(Call.MKDIRAT, AT_FDCWD, bytes(tmp_path / "folder"), 0o700)
    script.call(Call.MKDIRAT, AT_FDCWD, bytes(tmp_path / "never"), 0o700)
    assert run(script) == (1, errno.EEXIST)
    assert not (tmp_path / "never").exists()


def test_tolerated_errors_skip_what_depends_on_them(tmp_path: Path) -> None:
    script = Script()
    script.keep(Call.OPENAT, AT_FDCWD, bytes(tmp_path / "missing"), os.O_RDONLY, tolerate=(errno.ENOENT,), skip=1)
    script.call(Call.CLOSE, Register(0))
    script.call(Call.MKDIRAT, AT_FDCWD, bytes(tmp_path / "after"), 0o700)
    assert run(script) is None
    assert (tmp_path / "after").is_dir()


def test_another_result_than_the_expected_one_is_a_failure() -> None:
    reader, writer = os.pipe()
    os.close(writer)
    script = Script()
    script.call(Call.READ, reader, bytes(1), 1, expect=1)
    assert run(script) == (0, UNEXPECTED)
    os.close(reader)


def test_pointers_become_a_vector_that_execve_takes() -> None:
    reader, writer = os.pipe()
    script = Script()
    script.call(Call.DUP3, writer, 1, 0)
    script.call(Call.EXECVE, b"/bin/sh", Pointers((b"sh", b"-c", b'echo "$1 $V"', b"x", b"one")), Pointers((b"V=two",)))
    program = Program(script.operations)
    pid = os.fork()
    if pid == 0:
        program.run(0, len(program), program.new_registers())
        os._exit(1)
    os.close(writer)
    assert os.read(reader, 100) == b"one two\n"
    os.close(reader)
    assert os.waitpid(pid, 0)[1] == 0


def test_part_of_a_list_can_be_run(tmp_path: Path) -> None:
    script = Script()
    for name in ("a", "b"):
        script.call(Call.MKDIRAT, AT_FDCWD, bytes(tmp_path / name), 0o700)
    program = Program(script.operations)
    registers = program.new_registers()
    assert program.run(0, 1, registers) is None
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert program.run(1, 2, registers) is None
    assert (tmp_path / "b").is_dir()


def test_errors_name_call_operands_and_errno() -> None:
    with pytest.raises(FileNotFoundError, match=r'chdir\("/no/such"\): No such file') as caught:
        call(Call.CHDIR, b"/no/such")
    assert caught.value.errno == errno.ENOENT
    assert describe(Call.FSMOUNT, (3, 1, 0)) == "fsmount(3, 1, 0)"


def test_operations_are_described_for_people() -> None:
    script = Script()
    script.call(Call.EXECVE, b"/bin/sh", Pointers((b"sh",)), Register(4))
    assert describe_operation(script.operations[0]) == 'execve("/bin/sh", <1 strings>, #4)'
