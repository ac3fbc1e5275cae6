"""Borders between messages, however the bytes are cut."""

from __future__ import annotations

import pytest

from cluster.wire.frames import MAX_FRAME_BYTES, FrameReader, FrameTooLong, frame


def test_frames_come_out_whole_when_bytes_come_one_by_one() -> None:
    reader = FrameReader()
    data = frame(b"hello") + frame(b"") + frame(b"x" * 300)
    found = [payload for i in range(len(data)) for payload in reader.feed(data[i : i + 1])]
    assert found == [b"hello", b"", b"x" * 300]
    assert reader.unfinished_bytes == 0


def test_many_frames_in_one_piece() -> None:
    reader = FrameReader()
    assert reader.feed(frame(b"a") + frame(b"b") + frame(b"c")[:3]) == [b"a", b"b"]
    assert reader.feed(frame(b"c")[3:]) == [b"c"]


def test_a_header_that_announces_too_much_is_refused_at_once() -> None:
    with pytest.raises(FrameTooLong, match="announced"):
        FrameReader().feed((MAX_FRAME_BYTES + 1).to_bytes(4, "big"))


def test_the_longest_frame_passes_and_one_byte_more_does_not() -> None:
    assert len(frame(bytes(MAX_FRAME_BYTES))) == MAX_FRAME_BYTES + 4
    with pytest.raises(FrameTooLong):
        frame(bytes(MAX_FRAME_BYTES + 1))
