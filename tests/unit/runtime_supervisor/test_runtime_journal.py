"""Records appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from runtime.spec import ContainerSpec, Exited, RootFs
from runtime.stem import write_exit
from runtime.supervisor import journal
from runtime.supervisor.journal import ExecRecord, ProcessRecord, StateRecord
from runtime.supervisor.loop import Loop
from runtime.supervisor.reaper import Reaper

SPEC = ContainerSpec("ab" * 32, ("true",), ("A=b",), RootFs(("/l",), "/u", "/w"))


def test_containers_come_back_as_they_were(tmp_path: Path) -> None:
    folder = str(tmp_path / SPEC.id)
    journal.create(folder, SPEC)
    assert list(journal.containers(str(tmp_path))) == [(folder, SPEC, StateRecord("created"))]
    state = StateRecord("exited", None, 5, "key", Exited(3, True, 9))
    journal.write(folder, journal.STATE, state)
    assert list(journal.containers(str(tmp_path))) == [(folder, SPEC, state)]
    journal.remove(folder)
    assert list(tmp_path.iterdir()) == []


def test_half_made_and_damaged_records_are_no_containers(tmp_path: Path) -> None:
    (tmp_path / "exits").mkdir()
    half = tmp_path / ("cd" * 32)
    half.mkdir()
    (half / "spec").write_bytes(b"\xc1 damaged")
    other = tmp_path / ("ef" * 32)
    journal.create(str(other), SPEC)  # under another container's name
    assert list(journal.containers(str(tmp_path))) == []


def test_execs(tmp_path: Path) -> None:
    record = ExecRecord(ProcessRecord(5, 6, "boot"), Exited(1))
    journal.write(str(tmp_path), "exec-abc", record, durable=False)
    (tmp_path / "exec-def.new").write_bytes(b"")
    assert list(journal.execs(str(tmp_path))) == [("abc", record)]
    journal.forget_exec(str(tmp_path), "abc")
    journal.forget_exec(str(tmp_path), "abc")
    assert list(journal.execs(str(tmp_path))) == []


def test_the_stems_record_is_taken_once(tmp_path: Path) -> None:
    reaper = Reaper(Loop(), str(tmp_path))
    write_exit(str(tmp_path), 12, 3400, 137)
    assert os.listdir(tmp_path) == ["12.3400"]
    exited = reaper.take_record(12, 3400)
    assert exited is not None
    assert (exited.status, exited.known) == (137, True)
    assert exited.finished_at_ns > 0
    assert reaper.take_record(12, 3400) is None
