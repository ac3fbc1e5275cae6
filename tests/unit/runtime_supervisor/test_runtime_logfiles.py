"""Frames on disk: written, rotated at their boundaries, mended, read back as lines."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

from runtime import logs
from runtime.supervisor.frames import BEGIN, END, OVERHEAD_BYTES, STDERR, STDOUT, Frame, frames, frames_backwards, whole_size
from runtime.supervisor.logfile import LogWriter, set_back


def write(path: Path, chunks: Sequence[tuple[int, int, bytes]], max_bytes: int = 1 << 20, max_files: int = 5) -> None:
    writer = LogWriter(str(path), max_bytes, max_files)
    for stream, timestamp_ns, data in chunks:
        writer.write(stream, timestamp_ns, data)
    writer.close()


def lines(path: Path, **options: int) -> list[tuple[str, int, bytes, bool]]:
    return [(r.stream, r.timestamp_ns, r.data, r.partial) for r in logs.read(str(path), **options)]


def test_chunks_become_lines_dated_by_their_first_byte(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path, [(STDOUT, 1, b"a\nb"), (STDERR, 2, b"e\n"), (STDOUT, 3, b"c\nd\n"), (STDOUT, 4, b"open")])
    assert lines(path) == [
        ("stdout", 1, b"a\n", False),
        ("stderr", 2, b"e\n", False),
        ("stdout", 1, b"bc\n", False),
        ("stdout", 3, b"d\n", False),
        ("stdout", 4, b"open", True),
    ]


def test_marks_end_open_lines(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path, [(BEGIN, 1, b""), (STDOUT, 2, b"first"), (END, 3, b""), (BEGIN, 4, b""), (STDOUT, 5, b"second\n")])
    assert lines(path) == [("stdout", 2, b"first", True), ("stdout", 5, b"second\n", False)]


def test_since_until_and_tail(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path, [(STDOUT, number, b"%d\n" % number) for number in range(1, 101)])
    assert [line[2] for line in lines(path, since_ns=98)] == [b"98\n", b"99\n", b"100\n"]
    assert [line[2] for line in lines(path, until_ns=2)] == [b"1\n", b"2\n"]
    assert [line[2] for line in lines(path, tail=2)] == [b"99\n", b"100\n"]
    assert lines(path, tail=0) == []
    assert len(lines(path, tail=1000)) == 100


def test_a_tail_counts_the_pieces_of_a_long_line(tmp_path: Path) -> None:
    """As Docker, which keeps at most 16 KiB in one."""
    path, long = tmp_path / "log", b"x" * 40_000 + b"\n"
    write(path, [(STDOUT, 1, b"first\n" + long + b"end\n")])
    kept = [[line[2] for line in lines(path, tail=tail)] for tail in (1, 2, 3, 4, 5)]
    ends = [[b"end\n"], [long[32768:], b"end\n"], [long[16384:], b"end\n"], [long, b"end\n"], [b"first\n", long, b"end\n"]]
    assert kept == ends
    assert lines(path, tail=0) == []
    write(path, [(STDOUT, 2, b"y" * 32_767 + b"\n")])
    assert [len(line[2]) for line in lines(path, tail=1)] == [16_384], "the newline is no piece"


def test_tail_of_lines_that_are_spread_over_frames(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path, [(STDOUT, 1, b"one\ntw"), (STDOUT, 2, b"o"), (STDOUT, 3, b"\nthree\n")])
    assert lines(path, tail=2) == [("stdout", 1, b"two\n", False), ("stdout", 3, b"three\n", False)]


def test_rotation_at_frame_boundaries_keeps_the_newest(tmp_path: Path) -> None:
    path = tmp_path / "log"
    size = OVERHEAD_BYTES + 10
    write(path, [(STDOUT, number, b"%09d\n" % number) for number in range(100)], max_bytes=3 * size, max_files=4)
    names = sorted(os.listdir(tmp_path))
    assert names == ["log", "log.1", "log.2", "log.3"]
    for name in names:
        with open(tmp_path / name, "rb") as file:
            whole = whole_size(file.fileno())
            assert whole == os.path.getsize(tmp_path / name)
            assert whole % size == 0
    assert [line[2] for line in lines(path)] == [b"%09d\n" % number for number in range(90, 100)]
    assert [line[2] for line in lines(path, tail=4)] == [b"%09d\n" % number for number in range(96, 100)]


@pytest.mark.parametrize("chunk", [7, 10, 64, 333, 5000])
@pytest.mark.parametrize("max_files", [1, 2, 5])
def test_no_file_begins_in_the_middle_of_a_line(tmp_path: Path, chunk: int, max_files: int) -> None:
    """However the output was cut when it was read."""
    path = tmp_path / "log"
    text = b"".join(b"%d\n" % number for number in range(2000))
    write(path, [(STDOUT, 1, text[begin : begin + chunk]) for begin in range(0, len(text), chunk)], max_bytes=1000, max_files=max_files)
    found = [int(line[2]) for line in lines(path)]
    assert found == list(range(2000 - len(found), 2000))
    assert len(list(tmp_path.iterdir())) <= max_files
    assert all(file.stat().st_size <= max(1000, chunk + OVERHEAD_BYTES) + OVERHEAD_BYTES + len("1999\n") for file in tmp_path.iterdir())


@pytest.mark.parametrize("max_files", [1, 2, 5])
@pytest.mark.parametrize("size", [10, 50, 60, 90])
def test_a_log_is_set_back_to_where_a_chunk_began_over_rotations_too(tmp_path: Path, max_files: int, size: int) -> None:
    path = tmp_path / "log"
    writer = LogWriter(str(path), 200, max_files)
    writer.write(STDOUT, 1, b"first\n")
    position = writer.position  # what follows is one chunk
    for number in range(0, size, 10):
        writer.write(STDOUT, 2, b"%09d\n" % number)
    writer.close()
    set_back(str(path), *position)
    assert lines(path) == ([("stdout", 1, b"first\n", False)] if max_files > 1 or size <= 50 else [])  # one file: it is gone
    write(path, [(STDOUT, 3, b"second\n")], max_bytes=200, max_files=max_files)
    assert lines(path)[-1] == ("stdout", 3, b"second\n", False)


def test_a_single_file_starts_over(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path, [(STDOUT, number, b"%09d\n" % number) for number in range(10)], max_bytes=3 * (OVERHEAD_BYTES + 10), max_files=1)
    assert os.listdir(tmp_path) == ["log"]
    assert [line[2] for line in lines(path)] == [b"000000009\n"]


@pytest.mark.parametrize("cut", range(1, OVERHEAD_BYTES + 5))
def test_half_a_frame_is_cut_off(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "log"
    write(path, [(STDOUT, 1, b"keep\n"), (STDOUT, 2, b"lose\n")])
    os.truncate(path, os.path.getsize(path) - cut)
    assert [line[2] for line in lines(path)] == [b"keep\n"]
    write(path, [(STDOUT, 3, b"more\n")])
    assert [line[2] for line in lines(path)] == [b"keep\n", b"more\n"]


def test_forwards_and_backwards_agree(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path, [(STDOUT, number, os.urandom(number * 37 % 5000)) for number in range(300)], max_bytes=1 << 30)
    with open(path, "rb") as file:
        ahead = [frame for frame, _ in frames(file.fileno(), 0)]
        back = list(frames_backwards(file.fileno(), os.path.getsize(path)))
    assert len(ahead) == 300
    assert ahead == back[::-1]
    assert isinstance(ahead[0], Frame)


@pytest.mark.parametrize("driver", ["local", "json-file"])
def test_a_full_disk_loses_output_says_so_and_goes_on(tmp_path: Path, driver: str) -> None:
    writer = LogWriter(str(tmp_path / "log"), 1 << 20, 1, driver)
    writer.write(STDOUT, 1, b"before\n")
    file = os.dup(writer._file)
    with open("/dev/full", "wb") as full:
        os.dup2(full.fileno(), writer._file)
        writer.write(STDOUT, 2, b"gone\n")
        writer.write(STDERR, 3, b"gone too\n")
        assert writer.lost_bytes == 14
    os.dup2(file, writer._file)
    os.close(file)
    writer.write(STDOUT, 4, b"after\n")
    writer.close()
    mark = b"[14 bytes of output were lost: no space left on device]\n"
    assert lines(tmp_path / "log") == [("stdout", 1, b"before\n", False), ("stderr", 4, mark, False), ("stdout", 4, b"after\n", False)]


def test_no_log_is_empty(tmp_path: Path) -> None:
    assert lines(tmp_path / "log") == []


def test_a_line_without_end_is_cut_into_marked_parts(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path, [(STDOUT, number, b"x" * 700_000) for number in range(3)] + [(STDOUT, 9, b"end\n")], max_bytes=1 << 30)
    found = lines(path)
    assert [(len(data), partial) for _, _, data, partial in found] == [
        (logs.LINE_MAX_BYTES, True), (logs.LINE_MAX_BYTES, True), (2_100_004 - 2 * logs.LINE_MAX_BYTES, False),
    ]  # fmt: skip


def test_following_through_rotations_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path, [(STDOUT, 1, b"before\n")], max_bytes=200, max_files=50)
    found: list[bytes] = []

    async def follow(started: trio.Event) -> None:
        async with contextlib.aclosing(logs.follow(str(path))) as batches:
            async for batch in batches:
                found.extend(record.data for record in batch)
                started.set()

    async def main() -> None:
        started = trio.Event()
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(follow, started)
                await started.wait()
                for number in range(40):
                    write(path, [(STDOUT, 2, b"%d\n" % (10 * number + each)) for each in range(10)], max_bytes=200, max_files=50)
                    await trio.lowlevel.checkpoint()
                write(path, [(STDOUT, 3, b"rest"), (END, 4, b"")], max_bytes=200, max_files=50)

    trio.run(main)
    assert found[0] == b"before\n"
    assert found[-1] == b"rest"
    numbers = [int(data) for data in found[1:-1]]
    assert numbers == sorted(numbers)
    assert numbers[-1] == 399


def test_following_an_ended_log_ends(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path, [(BEGIN, 1, b""), (STDOUT, 2, b"a\nb\n"), (END, 3, b"")])

    async def main() -> list[bytes]:
        with trio.fail_after(5):
            return [record.data async for batch in logs.follow(str(path), tail=1) for record in batch]

    assert trio.run(main) == [b"b\n"]


def test_as_many_follow_as_want_to_with_one_descriptor_of_inotify(tmp_path: Path) -> None:
    """A user has 128 of them by default."""
    paths = [tmp_path / name / "log" for name in ("a", "b")]
    for path in paths:
        path.parent.mkdir()
        write(path, [(STDOUT, 1, b"before\n")])
    ended: list[bytes] = []
    followers = 150

    async def follow(path: Path, started: trio.MemorySendChannel[None]) -> None:
        heard = b""
        async with contextlib.aclosing(logs.follow(str(path))) as batches:
            async for batch in batches:
                heard += b"".join(record.data for record in batch)
                if heard == b"before\n":
                    await started.send(None)
        ended.append(heard)

    def watches() -> int:
        links = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
        return sum(os.readlink(link) == "anon_inode:inotify" for link in links if os.path.lexists(link))

    others = watches()

    async def main() -> None:
        send, receive = trio.open_memory_channel[None](0)
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for number in range(followers):
                    nursery.start_soon(follow, paths[number % 2], send)
                for _ in range(followers):
                    await receive.receive()
                assert watches() == others + 1
                nursery.start_soon(follow, paths[0], send)
                await receive.receive()
                for path in paths:
                    write(path, [(STDOUT, 2, b"after\n"), (END, 3, b"")])
            assert watches() == others
            with pytest.raises(FileNotFoundError):
                await anext(logs.follow(str(tmp_path / "gone" / "log")))
            assert watches() == others

    trio.run(main)
    assert ended == [b"before\nafter\n"] * (followers + 1)
