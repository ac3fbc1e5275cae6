"""Records appear whole or not at all; the last of each counts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runtime.spec import ContainerSpec, Exited, RootFs
from runtime.stem import write_exit
from runtime.supervisor import journal
from runtime.supervisor.journal import ExecRecord, Kept, ProcessRecord, SpecRecord, StateRecord
from runtime.supervisor.loop import Loop
from runtime.supervisor.reaper import Reaper

SPEC = ContainerSpec("ab" * 32, ("true",), ("A=b",), RootFs(("/l",), "/u", "/w"))
STATE = StateRecord("exited", None, 5, "key", Exited(3, True, 9))
RUNS = ExecRecord("abc", ProcessRecord(5, 6, "boot"))


def created(folder: Path) -> str:
    path = str(folder / SPEC.id)
    journal.create(path, SPEC)
    return path


def kept(folder: Path) -> Kept:
    ((path, found),) = journal.containers(str(folder))
    assert path == str(folder / SPEC.id)
    return found


def test_containers_come_back_as_they_were(tmp_path: Path) -> None:
    path = created(tmp_path)
    assert (kept(tmp_path).spec, kept(tmp_path).state) == (SPEC, StateRecord("created"))
    journal.append(path, STATE)
    assert (kept(tmp_path).spec, kept(tmp_path).state) == (SPEC, STATE)
    journal.remove(path)
    assert list(tmp_path.iterdir()) == []


def test_half_made_and_damaged_records_are_no_containers_and_go(tmp_path: Path) -> None:
    (tmp_path / "exits").mkdir()
    (tmp_path / ("cd" * 32)).write_bytes(b"\xc1 damaged")
    (tmp_path / ("ef" * 32)).write_bytes(journal.frame(SpecRecord(SPEC)))  # under another container's name
    (tmp_path / f"{SPEC.id}.new").write_bytes(journal.frame(SpecRecord(SPEC)))  # a compaction that was interrupted
    assert list(journal.containers(str(tmp_path))) == []
    assert [entry.name for entry in tmp_path.iterdir()] == ["exits"]


@pytest.mark.parametrize("cut", [1, 7, 8, 20])
def test_a_record_that_was_cut_off_costs_nothing_before_or_after_it(tmp_path: Path, cut: int) -> None:
    path = created(tmp_path)
    with open(path, "ab") as file:
        file.write(journal.frame(STATE)[:cut])
    assert kept(tmp_path).state == StateRecord("created")
    journal.append(path, STATE)
    assert kept(tmp_path).state == STATE


def test_zeros_at_the_end_are_cut_off(tmp_path: Path) -> None:
    path = created(tmp_path)
    size = os.path.getsize(path)
    with open(path, "ab") as file:
        file.write(bytes(4096))
    assert kept(tmp_path).spec == SPEC
    assert os.path.getsize(path) == size


def test_execs_run_end_and_are_forgotten(tmp_path: Path) -> None:
    path = created(tmp_path)
    journal.append(path, RUNS, durable=False)
    assert kept(tmp_path).execs == {"abc": RUNS}
    ended = ExecRecord("abc", None, Exited(1))
    journal.append(path, ended, durable=False)
    assert kept(tmp_path).execs == {"abc": ended}
    journal.append(path, ExecRecord("abc"), durable=False)
    assert kept(tmp_path).execs == {}


def test_a_container_that_is_started_and_entered_for_ever_keeps_a_small_file(tmp_path: Path) -> None:
    path = created(tmp_path)
    size = 0
    for number in range(6000):
        journal.append(path, ExecRecord(f"exec{number}", None, Exited(number % 256)), durable=False)
        journal.append(path, ExecRecord(f"exec{number}"), durable=False)
        size = max(size, os.path.getsize(path))
    journal.append(path, STATE, durable=False)
    journal.append(path, RUNS, durable=False)
    assert size <= journal.COMPACT_BYTES + 200
    assert (kept(tmp_path).spec, kept(tmp_path).state, kept(tmp_path).execs) == (SPEC, STATE, {"abc": RUNS})


def test_the_stems_record_is_taken_once(tmp_path: Path) -> None:
    reaper = Reaper(Loop(), str(tmp_path))
    write_exit(str(tmp_path), 12, 3400, 137)
    assert os.listdir(tmp_path) == ["12.3400"]
    exited = reaper.take_record(12, 3400)
    assert exited is not None
    assert (exited.status, exited.known) == (137, True)
    assert exited.finished_at_ns > 0
    assert reaper.take_record(12, 3400) is None
