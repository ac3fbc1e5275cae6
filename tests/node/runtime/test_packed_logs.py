"""Rotated logs are compressed by a process of its own: they read as before, are followed through it, and nothing is lost however it ends."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from runtime import logs
from runtime.client import Supervisor
from runtime.spec import Mount
from runtime.supervisor.frames import STDOUT
from runtime.supervisor.logfile import LogWriter
from runtime.supervisor.loop import Loop
from runtime.supervisor.packer import Packer
from runtime.supervisor.reaper import Reaper

FILE_BYTES = 1000


class Hand(Packer):
    """A packer with a loop of its own, which the test turns: `finish` waits until what was begun has ended."""

    def __init__(self, exits: Path) -> None:
        exits.mkdir()
        self._exits = str(exits)
        self._loop = Loop()
        super().__init__(Reaper(self._loop, self._exits))

    def pack(self, source: int, target: int, done: Callable[[bool], None]) -> None:
        self._loop = Loop()
        self._reaper = Reaper(self._loop, self._exits)

        def ended(whole: bool) -> None:
            assert whole
            done(whole)
            self._loop.stop()

        super().pack(source, target, ended)

    def finish(self) -> None:
        if not self.free:
            self._loop.run()


@pytest.fixture
def hand(tmp_path: Path) -> Hand:
    return Hand(tmp_path / "exits")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def numbers(path: Path, **options: int) -> list[int]:
    return [int(record.data) for record in logs.read(str(path), **options)]


@pytest.mark.parametrize("driver", ["local", "json-file"])
def test_rotated_files_are_compressed_and_read_as_before(tmp_path: Path, hand: Hand, driver: str) -> None:
    path = tmp_path / "c" / "log"
    writer = LogWriter(str(path), FILE_BYTES, 4, driver, hand)
    for number in range(500):
        writer.write(STDOUT, number, b"%d\n" % number)
        hand.finish()
    assert names(path.parent) == ["log", "log.1.gz", "log.2.gz", "log.3.gz"]
    found = numbers(path)
    assert found == list(range(500 - len(found), 500))
    assert len(found) > 30
    assert numbers(path, tail=len(found) - 3) == found[3:]
    assert gzip.decompress((path.parent / "log.3.gz").read_bytes())[:FILE_BYTES]
    assert sum(file.stat().st_size for file in path.parent.glob("*.gz")) < 2 * FILE_BYTES
    writer.close()
    reopened = LogWriter(str(path), FILE_BYTES, 4, driver, hand)
    reopened.write(STDOUT, 500, b"500\n")
    assert numbers(path)[-2:] == [499, 500]
    reopened.close()


def test_what_is_rotated_on_while_it_is_compressed_keeps_its_place_or_goes(tmp_path: Path, hand: Hand) -> None:
    path = tmp_path / "c" / "log"
    writer = LogWriter(str(path), FILE_BYTES, 6, packer=hand)
    number = 0
    for rotations in (2, 3, 9):  # one more than were when it began; two; too many for it to stay
        while hand.free:
            writer.write(STDOUT, number, b"%d\n" % number)
            number += 1
        last, seen = os.stat(path).st_ino, 1
        while seen < rotations:
            writer.write(STDOUT, number, b"%d\n" % number)
            number += 1
            seen += os.stat(path).st_ino != last
            last = os.stat(path).st_ino
        hand.finish()
        found = numbers(path)
        assert found == list(range(number - len(found), number))
        assert [name.split(".")[1] for name in names(path.parent) if name != "log"] == [str(n) for n in range(1, len(names(path.parent)))]
    assert len(names(path.parent)) == 6
    writer.close()


def test_the_end_of_a_container_leaves_the_file_plain(tmp_path: Path, hand: Hand) -> None:
    path, number = tmp_path / "c" / "log", 0
    writer = LogWriter(str(path), FILE_BYTES, 3, packer=hand)
    while hand.free:
        writer.write(STDOUT, number, b"%d\n" % number)
        number += 1
    writer.close()
    hand.finish()
    assert names(path.parent) == ["log", "log.1"]
    assert numbers(path) == list(range(number))


@pytest.mark.parametrize("there", [("log.2", "log.3.gz"), ("log.1.gz", "log.3"), ("log.1", "log.1.gz", "log.2")])
def test_what_an_interrupted_rotation_left_is_put_in_order(tmp_path: Path, there: tuple[str, ...]) -> None:
    path = tmp_path / "log"
    for place, name in enumerate(sorted(there, key=lambda name: (name.endswith(".gz"), name))[::-1]):
        LogWriter(str(tmp_path / "made"), FILE_BYTES, 5).write(STDOUT, 1, b"%d\n" % (100 + place))
        data = (tmp_path / "made").read_bytes()
        (tmp_path / "made").unlink()
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    LogWriter(str(path), FILE_BYTES, 5).write(STDOUT, 1, b"0\n")
    assert [name.removesuffix(".gz") for name in names(tmp_path)] == ["log", "log.1", "log.2"]
    assert len(numbers(path)) == 3


def test_followed_through_compression(machine: Any, tmp_path: Path) -> None:
    async def body(supervisor: Supervisor) -> None:
        lines = "i=0; while test $i -lt 2000; do echo line $i; i=$((i+1)); done"
        script = f"{lines}; until test -e /go/on; do echo wait; sleep 0.01; done; {lines}; printf tail"
        spec = machine.spec(
            "sh", "-c", script, mounts=(Mount("bind", "/go", str(tmp_path)),), log_max_bytes=8 * 1024, log_max_files=200, log_compress=True
        )
        await supervisor.create(spec)
        found: list[bytes] = []

        async def follow() -> None:
            async for batch in logs.follow(spec.log_path):
                found.extend(record.data for record in batch)
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow)
            await supervisor.start(spec.id)
            while not any(name.endswith(".gz") for name in os.listdir(os.path.dirname(spec.log_path))):
                await trio.sleep(0.01)
            (tmp_path / "on").touch()
        assert [record for record in found if record != b"wait\n"] == [b"line %d\n" % number for number in range(2000)] * 2 + [b"tail"]
        assert [record.data for record in logs.read(spec.log_path)] == found

    machine.run(body)


def test_the_supervisor_s_end_while_it_compresses_loses_nothing(machine: Any, killed: Callable[[int], None]) -> None:
    lines = 60_000

    async def body(supervisor: Supervisor) -> None:
        spec = machine.spec("sh", "-c", f"seq {lines}", log_max_bytes=32 * 1024, log_max_files=200, log_compress=True)
        await machine.started(supervisor, spec)
        for _ in range(4):
            await supervisor.list()
            killed(machine.pid_of("runtime.supervisor"))
        await supervisor.wait(spec.id)
        assert [int(record.data) for record in logs.read(spec.log_path)] == list(range(1, lines + 1))

    machine.run(body)
