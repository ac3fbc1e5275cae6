"""The numbers of system calls for both machines, against the whole tables that seccomp has (which are held against libseccomp's)."""

from __future__ import annotations

import importlib.util
import os
from types import SimpleNamespace

import pytest

from runtime.kernel import syscalls
from runtime.seccomp.numbers import Architecture


@pytest.mark.parametrize(("machine", "architecture"), [("x86_64", Architecture.X86_64), ("aarch64", Architecture.AARCH64)])
def test_each_machine_has_its_own_numbers(monkeypatch: pytest.MonkeyPatch, machine: str, architecture: Architecture) -> None:
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine=machine))
    spec = importlib.util.spec_from_file_location("syscalls_elsewhere", syscalls.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert {call.name.lower(): call.value for call in module.Call} == {call.name.lower(): architecture.table[call.name.lower()] for call in syscalls.Call}
