"""Docker's json-file format: written and read back exactly, rotated, cut, and read by the same function as frames."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime import logs
from runtime.supervisor import jsonlines
from runtime.supervisor.frames import BEGIN, END, STDERR, STDOUT
from runtime.supervisor.logfile import JSON_FILE, LogWriter

SECOND = 1_000_000_000


def written(path: Path, chunks: list[tuple[int, int, bytes]], max_bytes: int = 1 << 20, max_files: int = 5) -> list[dict[str, str]]:
    writer = LogWriter(str(path), max_bytes, max_files, JSON_FILE)
    for stream, timestamp_ns, data in chunks:
        writer.write(stream, timestamp_ns, data)
    writer.close()
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line]


def test_records_are_dockers(tmp_path: Path) -> None:
    entries = written(tmp_path / "log", [(STDOUT, 1_700_000_000 * SECOND + 120_000_000, b'a "q"\nb\n'), (STDERR, 5 * SECOND, b"e\n")])
    assert entries == [
        {"log": 'a "q"\n', "stream": "stdout", "time": "2023-11-14T22:13:20.12Z"},
        {"log": "b\n", "stream": "stdout", "time": "2023-11-14T22:13:20.12Z"},
        {"log": "e\n", "stream": "stderr", "time": "1970-01-01T00:00:05Z"},
    ]


@given(st.lists(st.text(alphabet='a",\\\n{}é\x00', max_size=12).filter(lambda text: "\n" not in text), max_size=20))
def test_whatever_is_in_lines_each_is_one_record(lines: list[str]) -> None:
    """Also what looks like the end of a record."""
    data = "".join(f"{line}\n" for line in lines).encode()
    records = jsonlines.JsonLines().encode(STDOUT, SECOND, data).split(b"\n")[:-1] if lines else []
    assert [json.loads(record)["log"] for record in records] == [f"{line}\n" for line in lines]


def test_characters_that_mark_the_ends_of_lines_inside_are_text_outside(tmp_path: Path) -> None:
    one = jsonlines.MARKS[0]
    assert [entry["log"] for entry in written(tmp_path / "one", [(STDOUT, 1, f"{one}\n{one}x\n".encode())])] == [f"{one}\n", f"{one}x\n"]
    every = "".join(jsonlines.MARKS)
    entries = written(tmp_path / "all", [(STDOUT, 1, f"{every}\nx\n".encode())])
    assert [entry["log"] for entry in entries] == [f"{jsonlines.REPLACEMENT}{every[1:]}\n", "x\n"]


def test_partial_lines_are_whole_again_when_read(tmp_path: Path) -> None:
    path = tmp_path / "log"
    written(path, [(BEGIN, 1, b""), (STDOUT, 2, b"on"), (STDERR, 3, b"x\n"), (STDOUT, 4, b"e\ntwo"), (END, 5, b"")])
    assert [(r.stream, r.timestamp_ns, r.data, r.partial) for r in logs.read(str(path))] == [
        ("stderr", 3, b"x\n", False),
        ("stdout", 2, b"one\n", False),
        ("stdout", 4, b"two", True),
    ]
    assert [record.data for record in logs.read(str(path), tail=1)] == [b"two"]


def test_a_long_line_is_cut_into_records_of_dockers_size(tmp_path: Path) -> None:
    path = tmp_path / "log"
    entries = written(path, [(STDOUT, 1, b"x" * 40_000 + b"\n")])
    assert [len(entry["log"]) for entry in entries] == [16384, 16384, 7233]
    assert [len(record.data) for record in logs.read(str(path))] == [40_001]


def test_rotation_between_records_keeps_the_newest(tmp_path: Path) -> None:
    path = tmp_path / "log"
    written(path, [(STDOUT, 1, b"".join(b"%04d\n" % number for number in range(100)))], max_bytes=500, max_files=3)
    assert sorted(os.listdir(tmp_path)) == ["log", "log.1", "log.2"]
    for name in ("log", "log.1", "log.2"):
        assert os.path.getsize(tmp_path / name) <= 500
        assert all(json.loads(line) for line in (tmp_path / name).read_text().splitlines())
    kept = [int(record.data) for record in logs.read(str(path))]
    assert kept == list(range(kept[0], 100))


@pytest.mark.parametrize("cut", [1, 10, 40])
def test_half_a_record_is_cut_off_by_the_next_writer(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "log"
    written(path, [(STDOUT, 1, b"whole\n"), (STDOUT, 2, b"broken\n")])
    os.truncate(path, path.stat().st_size - cut)
    written(path, [(STDOUT, 3, b"next\n")])
    assert [record.data for record in logs.read(str(path))] == [b"whole\n", b"next\n"]


def test_a_character_that_comes_in_two_chunks(tmp_path: Path) -> None:
    path = tmp_path / "log"
    written(path, [(STDOUT, 1, "é".encode()[:1]), (STDOUT, 2, "é".encode()[1:] + b"\n"), (STDOUT, 3, b"\xff\n")])
    assert b"".join(record.data for record in logs.read(str(path))) == "é\n\ufffd\n".encode()


@given(st.lists(st.tuples(st.sampled_from([STDOUT, STDERR]), st.text(max_size=40)), max_size=20), st.integers(200, 2000))
def test_forwards_and_backwards_agree(tmp_path_factory: pytest.TempPathFactory, chunks: list[tuple[int, str]], max_bytes: int) -> None:
    path = tmp_path_factory.mktemp("json") / "log"
    written(path, [(stream, number, text.encode()) for number, (stream, text) in enumerate(chunks)], max_bytes=max_bytes, max_files=100)
    everything = {stream: "".join(text for each, text in chunks if each == stream) for stream in (STDOUT, STDERR)}
    records = list(logs.read(str(path)))
    for stream, name in ((STDOUT, "stdout"), (STDERR, "stderr")):
        assert b"".join(record.data for record in records if record.stream == name).decode() == everything[stream]
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        forwards = [frame for frame, _ in jsonlines.frames(file.fileno(), 0)]
        assert list(jsonlines.frames_backwards(file.fileno(), size)) == forwards[::-1]


@given(st.integers(0, 4_000_000_000 * SECOND))
def test_times_come_back(timestamp_ns: int) -> None:
    assert jsonlines.parse_time(jsonlines.format_time(timestamp_ns)) == timestamp_ns
