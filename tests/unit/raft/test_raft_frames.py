"""The bytes of a segment: what is read back, what counts as an unfinished write, what as damage."""

from __future__ import annotations

from random import Random

import pytest

from cluster.identity import seal
from manager.raft_storage import frames
from manager.raft_storage.frames import HEADER_BYTES, SegmentHeader

KEY = bytes(range(32))
HEADER = SegmentHeader(3, 0x1234, b"s" * seal.SALT_BYTES)


def sealer() -> seal.Sealer:
    return seal.Sealer(KEY, HEADER.salt)


def segment(payloads: list[bytes]) -> tuple[bytes, list[int]]:
    """A segment with these payloads and the offset behind each of its parts."""
    data, chain, ends = frames.encode_header(HEADER), HEADER.chain, [HEADER_BYTES]
    for sequence, payload in enumerate(payloads):
        frame, chain = frames.encode_frame(sealer(), HEADER.number, sequence, chain, payload)
        assert len(frame) <= frames.frame_bytes(len(payload))
        data += frame
        ends.append(len(data))
    return data, ends


PAYLOADS = [b"", b"one", b"two" * 50, b"\0" * 33, b"five"]


def test_a_header_comes_back_and_no_flipped_bit_passes() -> None:
    data = frames.encode_header(HEADER)
    assert len(data) == HEADER_BYTES
    assert frames.decode_header(data) == HEADER
    assert frames.decode_header(data[:-1]) is None
    for place in range(56):
        assert frames.decode_header(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]) is None


def test_frames_come_back_whether_or_not_zeros_follow() -> None:
    data, ends = segment(PAYLOADS)
    for tail in (b"", bytes(4096)):
        scan = frames.scan(data + tail, HEADER, sealer())
        assert scan.payloads == tuple(PAYLOADS)
        assert (scan.end, scan.torn, scan.damaged) == (ends[-1], False, False)


def test_a_last_frame_cut_anywhere_is_an_unfinished_write() -> None:
    data, ends = segment(PAYLOADS)
    for length in range(ends[-2], ends[-1]):
        scan = frames.scan(data[:length].ljust(ends[-1] + 512, b"\0"), HEADER, sealer())
        if len(scan.payloads) == len(PAYLOADS):
            assert not data[length:].strip(b"\0")
            continue
        assert scan.payloads == tuple(PAYLOADS[:-1])
        assert scan.end == ends[-2]
        assert not scan.damaged


def test_a_flipped_bit_in_the_middle_is_damage_and_in_the_last_frame_an_unfinished_write() -> None:
    data, ends = segment(PAYLOADS)
    rng = Random(5)
    for place in range(HEADER_BYTES, ends[-1]):
        changed = data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1 :]
        scan = frames.scan(changed + bytes(64), HEADER, sealer())
        number = sum(end <= place for end in ends) - 1
        if scan.payloads == tuple(PAYLOADS):
            assert data[place] == 0  # padding
            continue
        assert scan.payloads == tuple(PAYLOADS[:number])
        assert scan.torn
        if number < len(PAYLOADS) - 1:
            assert scan.damaged


@pytest.mark.parametrize("order", [[1, 0, 2], [0, 2], [0, 0, 1], [1, 2]])
def test_missing_repeated_and_exchanged_frames_are_damage(order: list[int]) -> None:
    data, ends = segment([b"a", b"bb", b"ccc"])
    parts = [data[ends[number] : ends[number + 1]] for number in range(3)]
    scan = frames.scan(data[:HEADER_BYTES] + b"".join(parts[number] for number in order), HEADER, sealer())
    if order == [0, 0, 1]:
        assert scan.payloads == (b"a",)
    assert scan.damaged


def test_frames_of_another_segment_or_key_do_not_open() -> None:
    data, _ = segment(PAYLOADS)
    other = HEADER._replace(number=4)
    assert frames.scan(data, other, sealer()).payloads == ()
    assert frames.scan(data, HEADER, seal.Sealer(bytes(32), HEADER.salt)).payloads == ()


def test_garbage_behind_the_last_frame_is_cut() -> None:
    data, ends = segment(PAYLOADS)
    scan = frames.scan(data + Random(1).randbytes(5000), HEADER, sealer())
    assert (scan.payloads, scan.end, scan.torn, scan.damaged) == (tuple(PAYLOADS), ends[-1], True, False)
